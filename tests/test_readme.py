"""The README's promises: its two commands are what CI calls, and every command of its tour runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = ROOT / "cxrlens-demo"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_ci_calls_the_readme_s_two_commands() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for command in blocks("sh")[:2]:
        assert command.strip() in lines


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.slow
@pytest.mark.skipif(
    not (DEMO / "run" / "report.html").exists(), reason="run the README's demo first"
)
def test_every_command_of_the_tour_runs(tmp_path: Path) -> None:
    (tmp_path / "cxrlens-demo").symlink_to(DEMO)
    places = {**os.environ, "CXRLENS_CACHE": str(tmp_path / "cache")}
    (tour,) = blocks("console")
    for line in tour.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        assert command[0] == "cxrlens"
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=places,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    (python,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", python],
        cwd=tmp_path,
        env=places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "why.png").is_file()
