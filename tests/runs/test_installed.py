"""Models that were installed as wheels of their own."""

import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from cxrlens.errors import ModelError
from cxrlens.runs import open_model
from cxrlens.runs.bundle import DEFAULT, installed_models

BUNDLE = Path(__file__).parents[1] / "artefacts" / "first" / "bundle"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a wheel's files on the path, as an installer does."""

    def put(name, package, folder=True, site="site"):
        monkeypatch.delitem(sys.modules, package, raising=False)
        at = tmp_path / site
        (at / package).mkdir(parents=True)
        (at / package / "__init__.py").write_text(
            f"from pathlib import Path\n\nFOLDER = Path(__file__).parent / '{name}'\n"
        )
        if folder:
            shutil.copytree(BUNDLE, at / package / name)
        about = at / f"{package}-2.1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {package}\nVersion: 2.1\n")
        (about / "entry_points.txt").write_text(f"[cxrlens.models]\n{name} = {package}:FOLDER\n")
        monkeypatch.syspath_prepend(str(at))
        return at / package / name

    def here(group):  # what this machine has installed is not what is tested
        found = (
            entry
            for of in distributions(path=[str(tmp_path / "site"), str(tmp_path / "other")])
            for entry in of.entry_points
        )
        return [entry for entry in found if entry.group == group]

    monkeypatch.setattr("cxrlens.runs.bundle.entry_points", here)
    monkeypatch.delenv(DEFAULT, raising=False)
    return put


def test_an_installed_model_is_found_by_name_and_without_one(install):
    path = install("chest-one", "wheel_one")
    assert {name: (of.path, of.version) for name, of in installed_models().items()} == {
        "chest-one": (path, "2.1")
    }
    assert open_model("chest-one").digest == open_model().digest == open_model(path).digest


def test_of_two_models_one_must_be_named_each_time_or_for_good(install, monkeypatch):
    install("chest-one", "wheel_one")
    install("chest-two", "wheel_two", site="other")
    with pytest.raises(ModelError, match="--model chest-one or chest-two"):
        open_model()
    assert open_model("chest-two").path.name == "chest-two"
    monkeypatch.setenv(DEFAULT, "chest-one")
    assert open_model().path.name == "chest-one"
    assert open_model("chest-two").path.name == "chest-two"
    monkeypatch.setenv(DEFAULT, "chest-9")
    with pytest.raises(ModelError, match="chest-9 does not exist"):
        open_model()


def test_no_model_is_one_sentence_with_the_way_out(install):
    with pytest.raises(ModelError, match=r"no model is installed: .*pip install"):
        open_model()
    install("chest-one", "wheel_one")
    with pytest.raises(ModelError, match=r"chest-9 does not exist.*installed: chest-one"):
        open_model("chest-9")


def test_a_wheel_without_its_bundle_says_what_to_install_again(install):
    install("chest-one", "wheel_one", folder=False)
    with pytest.raises(ModelError, match="install wheel_one again"):
        open_model()
