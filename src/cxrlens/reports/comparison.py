"""A comparison as files: six CSV tables, one Markdown text, one page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cxrlens.evaluation import published as numbers
from cxrlens.evaluation.comparison import Comparison, Entry, Pair, Scored
from cxrlens.evaluation.metrics import Metrics
from cxrlens.evaluation.sources import MISSING, p_text, source_warning
from cxrlens.evaluation.tables import WORDS as PAIR_WORDS
from cxrlens.evaluation.tables import paired, paired_text
from cxrlens.files import moved_into_place, refuse_existing, write_text
from cxrlens.reports.curves import learning_curve
from cxrlens.reports.figures import HUES, REFERENCE, figure
from cxrlens.reports.page import NOTICE, Page, Plot

OURS, REPORT = "ours", "report"
"""Whose test films a row was measured on."""

OVERALL = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_auc")
PER_CLASS = ("precision", "recall", "f1", "auc")

SECOND = " (second group)"
"""Marks the rows of another group, which worked on the report's set."""

MARK = "★"
"""Stands before the run that the validation films choose."""

FEW_PAIRS = 10
"""Up to so many pairs are shown; of more, those with the chosen run, and all of them as CSV."""


def overall(comparison: Comparison) -> pd.DataFrame:
    """Tabulate macro averages, as in the report's Table 1: a run a row, then what was published.

    Returns
    -------
    DataFrame
        ``run``, ``films`` (whose test films), ``test_films``, ``patients``, each of `OVERALL` with
        ``_low`` and ``_high``, ``validation_macro_f1``, ``validation_note``, ``chosen``.
    """
    rows: list[dict[str, Any]] = [
        {
            "run": entry.name,
            "films": OURS,
            "test_films": entry.test.films,
            "patients": entry.test.patients,
            **_with_bounds(entry.test, {name: name for name in OVERALL}),
            "validation_macro_f1": entry.validation_f1,
            "validation_note": entry.validation_note,
            "chosen": entry.name == comparison.chosen,
        }
        for entry in comparison.entries
    ]
    if comparison.published:
        for row in numbers.overall().to_dict("records"):
            rows.append(
                {
                    "run": row["system"],
                    "films": REPORT,
                    "test_films": sum(numbers.TEST_FILMS.values()),
                    "accuracy": row["accuracy"],
                    "macro_precision": row["precision"],
                    "macro_recall": row["recall"],
                    "macro_f1": row["f1"],
                    "chosen": False,
                }
            )
        for row in numbers.second_group().to_dict("records"):
            rows.append(
                {
                    "run": f"{row['system']}{SECOND}",
                    "films": REPORT,
                    "accuracy": row["accuracy"],
                    "chosen": False,
                }
            )
    return _whole(pd.DataFrame(rows), "test_films", "patients")


def per_class(comparison: Comparison) -> pd.DataFrame:
    """Tabulate each class against the rest, as in the report's Table 2.

    Returns
    -------
    DataFrame
        ``run``, ``films``, ``class``, ``test_films``, each of `PER_CLASS` with bounds.
    """
    rows: list[dict[str, Any]] = []
    for entry in comparison.entries:
        for name in comparison.classes:
            flat = {f"{name}.{quantity}": quantity for quantity in PER_CLASS}
            rows.append(
                {
                    "run": entry.name,
                    "films": OURS,
                    "class": name,
                    "test_films": entry.test.by_class[name].films,
                    **_with_bounds(entry.test, flat),
                }
            )
    if comparison.published:
        for row in numbers.per_class().to_dict("records"):
            rows.append(
                {
                    "run": row["system"],
                    "films": REPORT,
                    "class": row["class"],
                    "test_films": numbers.TEST_FILMS[row["class"]],
                    **{name: row[name] for name in ("precision", "recall", "f1")},
                }
            )
        for row in numbers.second_group().to_dict("records"):
            for name in numbers.TEST_FILMS:
                rows.append(
                    {
                        "run": f"{row['system']}{SECOND}",
                        "films": REPORT,
                        "class": name,
                        "f1": row[f"{name}_f1"],
                    }
                )
    return _whole(pd.DataFrame(rows), "test_films")


