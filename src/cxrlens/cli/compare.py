"""The verb compare: runs beside each other, and beside what was published."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cxrlens.cli.arguments import Force, OutFolder, Seed
from cxrlens.cli.say import done, out, say_table


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
    say_table(tables.overall_text(found, brief=True), "Overall (macro averages, 95 % intervals)")
    say_table(tables.per_class_text(found, brief=True), "Class by class")
    if found.pairs:
        say_table(tables.pairs_text(tables.shown_pairs(found)[0], brief=True), "On the same films")
    if found.chosen:
        out.print(escape(f"{tables.MARK} best validation macro F1: {found.chosen}"))
    for caution in [*([numbers.CAUTION] if published else []), *found.cautions()]:
        out.print(f"[yellow]{escape(caution)}[/]")
    done(f"{folder}: open {page}")
