"""The rules of the house that a machine can hold."""

import ast
import subprocess
import sys
from pathlib import Path

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

FLOOR = ["errors", "files", "progress"]
DOORS = ["__init__", "__main__"]

LONGEST = 650
"""Lines of a file. It is the size of an idea; above this it holds two, or an idea that is not understood."""


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "cxrlens":
                names = [f"cxrlens.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("cxrlens.")}
    return found


MODULES = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def test_imports_run_one_way() -> None:
    downwards = []
    for path, source in MODULES.items():
        own = room(path)
        if own in DOORS:
            continue
        allowed = {*FLOOR, "__version__"}
        if own not in FLOOR:
            allowed |= set(ROOMS[: ROOMS.index(own) + 1])
        if wrong := imported_rooms(source) - allowed:
            downwards.append(f"{path.relative_to(SOURCE)} imports {', '.join(sorted(wrong))}")
    assert not downwards


def test_a_file_is_the_size_of_an_idea() -> None:
    sizes = {path.relative_to(SOURCE): len(text.splitlines()) for path, text in MODULES.items()}
    assert not {str(path): lines for path, lines in sizes.items() if lines > LONGEST}


def test_the_rooms_are_told_in_order() -> None:
    """CONTRIBUTING has a row for each, in the order in which they may import."""
    text = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    told = [name.strip("` /").removesuffix(".py") for row in rows for name in row.split(",")]
    assert told[: len(FLOOR) + len(ROOMS)] == [*FLOOR, *ROOMS]
    assert {room(path) for path in MODULES} == {*DOORS, *FLOOR, *ROOMS}


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


LIGHT = [
    "cli",
    "collections.readers",
    "collections.combine",
    "collections.pairs",
    "collections.cache",
    "quality.chain",
    "phantoms",
    "prediction",
    "runs",
    "audit",
    "reports.overview",
    "reports.audit",
    "reports.comparison",
]


def test_the_light_core_never_imports_torch() -> None:
    loaded = loaded_by("\n".join(f"import cxrlens.{name}" for name in LIGHT))
    assert not loaded & {"torch", "lightning", "timm", "sklearn", "optuna"}


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
        if path.name != "terminal.py":
            assert "rich.markup" not in path.read_text(encoding="utf-8"), path
