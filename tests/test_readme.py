"""The README's promises: its two commands are what CI calls, and every command of its tour runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import typer

from cxrlens.cli import app
from cxrlens.evaluation.card import card_of
from cxrlens.explanation.method import Method, Question
from cxrlens.phantoms import draw_phantom, write_phantoms
from cxrlens.prediction import Predictor
from cxrlens.runs import Run, open_model
from cxrlens.serving.api import create_app
from tests.pacs.dicom_film import film_bytes
from tests.serving.live_server import live

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


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    line.removeprefix("$ ")
    for document in DOCUMENTS
    for block in blocks(r"(?:|sh|console)", document.read_text(encoding="utf-8"))
    for line in block.replace("\\\n", " ").splitlines()
    if line.removeprefix("$ ").startswith("cxrlens ")
]


def test_every_command_in_a_block_of_the_docs_has_such_options() -> None:
    assert len(COMMANDS) > 40
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in COMMANDS:
        bare = re.sub(r"[\[\]]|\|\S+", "", line.partition(" #")[0])
        verb, *given = shlex.split(bare)[1:]
        if verb.startswith("-") or "--help" in given:
            continue
        known[verb].make_context(verb, given)  # a usage error names the option


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("compare", "serving")]


@pytest.mark.parametrize("name", ["quality", "lungs", "pacs", *_SLOW])
def test_every_python_block_of_the_docs_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cv2.imwrite(str(tmp_path / "film.png"), draw_phantom(1, "tuberculosis", 256).film)
    (tmp_path / "film.dcm").write_bytes(film_bytes(1))
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python", (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    known: dict[str, object] = {}
    if name == "compare":
        run: Run = request.getfixturevalue("small_run")
        known = {"first": run.path, "second": shutil.copytree(run.path, tmp_path / "second")}
    if name != "serving":
        exec(block, known)
        return
    model = request.getfixturevalue("small_bundle")
    app = create_app(Predictor.load(model), card_of(open_model(model)))
    with live(app) as address:
        exec(block.replace("http://127.0.0.1:8000", address), known)


def test_the_worked_example_of_a_method_is_one() -> None:
    made: dict[str, object] = {}
    (block,) = blocks("python", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    exec(block, made)
    method = made["METHOD"]
    assert isinstance(method, Method)
    film = draw_phantom(1, "tuberculosis", 64).film
    question = Question(film, 2, "tuberculosis", lambda films: films, list, None)
    assert method.explain(question).values.shape == (64, 64)


def test_the_site_is_built_with_one_command(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "for-hospital-engineers.html").is_file()
