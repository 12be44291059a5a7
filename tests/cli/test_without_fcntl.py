"""The verbs where there is no fcntl, as on Windows: locks are filelock's alone."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cxrlens.runs import Run

SOURCE = Path(__file__).parents[2] / "src" / "cxrlens"

BLOCK = """
import builtins

whole = builtins.__import__


def without_fcntl(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if name == "fcntl" and importer.partition(".")[0] in ("cxrlens", "__main__"):
        raise ImportError("there is no fcntl here")
    return whole(name, globals, locals, fromlist, level)


builtins.__import__ = without_fcntl
"""


def test_no_file_names_it() -> None:
    named = [path for path in SOURCE.rglob("*.py") if "fcntl" in path.read_text(encoding="utf-8")]
    assert named == []


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    paths = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CXRLENS_CACHE": str(tmp_path / "cache"),
    }


@pytest.mark.slow
def test_the_verbs_run(
    phantom_table: Path, small_run: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "cxrlens"]

    def cxrlens(*words: object) -> None:
        said = subprocess.run(
            [*command, *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, f"{words}\n{said.stdout}{said.stderr}"

    blocked = subprocess.run([sys.executable, "-c", "import fcntl"], env=environment, check=False)
    assert blocked.returncode != 0
    films, dealt = tmp_path / "films.csv", tmp_path / "split.csv"
    cxrlens("collect", "csv", phantom_table.parent, "-o", films)
    cxrlens("check", phantom_table.parent, "--csv", tmp_path / "findings.csv")
    cxrlens("split", films, "-o", dealt)
    small = ("side=64", "model.blocks=[4]", "model.width=4", "training.max_epochs=1")
    sets = [word for setting in small for word in ("--set", setting)]
    cxrlens("train", "resnet-focal", dealt, "-o", tmp_path / "run", *sets)
    cxrlens("export", small_run.path, "-o", tmp_path / "bundle")
    model = ("--model", tmp_path / "bundle")
    cxrlens("predict", phantom_table.parent, *model, "--csv", tmp_path / "predictions.csv")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*command, "serve", *map(str, model), "--port", str(port)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                        assert answer.status == 200
                    break
                except OSError:
                    assert server.poll() is None, server.stderr and server.stderr.read()
                    assert time.monotonic() < until
                    time.sleep(0.2)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=20)
