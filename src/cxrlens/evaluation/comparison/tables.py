"""The tables of a comparison: as numbers for programs, and as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxrlens.evaluation.comparison.compare import Comparison, Pair
from cxrlens.evaluation.metrics import Metrics
from cxrlens.evaluation.published import numbers
from cxrlens.pages.page import MISSING

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
    """Tabulate how each run was made: see `cxrlens.evaluation.comparison.entry.Entry.made`."""
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


def p_text(value: Any) -> str:
    """Write a p with what it can resolve.

    Examples
    --------
    >>> p_text(0.0312), p_text(0.00021), p_text(1e-9), p_text(None)
    ('0.031', '0.0002', '<0.0001', '–')
    """
    if value is None or pd.isna(value):
        return MISSING
    if value < 0.0001:
        return "<0.0001"
    return f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


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
