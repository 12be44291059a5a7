"""Pages of comparisons: models side by side on the same films, and the trials of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from cxrlens.evaluation import comparison as tidy
from cxrlens.evaluation.card import source_warning
from cxrlens.evaluation.comparison import OURS, Comparison, Entry, Scored
from cxrlens.evaluation.tables import (
    MISSING,
    cell,
    paired,
    paired_text,
    readable,
    records,
    show,
    spread,
)
from cxrlens.files import moved_into_place, refuse_existing, write_text
from cxrlens.reports.figures import (
    DASHES,
    HUES,
    REFERENCE,
    Plot,
    counted,
    figure,
    history_axes,
    training_plots,
)
from cxrlens.reports.page import NOTICE, Page, Tile

if TYPE_CHECKING:  # it needs the extra tune
    from cxrlens.training.tuning import TrialRow, Tuned

MARK = "★"
"""Stands before the run that the validation films choose."""

FEW_PAIRS = 10
"""Up to so many pairs are shown; of more, those with the chosen run, and all of them as CSV."""

FILES = (
    "overall.csv",
    "per-class.csv",
    "runs.csv",
    "pairs.csv",
    "sources.csv",
    "disease-pairs.csv",
    "comparison.md",
    "comparison.html",
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
    of_runs = (tidy.overall, tidy.per_class, tidy.made, tidy.pairs, tidy.sources)
    tables = [*(make(comparison) for make in of_runs), paired(comparison.pairs)]
    _write_tables(folder, dict(zip(FILES, tables, strict=False)))
    write_text(folder / "comparison.md", as_markdown(comparison))
    return as_page(comparison).write(folder / FILES[-1], force=True)


def _write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        with moved_into_place(folder / name) as draft:
            table.to_csv(draft, index=False)


@dataclass(frozen=True)
class Section:
    """A part of a comparison, for the page, the Markdown and the terminal alike.

    Attributes
    ----------
    heading, caption, note
        Its words.
    table
        For people; empty where there is nothing to show.
    nothing
        Why the table is empty, where it is.
    """

    heading: str
    caption: str
    table: pd.DataFrame
    note: str = ""
    nothing: str = ""


OVERALL, SOURCES = "Overall", "Errors by source"


def sections(comparison: Comparison, brief: bool = False) -> list[Section]:
    """Write the tables of a comparison for people.

    Parameters
    ----------
    comparison
        Measured runs.
    brief
        For a narrow screen: fewer columns, and intervals of F1 alone.
    """
    entries, chosen = comparison.entries, comparison.chosen
    overall, made = tidy.overall(comparison), tidy.made(comparison)
    by_class, by_source = tidy.per_class(comparison), tidy.sources(comparison)
    pairs, diseases = tidy.pairs(comparison), paired(comparison.pairs)
    all_shown = chosen is None or len(pairs) <= FEW_PAIRS
    if chosen is not None and not all_shown:
        pairs, diseases = (
            table[table["first"].eq(chosen) | table["second"].eq(chosen)]
            for table in (pairs, diseases)
        )
    if brief:
        overall, by_class = (
            table[[name for name in table if not re.fullmatch("(?!.*f1).*_(low|high)", str(name))]]
            for table in (overall, by_class)
        )
    made = made.assign(
        device=[f"{show(row['device'])} {show(row['precision'])}" for row in records(made)],
        minutes=[show(minutes, 1) for minutes in made["minutes"]],
    )
    if len(pairs):
        pairs = pairs.assign(runs=pairs["first"] + " − " + pairs["second"])
    marks = [f"{MARK} " if one else "" for one in overall["chosen"]]
    whose = ["films"] if comparison.published else []
    said = {f"{entry.name}: {entry.validation_note}" for entry in entries if entry.validation_note}
    notes = [f"{MARK} the best validation macro F1, by which a system is chosen"] if chosen else []
    notes += sorted(said)
    wrong = [row | {"said": f"{row['wrong']:,} of {row['films']:,}"} for row in records(by_source)]
    for row in wrong:
        if row["classes"] > 1:
            row["said"] += f"; F1 {cell(row, 'macro_f1')}"
    names = sorted({row["source"] for row in wrong})
    errors = spread(wrong, ("run",), "source", "said").reindex(columns=["run", *names])
    pair_columns = ["runs", "common_films", "macro_f1_difference", "p", "p_holm"]
    pair_columns += ["only_first_right", "only_second_right"]
    pair_columns += ["mcnemar_mid", "mcnemar_mid_holm", "mcnemar_exact"]
    if brief:
        pair_columns = [n for n in pair_columns if "holm" not in n and n != "mcnemar_exact"]
    macro = ["macro_f1", "accuracy", "macro_precision", "macro_recall", "validation_macro_f1"]
    ran = ["recipe", "backbone", "weights", "side", "chain", "device"]
    trained = ["members", "epochs", "minutes", "train_accuracy", "validation_accuracy"]
    return [
        Section(
            OVERALL,
            "Macro averages: plain means over the classes that occur, as labels or predictions; in brackets "
            "the 95\u00a0% interval.",
            readable(
                overall.assign(run=marks + overall["run"]), ["run", *whose, *macro, "macro_auc"], 4
            ),
            f"{'; '.join(notes)}." if notes else "",
        ),
        Section(
            "Class by class",
            "Each class against the rest; in brackets the 95\u00a0% interval.",
            readable(
                by_class,
                ["run", *whose, "class", "test_films", "f1", "precision", "recall", "auc"],
                4,
            ),
        ),
        Section(
            "On the same films",
            "Two runs on the films that both were tested on: McNemar's exact test and its mid-p on "
            "the films that one of them called rightly; the difference of macro F1 by bootstrap "
            f"over patients. Holm: adjusted for all {len(comparison.pairs)} pairs.",
            readable(pairs, pair_columns, 4),
            "" if all_shown else f"Shown are the pairs with {chosen}; pairs.csv has all of them.",
            "one run alone has nothing to be paired with.",
        ),
        Section(
            "Each disease against normal",
            "Difference of AUC of two runs, of a disease against normal films: over all films that both were "
            "tested on, and within each source that holds both. Holm: adjusted for all rows.",
            paired_text(diseases),
            "" if all_shown else "disease-pairs.csv has all pairs.",
            "no two runs have films of a disease and normal ones in common.",
        ),
        Section(
            SOURCES,
            "Films called wrongly of all films of a source, and macro F1 over the classes that the "
            "source has; sources.csv has the intervals.",
            errors.fillna(MISSING) if wrong else pd.DataFrame(),
            nothing="no run has films of two sources or more.",
        ),
        Section(
            "What they are",
            "The backbone that really ran and the weights that it started from.",
            readable(made[made["films"].eq(OURS)], ["run", *ran]),
        ),
        Section(
            "How long they were trained",
            "Epochs and minutes, and the accuracies of the epoch whose weights were kept; the mean "
            "where there are members.",
            readable(made, ["run", *whose, *trained], 4),
        ),
    ]


def as_markdown(comparison: Comparison) -> str:
    """Write the tables as Markdown, with the cautions before them."""
    parts = ["# Runs compared", NOTICE, *comparison.cautions()]
    for part in sections(comparison):
        if len(part.table):
            parts += [f"## {part.heading}", part.caption, markdown(part.table).rstrip(), part.note]
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown(table: pd.DataFrame) -> str:
    """Write a table of texts as Markdown."""

    def line(values: Sequence[object]) -> str:
        cells = (str(value).replace("|", "\\|").replace("\n", " ") for value in values)
        return f"| {' | '.join(cells)} |"

    names = [str(name) for name in table.columns]
    rows = [line(list(row)) for row in table.itertuples(index=False)]
    return "\n".join([line(names), line(["---"] * len(names)), *rows]) + "\n"


def as_page(comparison: Comparison) -> Page:
    """Put the comparison on one page: tables, macro F1, and the courses of all trainings."""
    runs = len(comparison.entries)
    page = Page(
        f"{runs} runs compared" if runs > 1 else f"The run “{comparison.entries[0].name}”",
        "Macro averages and classes as in the report's Tables 1 and 2, with 95\u00a0% intervals by "
        f"patient ({comparison.resamples:,} bootstrap samples)",
    )
    for part in sections(comparison):
        page.section(part.heading)
        for caution in comparison.cautions() if part.heading == OVERALL else ():
            page.warning(caution)
        if part.table.empty:
            page.text("There is nothing to show: " + part.nothing)
            continue
        for warning in _source_warnings(comparison) if part.heading == SOURCES else ():
            page.warning(warning)
        page.table(part.table, part.caption, note=part.note)
        if part.heading == OVERALL:
            page.figures([_macro_f1(comparison)])
    _courses(page, comparison)
    _reading(page)
    return page


def _source_warnings(comparison: Comparison) -> list[str]:
    """Say once for each set of test films how far the source gives the label away."""
    told: dict[frozenset[str], str] = {}
    for entry in comparison.entries:
        films = frozenset(entry.predictions["image"])
        if films not in told:
            told[films] = source_warning(entry.predictions, comparison.classes) or ""
    return [warning for warning in dict.fromkeys(told.values()) if warning]


def _macro_f1(comparison: Comparison) -> Plot:
    """Plot each run's macro F1 with its interval, and the published ones as open diamonds."""
    study = tidy.published("overall") if comparison.published else pd.DataFrame()
    values = {entry.name: entry.test.estimate("macro_f1") for entry in comparison.entries}
    count = len(values) + len(study)
    with figure(6.2, 0.9 + 0.28 * count) as (drawing, (axes,)):
        for place, one in enumerate(values.values()):
            if one.interval:
                axes.plot([one.interval.low, one.interval.high], [place, place], color=HUES[0])
            axes.plot(float(one.value or 0), place, color=HUES[0], marker="o", linestyle="")
        axes.plot(
            study.get("f1", []),
            range(len(values), count),
            color=REFERENCE,
            marker="D",
            markerfacecolor="none",
            linestyle="",
        )
        systems = [f"{system} (published)" for system in study.get("system", [])]
        axes.set_yticks(range(count), [*values, *systems])
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlabel("macro F1 of the test films")
        axes.set_title("Macro F1 and 95 % intervals")
    theirs = "; open diamonds are the report's numbers, measured on other films" if systems else ""
    return Plot(
        drawing,
        "Macro F1 of each run with its interval. "
        + "; ".join(f"{name} {show(one.value, 4)}" for name, one in values.items()),
        f"Macro F1 of the test films, with 95\u00a0% intervals by patient{theirs}.",
    )


