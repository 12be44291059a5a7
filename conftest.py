"""Where the examples of docstrings run: a folder of their own with drawn films, a run and a bundle."""

import shutil
from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem

ARTEFACTS = Path(__file__).parent / "tests" / "artefacts" / "first"


@pytest.fixture(autouse=True)
def _example_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stand in a folder with ``films.csv``, ``images/``, ``runs/first`` and ``bundles/first``."""
    if not isinstance(request.node, DoctestItem):
        return
    folder = tmp_path_factory.mktemp("example") / "here"
    shutil.copytree(ARTEFACTS / "films", folder)
    shutil.copytree(ARTEFACTS / "run", folder / "runs" / "first")
    shutil.copytree(ARTEFACTS / "bundle", folder / "bundles" / "first")
    patch = request.getfixturevalue("monkeypatch")
    patch.chdir(folder)
    patch.setenv("CXRLENS_CACHE", str(folder / "cache"))
