"""The verb compare: runs beside each other, and beside what was published."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrlens.cli.arguments import Force, OutFolder, Seed
from cxrlens.cli.say import done, out

if TYPE_CHECKING:
    import pandas as pd

PIPED = 160
"""Characters a line where no screen says how many there are."""


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    folder: OutFolder,
    published: Annotated[
        bool, typer.Option("--published", help="Show the report's numbers beside ours.")
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=100, help="Bootstrap samples of patients for intervals and p.")
    ] = 1000,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Set runs beside each other: overall, class by class, paired on the same films, curves.

    DIR gets overall.csv, per-class.csv, runs.csv, pairs.csv, sources.csv, comparison.md and
    comparison.html.
    """
    from cxrlens.evaluation.comparison import compare, tables, write_comparison
    from cxrlens.evaluation.published import numbers

    found = compare(runs, published=published, resamples=resamples, seed=seed)
    page = write_comparison(found, folder, force)
    _print(tables.overall_text(found, brief=True), "Overall (macro averages, 95 % intervals)")
    _print(tables.per_class_text(found, brief=True), "Class by class")
    if found.pairs:
        _print(tables.pairs_text(tables.shown_pairs(found)[0], brief=True), "On the same films")
    if found.chosen:
        out.print(escape(f"{tables.MARK} best validation macro F1: {found.chosen}"))
    for caution in [*([numbers.CAUTION] if published else []), *found.cautions()]:
        out.print(f"[yellow]{escape(caution)}[/]")
    done(f"{folder}: open {page}")


def _print(frame: "pd.DataFrame", title: str) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for place, name in enumerate(frame.columns):
        words = place == 0 or name in {"films", "class"}
        table.add_column(str(name), justify="left" if words else "right", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(str(value)) for value in row))
    # A file or a pipe has no width of its own: give it what keeps a row on one line.
    console = out if out.is_terminal else Console(width=PIPED, highlight=False)
    console.print(table, soft_wrap=False)
