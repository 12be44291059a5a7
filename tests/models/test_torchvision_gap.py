import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "cxrlens" / "models" / "torchvision_gap.py"

GAP = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("gap", {str(SOURCE)!r})
gap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gap)
"""
"""Loads the module alone: its package bridges the gap on import."""


def run(code: str) -> str:
    """Run in a fresh interpreter, since the gap can be bridged only once."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", GAP + code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_torchvision_and_all_that_import_it_are_there_afterwards() -> None:
    assert (
        run("gap.bridge_torchvision(); import torchvision.transforms.v2, timm; print('there')")
        == "there"
    )


@pytest.mark.slow
def test_it_is_active_only_where_the_import_fails() -> None:
    code = (
        "try:\n    import torchvision; works = True\nexcept RuntimeError: works = False\n"
        "print(gap.bridge_torchvision() is not works, bool(gap._declared) is not works)"
    )
    assert run(code) == "True True"


@pytest.mark.slow
def test_a_second_call_changes_nothing() -> None:
    assert (
        run("print(gap.bridge_torchvision() == gap.bridge_torchvision(), len(gap._declared) < 2)")
        == "True True"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "still fails"),
        ("raise RuntimeError('something else')", "something else"),
        ("VALUE = 1", "False 0"),
    ],
)
def test_a_stand_in_torchvision(
    source: str, expected: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "torchvision.py").write_text(source)
    code = f"""
import sys; sys.path.insert(0, {str(folder)!r})
try:
    print(gap.bridge_torchvision(), len(gap._declared))
except RuntimeError as error:
    print('still fails' if 'nms' in str(error) else error)
"""
    assert run(code) == expected


def test_without_torchvision_nothing_happens() -> None:
    assert (
        run("import sys; sys.modules['torchvision'] = None; print(gap.bridge_torchvision())")
        == "False"
    )