def made(comparison: Comparison) -> pd.DataFrame:
    """Tabulate how each run was made: see `cxrlens.evaluation.comparison.Entry.made`."""
    rows = [entry.made() | {"films": OURS} for entry in comparison.entries]
    if comparison.published:
        for row in numbers.training().to_dict("records"):
            member = "" if pd.isna(row["member"]) else f" ({row['member']})"
            rows.append(
                {
                    "run": f"{row['system']}{member}",
                    "films": REPORT,
                    "epochs": row["epochs"],
                    "train_accuracy": row["train_accuracy"],
                    "validation_accuracy": row["validation_accuracy"],
                }
            )
    return _whole(pd.DataFrame(rows), "side", "members")


def pairs(comparison: Comparison) -> pd.DataFrame:
    """Tabulate the paired tests, every two runs a row; pairs without a common film have no values."""
    return pd.DataFrame([_pair_row(pair) for pair in comparison.pairs])


def sources(comparison: Comparison) -> pd.DataFrame:
    """Tabulate errors by source: ``run``, ``source``, ``films``, ``wrong``, accuracy, macro F1.

    Macro F1 is given for sources with two classes or more. Empty where no run knows of two sources.
    """
    rows = []
    for entry in comparison.entries:
        for source, one in entry.test.by_source.items():
            classes = sum(part.films > 0 for part in one.by_class.values())
            names = {
                name: name for name in ("accuracy", "macro_f1") if classes > 1 or "f1" not in name
            }
            wrong = one.films - sum(row[i] for i, row in enumerate(one.confusion))
            rows.append(
                {
                    "run": entry.name,
                    "source": source,
                    "films": one.films,
                    "classes": classes,
                    "wrong": wrong,
                    **_with_bounds(one, names),
                }
            )
    return pd.DataFrame(rows)


def shown_pairs(comparison: Comparison) -> tuple[Sequence[Pair], bool]:
    """Choose the pairs to show, and say whether they are all of them."""
    if len(comparison.pairs) <= FEW_PAIRS or comparison.chosen is None:
        return comparison.pairs, True
    return [
        pair for pair in comparison.pairs if comparison.chosen in (pair.first, pair.second)
    ], False


def overall_text(comparison: Comparison, brief: bool = False) -> pd.DataFrame:
    """Write `overall` for people: a figure with its interval in one cell, the chosen run marked.

    Parameters
    ----------
    comparison
        Measured runs.
    brief
        For a narrow screen: intervals of F1 alone.
    """
    write = _plain if brief else cell
    rows = []
    for row in _rows(overall(comparison)):
        rows.append(
            {
                "run": f"{MARK} {row['run']}" if row["chosen"] else row["run"],
                **_whose(comparison, row),
                "F1": cell(row, "macro_f1"),
                "accuracy": write(row, "accuracy"),
                "precision": write(row, "macro_precision"),
                "recall": write(row, "macro_recall"),
                "validation F1": number(row["validation_macro_f1"]),
                "AUC": write(row, "macro_auc"),
            }
        )
    return pd.DataFrame(rows)


def per_class_text(comparison: Comparison, brief: bool = False) -> pd.DataFrame:
    """Write `per_class` for people; see `overall_text`."""
    write = _plain if brief else cell
    return pd.DataFrame(
        [
            {
                "run": row["run"],
                **_whose(comparison, row),
                "class": row["class"],
                "test films": MISSING if pd.isna(row["test_films"]) else f"{row['test_films']:,}",
                "F1": cell(row, "f1"),
                "precision": write(row, "precision"),
                "recall": write(row, "recall"),
                "AUC": write(row, "auc"),
            }
            for row in _rows(per_class(comparison))
        ]
    )


def networks_text(comparison: Comparison) -> pd.DataFrame:
    """Write for people what each run is: the backbone that really ran, with which weights."""
    return pd.DataFrame(
        [
            {
                "run": row["run"],
                "recipe": text(row["recipe"]),
                "backbone that ran": text(row["backbone"]),
                "its weights": text(row["weights"]),
                "side": text(row["side"]),
                "chain": text(row["chain"]),
                "device": " ".join(text(row[name]) for name in ("device", "precision")),
            }
            for row in _rows(made(comparison))
            if row["films"] == OURS
        ]
    )


