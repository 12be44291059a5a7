"""The verb compare: runs beside each other, and beside what was published."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.cli.arguments import Force, OutFolder, Seed
from cxrlens.cli.say import done, escape, out, say_table


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|TABLE...",
            help="Finished run folders, or tables of scores of anybody's models.",
        ),
    ],
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

    DIR gets overall.csv, per-class.csv, runs.csv, pairs.csv, sources.csv, disease-pairs.csv, comparison.md
    and comparison.html. With a TABLE among them each disease is held against normal films, in all and within
    each source: diseases.csv, pairs.csv and comparison.html.
    """
    from cxrlens.evaluation.comparison import (
        compare,
        compare_scores,
        tables,
        write_comparison,
        write_scored,
    )
    from cxrlens.evaluation.comparison.disease_pairs import paired_text
    from cxrlens.evaluation.published import numbers

    if any(not path.is_dir() for path in runs):
        if published:
            raise typer.BadParameter(
                "--published is for runs; with a table among them leave it out"
            )
        scored = compare_scores(runs, resamples=resamples, seed=seed)
        page = write_scored(scored, folder, force)
        say_table(
            scored.each_text(), "Each disease against normal films, 95 % intervals by patient"
        )
        if scored.pairs:
            say_table(paired_text(scored.pairs), "On the same films: difference of AUC")
        for caution in scored.cautions():
            out.print(f"[yellow]{escape(caution)}[/]")
        done(f"{folder}: open {page}")
        return

    found = compare(runs, published=published, resamples=resamples, seed=seed)
    page = write_comparison(found, folder, force)
    say_table(tables.overall_text(found, brief=True), "Overall (macro averages, 95 % intervals)")
    say_table(tables.per_class_text(found, brief=True), "Class by class")
    if found.pairs:
        shown = tables.shown_pairs(found)[0]
        say_table(tables.pairs_text(shown, brief=True), "On the same films")
        within = paired_text(shown)
        if len(within):
            say_table(within, "Each disease against normal films: difference of AUC")
    if found.chosen:
        out.print(escape(f"{tables.MARK} best validation macro F1: {found.chosen}"))
    for caution in [*([numbers.CAUTION] if published else []), *found.cautions()]:
        out.print(f"[yellow]{escape(caution)}[/]")
    done(f"{folder}: open {page}")
