import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from cxrlens import errors
from cxrlens.errors import EXTRAS, MissingExtraError, missing, need

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def test_extras_are_those_of_the_project() -> None:
    known = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(known) - {"dev", "model"}
    for extra, modules in EXTRAS.items():
        assert len(modules) <= len(known[extra])
        for module in modules:
            assert find_spec(module) is not None


def test_what_is_there_is_not_missed() -> None:
    need(*EXTRAS)


def test_what_is_missing_comes_with_a_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(errors.EXTRAS, "dicom", ("no_such_package",))
    with pytest.raises(MissingExtraError) as raised:
        need("train", "dicom", what="the DICOM node")
    said = str(raised.value)
    assert said.startswith(
        "the DICOM node needs the extra 'train,dicom' (no_such_package is missing)"
    )
    assert said.endswith("install -c constraints.txt -e '.[train,dicom]'")
    assert "python3 -m pip --python" in said


def test_a_module_of_no_extra_is_a_fault_of_ours() -> None:
    assert missing("numpy.linalg") is None
    assert "'.[train]'" in str(missing("torch.nn"))