def trainings_text(comparison: Comparison) -> pd.DataFrame:
    """Write for people how each run was trained: epochs, minutes, accuracies."""
    return pd.DataFrame(
        [
            {
                "run": row["run"],
                **_whose(comparison, row),
                "members": text(row["members"]),
                "epochs": text(row["epochs"]),
                "minutes": MISSING if pd.isna(row["minutes"]) else f"{row['minutes']:.1f}",
                "training accuracy": number(row["train_accuracy"]),
                "validation accuracy": number(row["validation_accuracy"]),
            }
            for row in _rows(made(comparison))
        ]
    )


def pairs_text(chosen: Sequence[Pair], brief: bool = False) -> pd.DataFrame:
    """Write paired tests for people; `brief` leaves out what a narrow screen has no room for."""
    rows = []
    for pair in chosen:
        row = _pair_row(pair)
        said = {
            "runs": f"{pair.first} − {pair.second}",
            "common films": f"{pair.common:,}",
            "F1 difference": cell(row, "macro_f1_difference", signed=True),
            "its p": p_text(row["p"]),
            "its p, Holm": p_text(row["p_holm"]),
            "only first right": text(row["only_first_right"]),
            "only second right": text(row["only_second_right"]),
            "mid-p": p_text(row["mcnemar_mid"]),
            "mid-p, Holm": p_text(row["mcnemar_mid_holm"]),
            "exact p": p_text(row["mcnemar_exact"]),
        }
        for name in ("exact p", "mid-p, Holm", "its p, Holm") if brief else ():
            del said[name]
        rows.append(said)
    return pd.DataFrame(rows)


def sources_text(comparison: Comparison) -> pd.DataFrame:
    """Write errors by source for people: a run a row, a source a column."""
    table = sources(comparison)
    if table.empty:
        return table
    rows = []
    for entry in comparison.entries:
        row = {"run": entry.name}
        for source in sorted(set(table["source"])):
            chosen = table[(table["run"] == entry.name) & (table["source"] == source)]
            row[source] = next(map(_source_cell, _rows(chosen)), MISSING)
        rows.append(row)
    return pd.DataFrame(rows)


def _source_cell(row: Mapping[str, Any]) -> str:
    said = f"{row['wrong']:,} of {row['films']:,}"
    return said if row["classes"] < 2 else f"{said}; F1 {_short(row['macro_f1'])}"


def number(value: Any, signed: bool = False) -> str:
    """Write a share with four decimals, as the report does; a dash where there is none."""
    if value is None or pd.isna(value):
        return MISSING
    return f"{value:+.4f}".replace("-", "−") if signed else f"{value:.4f}"


