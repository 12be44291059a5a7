"""The README's promises: its two commands are what CI calls, and every command of its tour runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlens.phantoms import write_phantoms

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = ROOT / "cxrlens-demo"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run_lines(lines: str, folder: Path, places: dict[str, str]) -> None:
    for line in lines.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        assert command[0] == "cxrlens"
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=places,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


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
    run_lines(tour, tmp_path, places)
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


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["researchers", "screening-programmes", "hospital-engineers"])
def test_every_command_for_a_reader_runs(reader: str, tmp_path: Path) -> None:
    write_phantoms(tmp_path, 60, seed=5, side=256)
    page = (ROOT / "docs" / f"for-{reader}.md").read_text(encoding="utf-8")
    places = {**os.environ, "CXRLENS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    (lines,) = blocks("console", page)
    run_lines(lines, tmp_path, places)


def test_the_site_is_built_with_one_command(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "for-hospital-engineers.html").is_file()
