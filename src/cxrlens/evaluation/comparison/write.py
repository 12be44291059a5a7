"""A comparison as files: six CSV tables, one Markdown text, one page."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cxrlens.evaluation.comparison import disease_pairs, plots, tables
from cxrlens.evaluation.comparison.compare import Comparison
from cxrlens.evaluation.comparison.entry import Entry
from cxrlens.evaluation.curves import learning_curve
from cxrlens.evaluation.published import numbers
from cxrlens.evaluation.sources import source_warning
from cxrlens.pages.page import NOTICE, Page, Plot
from cxrlens.writing import moved_into_place, refuse_existing, write_text

PAGE = "comparison.html"

FILES = (
    "overall.csv",
    "per-class.csv",
    "runs.csv",
    "pairs.csv",
    "sources.csv",
    "disease-pairs.csv",
    "comparison.md",
    PAGE,
)
"""What `write_comparison` leaves, in this order."""


def write_comparison(comparison: Comparison, folder: str | Path, force: bool = False) -> Path:
    """Write the tables of a comparison and its page.

    Parameters
    ----------
    comparison
        Measured runs.
    folder
        Gets `FILES`.
    force
        Replace those that exist; other files in the folder stay.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If one of the files exists and `force` is not set, or it cannot be written.
    """
    folder = Path(folder)
    for name in FILES:
        refuse_existing(folder / name, force)
    numeric: tuple[Callable[[Comparison], pd.DataFrame], ...] = (
        *(tables.overall, tables.per_class, tables.made, tables.pairs, tables.sources),
        lambda comparison: disease_pairs.paired(comparison.pairs),
    )
    for name, make in zip(FILES, numeric, strict=False):
        with moved_into_place(folder / name) as draft:
            make(comparison).to_csv(draft, index=False)
    write_text(folder / "comparison.md", as_markdown(comparison))
    return as_page(comparison).write(folder / PAGE, force=True)


def as_markdown(comparison: Comparison) -> str:
    """Write the tables as Markdown, with the cautions before them."""
    parts = ["# Runs compared", NOTICE, *_cautions(comparison)]
    for heading, caption, table, note in _sections(comparison):
        if table.empty:
            continue
        parts += [f"## {heading}", caption, tables.markdown(table).rstrip()]
        if note:
            parts.append(note)
    return "\n\n".join(parts) + "\n"


def as_page(comparison: Comparison) -> Page:
    """Put the comparison on one page: tables, macro F1, and the courses of all trainings."""
    runs = len(comparison.entries)
    page = Page(
        f"{runs} runs compared" if runs > 1 else f"The run “{comparison.entries[0].name}”",
        "Macro averages and classes as in the report's Tables 1 and 2, with 95\u00a0% intervals by "
        f"patient ({comparison.resamples:,} bootstrap samples)",
    )
    for heading, caption, table, note in _sections(comparison):
        page.section(heading)
        if heading == OVERALL:
            for caution in _cautions(comparison):
                page.warning(caution)
        if table.empty:
            page.text("There is nothing to show: " + _nothing(heading))
            continue
        for warning in _source_warnings(comparison) if heading == SOURCES else ():
            page.warning(warning)
        right = [name for name in table.columns if name not in _WORDS]
        page.table(table, caption, dict.fromkeys(right, str), note)
        if heading == OVERALL:
            page.figure(
                plots.macro_f1_plot(comparison),
                "Macro F1 of each run with its interval. " + _f1_in_words(comparison),
                "Macro F1 of the test films, with 95\u00a0% intervals by patient"
                + (
                    "; open diamonds are the report's numbers, measured on other films."
                    if comparison.published
                    else "."
                ),
            )
    _courses(page, comparison)
    _reading(page)
    return page


_WORDS = {
    *("run", "runs", "films", "class", "recipe", "backbone that ran", "its weights", "chain"),
    *("source", "device", *disease_pairs.WORDS),
}
"""Columns that hold words; all others are set right, like numbers."""

OVERALL, SOURCES = "Overall", "Errors by source"
DISEASES = "Each disease against normal"


def _sections(comparison: Comparison) -> list[tuple[str, str, pd.DataFrame, str]]:
    """Heading, caption, table and note of each part."""
    pairs, all_shown = tables.shown_pairs(comparison)
    chosen = comparison.chosen
    mark = (
        f"{tables.MARK} the best validation macro F1, by which a system is chosen" if chosen else ""
    )
    notes = {
        f"{entry.name}: {entry.validation_note}"
        for entry in comparison.entries
        if entry.validation_note
    }
    note = "; ".join([part for part in (mark, *sorted(notes)) if part])
    return [
        (
            OVERALL,
            "Macro averages: plain means over the classes that occur, as labels or predictions; in brackets "
            "the 95\u00a0% interval.",
            tables.overall_text(comparison),
            f"{note}." if note else "",
        ),
        (
            "Class by class",
            "Each class against the rest; in brackets the 95\u00a0% interval.",
            tables.per_class_text(comparison),
            "",
        ),
        (
            "On the same films",
            "Two runs on the films that both were tested on: McNemar's exact test and its mid-p on "
            "the films that one of them called rightly; the difference of macro F1 by bootstrap "
            f"over patients. Holm: adjusted for all {len(comparison.pairs)} pairs.",
            tables.pairs_text(pairs),
            "" if all_shown else f"Shown are the pairs with {chosen}; pairs.csv has all of them.",
        ),
        (
            DISEASES,
            "Difference of AUC of two runs, of a disease against normal films: over all films that both were "
            "tested on, and within each source that holds both. Holm: adjusted for all rows.",
            disease_pairs.paired_text(pairs),
            "" if all_shown else "disease-pairs.csv has all pairs.",
        ),
        (
            SOURCES,
            "Films called wrongly of all films of a source, and macro F1 over the classes that the "
            "source has; sources.csv has the intervals.",
            tables.sources_text(comparison),
            "",
        ),
        (
            "What they are",
            "The backbone that really ran and the weights that it started from.",
            tables.networks_text(comparison),
            "",
        ),
        (
            "How long they were trained",
            "Epochs and minutes, and the accuracies of the epoch whose weights were kept; the mean "
            "where there are members.",
            tables.trainings_text(comparison),
            "",
        ),
    ]


def _nothing(heading: str) -> str:
    if heading == DISEASES:
        return "no two runs have films of a disease and normal ones in common."
    if heading == SOURCES:
        return "no run has films of two sources or more."
    return "one run alone has nothing to be paired with."


def _cautions(comparison: Comparison) -> list[str]:
    said = list(comparison.cautions())
    return [numbers.CAUTION, *said] if comparison.published else said


def _source_warnings(comparison: Comparison) -> list[str]:
    """Say once for each set of test films how far the source gives the label away."""
    told: dict[frozenset[str], str] = {}
    for entry in comparison.entries:
        films = frozenset(entry.predictions["image"])
        if films not in told:
            told[films] = source_warning(entry.predictions, comparison.classes) or ""
    return [warning for warning in dict.fromkeys(told.values()) if warning]


def _f1_in_words(comparison: Comparison) -> str:
    return "; ".join(f"{entry.name} {entry.test.macro_f1:.4f}" for entry in comparison.entries)


def _courses(page: Page, comparison: Comparison) -> None:
    page.section("How training went", "training")
    trained = [entry for entry in comparison.entries if entry.trained]
    fitted = [entry.name for entry in comparison.entries if not entry.trained]
    if fitted:
        page.text(f"Fitted in one go, without epochs: {', '.join(fitted)}.")
    if not trained:
        return
    page.figures(
        [
            Plot(
                plots.courses_plot(comparison, f"validation_{quantity}"),
                f"Validation {quantity} of all runs over their epochs. At the end: "
                + "; ".join(
                    f"{entry.name}: {plots.last_values(entry.trained, f'validation_{quantity}')}"
                    for entry in trained
                ),
                caption,
            )
            for quantity, caption in (
                ("accuracy", "Validation accuracy of all runs; members are thin lines."),
                (
                    "loss",
                    "Validation loss of all runs. Each is the run's own loss: compare shapes, not "
                    "heights.",
                ),
            )
        ]
    )
    for entry in trained:
        page.subsection(entry.name)
        for member, course in entry.trained.items():
            page.figures(_course_plots(entry, member, course))


def _course_plots(entry: Entry, member: str, course: pd.DataFrame) -> list[Plot]:
    """Loss, accuracy and rate of one training, as in the report's Figures 7 to 12."""
    name = f"{entry.name}, {member}" if member else entry.name
    best = int(course["epoch"].to_numpy()[course["validation_accuracy"].to_numpy().argmax()])
    last = course.iloc[-1]
    drawn = [
        Plot(
            learning_curve(course, quantity, best),
            f"{quantity.capitalize()} of {name} over {len(course)} epochs; at the end "
            f"{last[f'train_{quantity}']:.3f} in training and "
            f"{last[f'validation_{quantity}']:.3f} in validation.",
            f"{name}: {quantity} of training and validation by epoch.",
        )
        for quantity in ("loss", "accuracy")
    ]
    rates = course["learning_rate"]
    drawn.append(
        Plot(
            plots.rate_plot(course),
            f"Learning rate of {name}, between {rates.min():.2g} and {rates.max():.2g}.",
            f"{name}: learning rate at the end of each epoch.",
        )
    )
    return drawn


def _reading(page: Page) -> None:
    page.section("How to read the figures", "reading")
    page.points(
        [
            "Systems are chosen by the macro F1 of their validation films; the test films are met "
            "once and choose nothing.",
            "McNemar's test takes films to be independent, which those of one patient are not; the "
            "bootstrap draws patients with all of their films. Where the two disagree, trust the "
            "bootstrap.",
            "A p that is not small does not say that two runs are equally good: the interval of the "
            "difference says how far apart they may be.",
            "Holm's adjustment is for the number of pairs on this page. Runs of one recipe with "
            "other seeds differ too: what separates two runs may be the draw of the weights, not "
            "the recipe.",
        ]
    )
