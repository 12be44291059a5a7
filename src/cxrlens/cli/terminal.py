"""The terminal: arguments and options that several verbs share, and what they print."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as _plain
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from typer.core import TyperCommand

from cxrlens.errors import CxrlensError, FilmError, visible
from cxrlens.progress import Epoch, Progress, Stages

if TYPE_CHECKING:
    import pandas as pd


def complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    """Offer a shell the shipped recipes, with what they are."""
    from cxrlens.recipes.recipe import read_recipe, shipped_recipes

    names = [name for name in shipped_recipes() if name.startswith(incomplete)]
    return [(name, read_recipe(name).about) for name in names]


def complete_model(incomplete: str) -> list[str]:
    """Offer a shell the installed models."""
    from cxrlens.runs.bundle import installed_models

    return [name for name in installed_models() if name.startswith(incomplete)]


def complete_label(incomplete: str) -> list[str]:
    """Offer a shell the classes."""
    from cxrlens.collections.tables import LABELS

    return [name for name in LABELS if name.startswith(incomplete)]


def complete_layout(incomplete: str) -> list[str]:
    """Offer a shell the layouts."""
    from cxrlens.collections.readers import LAYOUTS

    return [name for name in LAYOUTS if name.startswith(incomplete)]


FilmsTable = Annotated[
    Path, typer.Argument(metavar="FILMS.CSV", help="A collection, as `cxrlens collect` makes it.")
]
Films = Annotated[
    list[Path], typer.Argument(metavar="FILM|DIR...", help="Films, or folders of films.")
]
Model = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        autocompletion=complete_model,
        help="A run folder, a bundle, or an installed model's name (default: the one installed).",
    ),
]
OutFile = Annotated[
    Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write; - prints it.")
]
OutFolder = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where decoded films are kept (default: your cache folder)."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs.")
]
Site = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="SITE",
        help="A file of `cxrlens calibrate`: thresholds and probabilities of one's own place.",
    ),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-certificate", metavar="PEM", help="Our own, for a peer that asks for it."),
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="Its key.")]
TlsAuthority = Annotated[
    Path | None,
    typer.Option("--tls-ca", metavar="PEM", help="Who vouches for the other side's certificate."),
]
ForceAnswer = Annotated[
    bool,
    typer.Option(
        "--force-answer", help="Name a class even where the answer is `unsure`: for research."
    ),
]
ChainName = Annotated[
    Literal["none", "report", "robust"],
    typer.Option("--chain", help="The quality chain that looks."),
]
Palette = Annotated[
    Literal["ember", "report"],
    typer.Option(help="Of the map; report has the 2023 study's colours."),
]


def the_model(given: Path | None) -> Path:
    """Find the model that was asked for; see `cxrlens.runs.bundle.model_at`."""
    from cxrlens.runs.bundle import model_at

    return model_at(given)


def refuse_model(path: Path, verb: str, of: str) -> None:
    """Raise `CxrlensError` if what stands where films should is a model; the sentence says how to call it."""
    from cxrlens.runs import is_model

    if is_model(path):
        raise CxrlensError(f"{path} is a model: cxrlens {verb} {of} --model {path}")


def films_in(paths: list[Path], verb: str = "predict") -> list[Path]:
    """List the films that were named, those in folders included.

    Raises
    ------
    FilmError
        If there is none, or a path does not exist or may not be searched.
    CxrlensError
        If a path is a run or a bundle; the sentence shows how `verb` takes it.
    """
    from cxrlens.radiographs.read import find_films, other_files

    for path in paths:
        refuse_model(path, verb, "FILM")

    films = find_films(paths)
    passed = sum((other_files(path) for path in paths if path.is_dir()), Counter())
    if passed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in passed.most_common(9))
        err.print(f"Passed over, no kind of film that can be read: {escape(kinds)}")
    if not films:
        named = ", ".join(map(str, paths))
        raise FilmError(
            f"there is no film below {named}: name a folder of PNG, JPEG, TIFF, BMP, WebP or DICOM files"
        )
    return films


OPTION = "method"
"""The parameter of the verb that names a method."""


def complete(incomplete: str) -> list[tuple[str, str]]:
    """Offer a shell the methods whose names begin so, with what they show."""
    from cxrlens.explanation import METHODS

    return [(name, method.about) for name, method in METHODS.items() if name.startswith(incomplete)]


class ExplainCommand(TyperCommand):
    """The verb explain, whose help says what each method shows."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help with the names of the methods, and their words, in it."""
        told = complete("")
        for option in self.params:
            if option.name == OPTION:
                listed = "; ".join(f"{name}: {about}" for name, about in told)
                option.metavar = "|".join(name for name, _ in told)
                option.help = (  # type: ignore[attr-defined]
                    f"How to explain (default: the first that suits the model). {listed}."
                )
        super().format_help(ctx, formatter)