def _courses(page: Page, comparison: Comparison) -> None:
    page.section("How training went", "training")
    trained = [entry for entry in comparison.entries if entry.trained]
    fitted = [entry.name for entry in comparison.entries if not entry.trained]
    if fitted:
        page.text(f"Fitted in one go, without epochs: {', '.join(fitted)}.")
    if not trained:
        return
    captions = {
        "accuracy": "Validation accuracy of all runs; members are thin lines.",
        "loss": "Validation loss of all runs. Each is the run's own loss: compare shapes, not heights.",
    }
    page.figures([_all_courses(comparison, *one) for one in captions.items()])
    for entry in trained:
        page.subsection(entry.name)
        for member, course in entry.trained.items():
            name = f"{entry.name}, {member}" if member else entry.name
            page.figures(
                [*training_plots(course, entry.run.kept(course), name), _rates(course, name)]
            )


def run_line(place: int) -> dict[str, Any]:
    """Colour and dash of a run by its place; no two alike among 24."""
    return {
        "color": HUES[place % len(HUES)],
        "linestyle": DASHES[place // len(HUES) % len(DASHES)],
    }


def _all_courses(comparison: Comparison, quantity: str, caption: str) -> Plot:
    """Plot a quantity of the validation films over the epochs, all runs in one; members share their line."""
    column, ends = f"validation_{quantity}", []
    with figure(6.2, 4.0) as (drawing, (axes,)):
        for place, entry in enumerate(comparison.entries):
            for number, course in enumerate(entry.trained.values()):
                axes.plot(
                    counted(course),
                    course[column],
                    label=None if number else entry.name,
                    linewidth=1.8 if len(entry.trained) == 1 else 1.0,
                    marker="o" if len(course) == 1 else "",
                    **run_line(place),
                )
            if entry.trained:
                ends.append(f"{entry.name}: {_last(entry, column)}")
        history_axes(axes, f"Validation {quantity}", quantity)
        axes.legend()
    return Plot(
        drawing,
        f"Validation {quantity} of all runs over their epochs. At the end: {'; '.join(ends)}",
        caption,
    )


def _last(entry: Entry, column: str) -> str:
    return "; ".join(
        f"{name or 'the run'} {course[column].iloc[-1]:.3f}"
        for name, course in entry.trained.items()
    )


def _rates(course: pd.DataFrame, name: str) -> Plot:
    """Plot the learning rate at the end of each epoch."""
    rates = course["learning_rate"]
    with figure() as (drawing, (axes,)):
        axes.plot(counted(course), rates, color=HUES[0], marker="o" if len(course) < 40 else "")
        history_axes(axes, "Learning rate", "rate")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    return Plot(
        drawing,
        f"Learning rate of {name}, between {rates.min():.2g} and {rates.max():.2g}.",
        f"{name}: learning rate at the end of each epoch.",
    )


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


SCORED_FILES = ("diseases.csv", "pairs.csv", "comparison.html")
"""What `write_scored` leaves."""


def write_scored(found: Scored, folder: Path, force: bool = False) -> Path:
    """Write the tables of a comparison and its page.

    Parameters
    ----------
    found
        What `compare_scores` gave.
    folder
        Gets `SCORED_FILES`.
    force
        Replace those that exist.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If one of the files exists and `force` is not set, or it cannot be written.
    """
    for name in SCORED_FILES:
        refuse_existing(folder / name, force)
    table = paired(found.pairs)
    _write_tables(folder, dict(zip(SCORED_FILES, (found.each(), table), strict=False)))
    page = Page(
        f"{len(found.scores)} tables of scores compared",
        "Each disease against normal films, with 95\u00a0% intervals by patient",
    )
    page.section("On the same films")
    for caution in found.cautions():
        page.warning(caution)
    if len(table):
        page.table(
            paired_text(table),
            "Difference of AUC of two tables on the films that both score, over all of them and within each "
            "source that holds the disease and normal films; bootstrap over patients. Holm: adjusted for all "
            "rows.",
        )
    page.section("Each table by itself")
    page.table(found.each_text(), "How far films of a disease stand above normal ones.")
    for name, one in found.scores.items():
        if one.notes:
            page.subsection(name)
            page.points(one.notes)
    return page.write(folder / SCORED_FILES[-1], force=True)


_LOGARITHMIC = {"learning_rate_low", "learning_rate_high", "width"}


def write_study_page(path: Path, found: Tuned) -> Path:
    """Write the page of a study; one that is there is replaced.

    Parameters
    ----------
    path
        The HTML file.
    found
        What `tune` gives, or has got so far.
    """
    recipe, trials, importance = found.recipe, found.trials, found.importance
    complete = [trial for trial in trials if trial.value is not None]
    pruned = sum(trial.state == "pruned" for trial in trials)
    page = Page(
        f"Tuning of {recipe.name}",
        f"{len(trials)} trials, {pruned} of them stopped early; chosen by the macro F1 of the "
        "validation films",
    )
    page.section("In short")
    if complete:
        best = max(complete, key=lambda trial: trial.value or 0.0)
        page.tiles(
            [
                Tile("Best macro F1", f"{best.value:.4f}", "of the validation films"),
                Tile("Trial", f"{best.number:04d}", f"{len(best.accuracies)} epochs"),
                Tile("Time", f"{sum(t.seconds for t in trials) / 60:.1f} min", "of all trials"),
            ]
        )
        page.facts({name: _said(value) for name, value in best.settings.items()})
        page.text(
            "best.yaml holds this as a recipe: cxrlens train best.yaml films.csv -o runs/NAME. Its "
            "validation score flatters, being the best of many; the test films, which no trial has "
            "met, say how good it is."
        )
    else:
        page.text("No trial has come to its end yet.")
    page.section("How the trials went")
    plots = [_history(complete)] if complete else []
    if with_epochs := [trial for trial in trials if trial.accuracies]:
        plots.append(_study_courses(with_epochs))
    if plots:
        page.figures(plots)
    if importance:
        table = pd.DataFrame({"setting": list(importance), "share": list(importance.values())})
        page.table(table, "Share of each setting in the spread of the trials' values.")
    if len(complete) > 1:
        page.section("What was drawn, and what came of it")
        page.figures([_slice(complete, name) for name in complete[0].settings])
    page.section("All trials")
    page.table(
        _table(trials),
        "The best first, then those stopped early. Accuracy: the best of the epochs, on validation films.",
        dict.fromkeys(
            ("macro F1", "accuracy", "minutes", "learning_rate_low", "learning_rate_high"), str
        ),
    )
    page.section("The recipe that was begun with", "recipe")
    page.code(recipe.to_yaml())
    return page.write(path, force=True)


def _table(trials: Sequence[TrialRow]) -> pd.DataFrame:
    ordered = sorted(trials, key=lambda trial: (-(trial.value or -1.0), trial.number))
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    return pd.DataFrame(
        [
            {
                "trial": f"{trial.number:04d}",
                "state": "stopped early" if trial.state == "pruned" else trial.state,
                "macro F1": MISSING if trial.value is None else f"{trial.value:.4f}",
                "accuracy": f"{max(trial.accuracies):.4f}" if trial.accuracies else MISSING,
                "epochs": len(trial.accuracies),
                "minutes": f"{trial.seconds / 60:.1f}",
                **{name: _said(trial.settings.get(name)) for name in names},
            }
            for trial in ordered
        ]
    )


def _said(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value) or "nothing frozen"


def _history(complete: Sequence[TrialRow]) -> Plot:
    numbers = [trial.number for trial in complete]
    values = [trial.value or 0.0 for trial in complete]
    best = pd.Series(values).cummax()
    with figure() as (drawing, (axes,)):
        axes.plot(numbers, values, color=HUES[0], marker="o", linestyle="", label="a trial")
        axes.step(numbers, best, where="post", color=REFERENCE, label="the best so far")
        axes.set_xlabel("trial")
        axes.set_title("Macro F1 of the validation films")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()
    return Plot(
        drawing,
        f"Macro F1 of {len(complete)} finished trials, from {min(values):.4f} to {max(values):.4f}.",
        "Macro F1 of each finished trial, and the best so far.",
    )


def _study_courses(shown: Sequence[TrialRow]) -> Plot:
    with figure() as (drawing, (axes,)):
        for trial in shown:
            done = trial.value is not None
            axes.plot(
                range(1, len(trial.accuracies) + 1),
                trial.accuracies,
                color=HUES[0] if done else HUES[1],
                linestyle="-" if done else (0, (4, 2)),
                linewidth=1.0,
                marker="." if len(trial.accuracies) == 1 else "",
            )
        history_axes(axes, "Validation accuracy", "accuracy")
    return Plot(
        drawing,
        f"Validation accuracy of {len(shown)} trials by epoch; the best reached "
        f"{max(max(trial.accuracies) for trial in shown):.4f}.",
        "Validation accuracy of each trial by epoch; dashed lines were stopped early or are under way.",
    )


def _slice(complete: Sequence[TrialRow], name: str) -> Plot:
    drawn = [trial.settings[name] for trial in complete]
    words = any(isinstance(value, str) for value in drawn)
    places: list[Any] = [_said(value) for value in drawn] if words else drawn
    values = [trial.value or 0.0 for trial in complete]
    drawing = _scatter(places, values, name)
    best = max(complete, key=lambda trial: trial.value or 0.0)
    return Plot(
        drawing,
        f"Macro F1 against {name} of {len(complete)} trials; the best has {_said(best.settings[name])}.",
        f"Macro F1 of the validation films against {name}.",
    )


def _scatter(places: Sequence[Any], values: Sequence[float], name: str) -> Figure:
    with figure() as (drawing, (axes,)):
        axes.plot(places, values, color=HUES[0], marker="o", linestyle="")
        if name in _LOGARITHMIC:
            axes.set_xscale("log")
            # Our style draws no formulas: plain numbers instead of powers of ten.
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name)
        axes.set_title("Macro F1")
    return drawing
