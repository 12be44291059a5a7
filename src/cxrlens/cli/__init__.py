"""The command line: verbs only. Each parses, calls one function, and says what it wrote.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from cxrlens import __version__
from cxrlens.cli.collections import check, collect, explore, merge, pairs, repair, split
from cxrlens.cli.evaluate import audit, calibrate, compare, evaluate
from cxrlens.cli.models import (
    demo,
    explain,
    export,
    models,
    predict,
    recipes,
    train,
    tune,
)
from cxrlens.cli.serve import dicom_node, serve
from cxrlens.cli.terminal import ExplainCommand, fault
from cxrlens.errors import CxrlensError, missing

app = typer.Typer(
    name="cxrlens",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learns to tell normal, pneumonia and tuberculosis apart on chest radiographs, and shows what "
    "it looked at.\n\n`cxrlens predict FILM` asks the installed model, `cxrlens demo` shows the whole "
    "on drawn films. With labelled films of your own: `collect`, `audit`, `split`, `train`, `compare`."
    "\n\nResearch use only: not a medical device, not a diagnosis.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cxrlens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options of cxrlens itself; its help stands above."""


_VERBS: list[Callable[..., None]] = [
    *(demo, collect, explore, merge, check, repair, pairs, split, recipes, train, tune),
    *(evaluate, calibrate, compare, audit, explain, predict, models, export, serve, dicom_node),
]
for verb in _VERBS:
    app.command(cls=ExplainCommand if verb is explain else None)(verb)

OWN_FAULT = 70
"""Exit code of a fault of cxrlens itself, as in sysexits.h."""

DEBUG = "CXRLENS_DEBUG"
"""Environment variable; set, it has the traceback of such a fault printed."""


def main() -> None:
    """Run the command line.

    A fault of the user's input ends with its sentence and exit code 2; one of cxrlens itself, which is
    whatever else is raised, with code `OWN_FAULT` and where its traceback is.
    """
    try:
        app()
    except CxrlensError as error:
        fault(str(error))
        sys.exit(2)
    except Exception as error:  # noqa: BLE001  (said to be ours, never hidden)
        lacking = missing(error.name or "") if isinstance(error, ModuleNotFoundError) else None
        fault(str(lacking) if lacking else _own_fault(error))
        sys.exit(2 if lacking else OWN_FAULT)


def _own_fault(error: Exception) -> str:
    """Word a fault of cxrlens itself; keep the traceback in a file of the user's, or print it."""
    kind = type(error).__name__
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
        return f"a fault of cxrlens ({kind}): please report it with the lines above"
    said = "".join(traceback.format_exception(error))
    about = f"cxrlens {__version__}, Python {sys.version}\n{sys.argv}\n\n{said}"
    try:
        handle, place = tempfile.mkstemp(prefix="cxrlens-fault-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(about)
    except OSError:
        return f"a fault of cxrlens ({kind}): please report it with what {DEBUG}=1 prints"
    return f"a fault of cxrlens ({kind}): please report it with {place} (it names your files)"
