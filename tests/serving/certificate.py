"""A certificate for 127.0.0.1 and its key, made for a test."""

import shutil
import subprocess
from pathlib import Path

import pytest


def certificate(folder: Path, name: str = "own") -> tuple[Path, Path]:
    """Make a self-signed pair in a folder; skips where there is no openssl."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl makes the certificate")
    pem, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command = [program, "req", *kind, *subject, "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    return pem, key