def cell(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
    """Write a figure of a row, with its interval where it has one."""
    said = number(row.get(name), signed)
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return said
    if signed:
        return f"{said} ({_short(low, True)} to {_short(high, True)})"
    return f"{said} ({_short(low)}–{_short(high)})"


def _short(value: float, signed: bool = False) -> str:
    """Write a bound with three decimals and no 0 before the point, so that tables stay narrow."""
    said = f"{value:+.3f}" if signed else f"{value:.3f}"
    return said.replace("0.", ".", 1).replace("-", "−")


def _plain(row: Mapping[str, Any], name: str) -> str:
    return number(row.get(name))


def text(value: Any) -> str:
    """Write a value as it is; a dash where there is none."""
    return MISSING if value is None or pd.isna(value) else str(value)


def markdown(table: pd.DataFrame) -> str:
    """Write a table of texts as Markdown."""

    def line(values: Sequence[object]) -> str:
        cells = (str(value).replace("|", "\\|").replace("\n", " ") for value in values)
        return f"| {' | '.join(cells)} |"

    names = [str(name) for name in table.columns]
    rows = [line(list(row)) for row in table.itertuples(index=False)]
    return "\n".join([line(names), line(["---"] * len(names)), *rows]) + "\n"


def _whose(comparison: Comparison, row: Mapping[str, Any]) -> dict[str, str]:
    return {"films": str(row["films"])} if comparison.published else {}


def _with_bounds(metrics: Metrics, names: Mapping[str, str]) -> dict[str, float | None]:
    flat = metrics.flat()
    values: dict[str, float | None] = {}
    for name, column in names.items():
        interval = metrics.interval(name)
        values[column] = flat[name]
        values[f"{column}_low"] = interval.low if interval else None
        values[f"{column}_high"] = interval.high if interval else None
    return values


def _pair_row(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "first": pair.first,
        "second": pair.second,
        "common_films": pair.common,
        "same_test_films": pair.whole,
        "different_labels": pair.relabelled,
    }
    found = pair.result
    interval = found.macro_f1.interval if found else None
    return row | {
        "patients": found.patients if found else None,
        "only_first_right": found.mcnemar.first if found else None,
        "only_second_right": found.mcnemar.second if found else None,
        "mcnemar_exact": found.mcnemar.exact if found else None,
        "mcnemar_mid": found.mcnemar.mid if found else None,
        "mcnemar_mid_holm": pair.adjusted[1],
        "macro_f1_difference": found.macro_f1.value if found else None,
        "macro_f1_difference_low": interval.low if interval else None,
        "macro_f1_difference_high": interval.high if interval else None,
        "p": found.macro_f1.p if found else None,
        "p_holm": pair.adjusted[0],
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _whole(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Keep counts whole numbers where some are missing."""
    return table.astype({name: "Int64" for name in columns if name in table})


_DASHES: Sequence[Any] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.2, 1.2, 1.2)))


def run_line(place: int) -> dict[str, Any]:
    """Colour and dash of a run by its place; no two alike among 24."""
    return {
        "color": HUES[place % len(HUES)],
        "linestyle": _DASHES[place // len(HUES) % len(_DASHES)],
    }


def macro_f1_plot(comparison: Comparison) -> Figure:
    """Plot each run's macro F1 with its interval, and the published ones as open diamonds."""
    published = numbers.overall() if comparison.published else pd.DataFrame()
    count = len(comparison.entries) + len(published)
    with figure(6.2, 0.9 + 0.28 * count) as (drawing, (axes,)):
        labels = []
        for place, entry in enumerate(comparison.entries):
            value, interval = entry.test.macro_f1, entry.test.interval("macro_f1")
            if interval:
                axes.plot([interval.low, interval.high], [place, place], color=HUES[0])
            axes.plot([value], [place], color=HUES[0], marker="o", linestyle="")
            labels.append(entry.name)
        for place, (system, value) in enumerate(
            zip(published.get("system", []), published.get("f1", []), strict=True),
            start=len(labels),
        ):
            axes.plot(
                [value],
                [place],
                color=REFERENCE,
                marker="D",
                markerfacecolor="none",
                linestyle="",
            )
            labels.append(f"{system} (published)")
        axes.set_yticks(range(count), labels)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlabel("macro F1 of the test films")
        axes.set_title("Macro F1 and 95 % intervals")
    return drawing


def courses_plot(comparison: Comparison, quantity: str) -> Figure:
    """Plot a quantity of the history over the epochs, all runs in one; members share their line.

    Parameters
    ----------
    comparison
        Runs without epochs are left out.
    quantity
        A column of the histories, e.g. ``validation_accuracy``.
    """
    with figure(6.2, 4.0) as (drawing, (axes,)):
        for place, entry in enumerate(comparison.entries):
            label: str | None = entry.name
            for course in entry.trained.values():
                axes.plot(
                    course["epoch"],
                    course[quantity],
                    label=label,
                    linewidth=1.8 if len(entry.trained) == 1 else 1.0,
                    marker="o" if len(course) == 1 else "",
                    **run_line(place),
                )
                label = None
        axes.set_xlabel("epoch")
        axes.set_title(quantity.replace("_", " ").capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if quantity.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        else:
            axes.set_ylim(bottom=0)
        axes.legend()
    return drawing


def rate_plot(course: pd.DataFrame) -> Figure:
    """Plot the learning rate at the end of each epoch."""
    with figure(5.0, 3.5) as (drawing, (axes,)):
        marker = "o" if len(course) < 40 else ""
        axes.plot(course["epoch"], course["learning_rate"], color=HUES[0], marker=marker)
        axes.set_xlabel("epoch")
        axes.set_title("Learning rate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        axes.set_ylim(bottom=0)
    return drawing


def last_values(courses: Mapping[str, pd.DataFrame], quantity: str) -> str:
    """Say in words where a quantity ended, training by training."""
    return "; ".join(
        f"{name or 'the run'} {course[quantity].iloc[-1]:.3f}" for name, course in courses.items()
    )


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
        *(overall, per_class, made, pairs, sources),
        lambda comparison: paired(comparison.pairs),
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
        parts += [f"## {heading}", caption, markdown(table).rstrip()]
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
        if heading == OVERALL_FILE:
            for caution in _cautions(comparison):
                page.warning(caution)
        if table.empty:
            page.text("There is nothing to show: " + _nothing(heading))
            continue
        for warning in _source_warnings(comparison) if heading == SOURCES else ():
            page.warning(warning)
        right = [name for name in table.columns if name not in _WORDS]
        page.table(table, caption, dict.fromkeys(right, str), note)
        if heading == OVERALL_FILE:
            page.figure(
                macro_f1_plot(comparison),
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
    *("source", "device", *PAIR_WORDS),
}
"""Columns that hold words; all others are set right, like numbers."""

OVERALL_FILE, SOURCES = "Overall", "Errors by source"
DISEASES = "Each disease against normal"


def _sections(comparison: Comparison) -> list[tuple[str, str, pd.DataFrame, str]]:
    """Heading, caption, table and note of each part."""
    pairs, all_shown = shown_pairs(comparison)
    chosen = comparison.chosen
    mark = f"{MARK} the best validation macro F1, by which a system is chosen" if chosen else ""
    notes = {
        f"{entry.name}: {entry.validation_note}"
        for entry in comparison.entries
        if entry.validation_note
    }
    note = "; ".join([part for part in (mark, *sorted(notes)) if part])
    return [
        (
            OVERALL_FILE,
            "Macro averages: plain means over the classes that occur, as labels or predictions; in brackets "
            "the 95\u00a0% interval.",
            overall_text(comparison),
            f"{note}." if note else "",
        ),
        (
            "Class by class",
            "Each class against the rest; in brackets the 95\u00a0% interval.",
            per_class_text(comparison),
            "",
        ),
        (
            "On the same films",
            "Two runs on the films that both were tested on: McNemar's exact test and its mid-p on "
            "the films that one of them called rightly; the difference of macro F1 by bootstrap "
            f"over patients. Holm: adjusted for all {len(comparison.pairs)} pairs.",
            pairs_text(pairs),
            "" if all_shown else f"Shown are the pairs with {chosen}; pairs.csv has all of them.",
        ),
        (
            DISEASES,
            "Difference of AUC of two runs, of a disease against normal films: over all films that both were "
            "tested on, and within each source that holds both. Holm: adjusted for all rows.",
            paired_text(pairs),
            "" if all_shown else "disease-pairs.csv has all pairs.",
        ),
        (
            SOURCES,
            "Films called wrongly of all films of a source, and macro F1 over the classes that the "
            "source has; sources.csv has the intervals.",
            sources_text(comparison),
            "",
        ),
        (
            "What they are",
            "The backbone that really ran and the weights that it started from.",
            networks_text(comparison),
            "",
        ),
        (
            "How long they were trained",
            "Epochs and minutes, and the accuracies of the epoch whose weights were kept; the mean "
            "where there are members.",
            trainings_text(comparison),
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
                courses_plot(comparison, f"validation_{quantity}"),
                f"Validation {quantity} of all runs over their epochs. At the end: "
                + "; ".join(
                    f"{entry.name}: {last_values(entry.trained, f'validation_{quantity}')}"
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
            rate_plot(course),
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
    for name, table in zip(SCORED_FILES, (found.each(), paired(found.pairs)), strict=False):
        with moved_into_place(folder / name) as draft:
            table.to_csv(draft, index=False)
    page = Page(
        f"{len(found.scores)} tables of scores compared",
        "Each disease against normal films, with 95\u00a0% intervals by patient",
    )
    page.section("On the same films")
    for caution in found.cautions():
        page.warning(caution)
    if found.pairs:
        table = paired_text(found.pairs)
        page.table(
            table,
            "Difference of AUC of two tables on the films that both score, over all of them and within each "
            "source that holds the disease and normal films; bootstrap over patients. Holm: adjusted for all "
            "rows.",
            {str(name): str for name in table if name not in PAIR_WORDS},
        )
    page.section("Each table by itself")
    table = found.each_text()
    page.table(
        table,
        "How far films of a disease stand above normal ones.",
        dict.fromkeys(("AUC", "average precision"), str),
    )
    for name, one in found.scores.items():
        if one.notes:
            page.subsection(name)
            page.points(one.notes)
    return page.write(folder / SCORED_FILES[-1], force=True)
