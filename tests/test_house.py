"""The rules of the house that a machine can hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "cxrlens"

ROOMS = [
    "radiographs",
    "lungs",
    "quality",
    "collections",
    "phantoms",
    "recipes",
    "models",
    "runs",
    "explanation",
    "prediction",
    "training",
    "evaluation",
    "audit",
    "reports",
    "export",
    "main_job",
    "serving",
    "pacs",
    "cli",
]
"""Lowest first: a room may import from those before it."""

FLOOR = {"errors", "files", "progress"}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "cxrlens":
                names = [f"cxrlens.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("cxrlens.")}
    return found


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    own = room(path)
    if own in {"__init__", "__main__"}:
        return
    allowed = FLOOR | {"__version__"}
    if own not in FLOOR:
        allowed |= set(ROOMS[: ROOMS.index(own) + 1])
    assert imported_rooms(path) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_much_over_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 900


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import cxrlens.cli",
        "import cxrlens.collections.readers, cxrlens.collections.combine, cxrlens.collections.pairs",
        "import cxrlens.quality.batch",
        "import cxrlens.reports.overview, cxrlens.collections.combine",
        "import cxrlens.phantoms, cxrlens.collections.cache",
        "import cxrlens.prediction, cxrlens.runs",
        "import cxrlens.audit, cxrlens.reports.audit",
    ],
)
def test_the_light_core_never_imports_torch(code: str) -> None:
    assert not loaded_by(code) & {"torch", "lightning", "timm", "sklearn"}


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "cv2", "matplotlib", "pydicom", "pydantic"}
    assert not loaded_by("import cxrlens, cxrlens.cli") & heavy


def test_public_names_exist() -> None:
    import cxrlens

    for name in cxrlens.__all__:
        assert getattr(cxrlens, name) is not None


def test_verbs_print_through_one_escape() -> None:
    """Rich's own leaves what steers a terminal as it is."""
    for path in (SOURCE / "cli").glob("*.py"):
        if path.name != "say.py":
            assert "rich.markup" not in path.read_text(encoding="utf-8"), path
