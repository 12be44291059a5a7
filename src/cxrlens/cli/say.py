"""Print to the terminal: progress while it works, failures, and what to do next."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as _plain
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from cxrlens.errors import visible
from cxrlens.progress import Epoch, Progress, Stages

if TYPE_CHECKING:
    import pandas as pd

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
"""Failures that are printed; the rest are counted."""


def escape(text: str) -> str:
    """Make text safe to print: neither rich's markup nor a terminal's signs in it act."""
    return _plain(visible(text, keep="\n"))


def fault(sentence: str) -> None:
    """Print why nothing was done."""
    err.print(f"[bold red]cxrlens:[/] {escape(sentence)}")


def done(wrote: str, then: str = "") -> None:
    """Print what was written, and what to do next."""
    out.print(escape(wrote))
    if then:
        out.print(f"Next: {escape(then)}")


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