NOTICE = "Research use only: not a medical device, not a diagnosis."

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

PIPED = 160
"""Characters a line where no screen says how many there are."""

_WORDS = {
    "films of",
    "class",
    "source",
    "by",
    "group",
    "demanded",
    "threshold of",
    "target",
    "figure",
    "what it is",
    "needs",
}
"""Columns that hold words."""

LISTED = 20
"""Films that failed, or are unsure, that are named; of more there is the count."""


def escape(text: str) -> str:
    """Make text safe to print: neither rich's markup nor a terminal's signs in it act."""
    return _plain(visible(text, keep="\n"))


def fault(sentence: str) -> None:
    """Print why nothing was done."""
    err.print(f"[bold red]cxrlens:[/] {escape(sentence)}")


def done(wrote: str, then: str = "", at: Path | None = None) -> None:
    """Print what was written, `at` where, and what to do next; on stderr where that itself was printed."""
    from cxrlens.files import STDOUT

    console = err if at == STDOUT else out
    console.print(escape(wrote))
    if then and at != STDOUT:
        console.print(f"Next: {escape(then)}")


def end_with(failures: Mapping[str, str]) -> None:
    """List films that failed and leave with exit code 1; do nothing where there are none."""
    if not failures:
        return
    for sentence in list(failures.values())[:LISTED]:
        err.print(f"[red]skipped[/] {escape(sentence)}")
    if len(failures) > LISTED:
        err.print(f"[red]skipped[/] and {len(failures) - LISTED} more")
    err.print(f"{len(failures)} films could not be read; everything else was done.")
    raise typer.Exit(1)


def say_table(frame: "pd.DataFrame", title: str) -> None:
    """Print a table, if it has a row; columns that hold figures are set right."""
    if frame.empty:
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for place, name in enumerate(frame.columns):
        words = place == 0 or name in _WORDS
        table.add_column(str(name), justify="left" if words else "right", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(str(value)) for value in row))
    # A file or a pipe has no width of its own: give it what keeps a row on one line.
    console = out if out.is_terminal else Console(width=PIPED, highlight=False)
    console.print(table, soft_wrap=False)


@contextmanager
def stages() -> Iterator[Stages]:
    """Say a line as each stage ends; in a terminal, show a bar of the one under way below the lines."""
    ended: set[str] = set()

    def line(stage: str, count: int, total: int) -> None:
        if count == total and stage not in ended:
            ended.add(stage)
            err.print(f"{escape(stage)}: {total}")

    if not sys.stderr.isatty():
        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Bars(
        *columns,
        TimeRemainingColumn(),
        console=err,
        transient=True,
        # What a terminal shows may be recorded, and every drawing of the bar with it.
        refresh_per_second=2,
    )
    with bars:

        def bar(stage: str, count: int, total: int) -> None:
            shown = next((task for task in bars.tasks if task.description == escape(stage)), None)
            if not shown:
                for other in bars.task_ids:
                    bars.remove_task(other)
                bars.add_task(escape(stage), completed=count, total=total)
            else:
                bars.update(shown.id, completed=count, total=total)
            line(stage, count, total)

        yield bar


def say_epoch(epoch: Epoch) -> None:
    """Print what an epoch gave, a plain line in a log as in a terminal."""
    err.print(escape(str(epoch)))


@contextmanager
def stage(name: str) -> Iterator[Progress]:
    """Show a single bar."""
    with stages() as bar:
        yield lambda count, total: bar(name, count, total)
