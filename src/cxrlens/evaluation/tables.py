"""Tidy tables for programs, and the one way of writing them for people.

A tidy table has a row a place, run or pair and a column a figure; beside a figure with an interval stand
``NAME_low`` and ``NAME_high``. It is written to CSV as it is; `readable` makes of it what people read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.collections.tables import persons
from cxrlens.evaluation.measured import (
    OWN,
    VALIDATED,
    ChosenOn,
    Disease,
    Estimate,
    Interval,
    Separation,
    Target,
)
from cxrlens.evaluation.paired import Pair, holm

MISSING = "–"
"""What a table shows where there is no value."""

_GAP = "\u00a0"  # a no-break space


def show(value: object, digits: int = 3) -> str:
    """Write a value the way our tables do.

    Examples
    --------
    >>> show(12086), show(0.94712), show(True), show(None), show(float("nan")), show("AP")
    ('12,086', '0.947', 'yes', '–', '–', 'AP')
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return MISSING if np.isnan(value) else f"{float(value):.{digits}f}"
    return str(value)


def percent(share: float, decimals: int = 0) -> str:
    """Write a share in percent, ``0.949`` as ``94.9 %`` with one decimal."""
    return f"{share * 100:.{decimals}f}{_GAP}%"


def estimate(value: float | None, interval: Interval | None = None) -> str:
    """Write a figure with three decimals, and its interval in brackets if it has one.

    Examples
    --------
    >>> estimate(0.94871, Interval(low=0.9361, high=0.9602))
    '0.949\u00a0(0.936–0.960)'
    >>> estimate(None)
    '–'
    """
    return cell(bounds("it", Estimate(value=value, interval=interval)), "it").replace(" ", _GAP)


def range_in_words(interval: Interval | None, as_percent: bool = False) -> str:
    """Write an interval alone, for a line under its figure; empty without one."""
    if interval is None:
        return ""
    if as_percent:
        return f"95{_GAP}% interval {interval.low * 100:.1f} to {percent(interval.high, 1)}"
    return f"95{_GAP}% interval {interval.low:.3f} to {interval.high:.3f}"


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


def listed(names: Sequence[str]) -> str:
    """Join names with commas and a last ``and``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


_HEADINGS = {
    "f1": "F1",
    "auc": "AUC",
    "ppv": "PPV",
    "npv": "NPV",
    "macro_f1": "macro F1",
    "macro_auc": "macro AUC",
    "validation_macro_f1": "validation F1",
    "train_accuracy": "training accuracy",
    "backbone": "backbone that ran",
    "weights": "its weights",
    "macro_f1_difference": "F1 difference",
    "p_holm": "p, Holm",
    "mcnemar_mid": "mid-p",
    "mcnemar_mid_holm": "mid-p, Holm",
    "mcnemar_exact": "exact p",
}
"""Headings of columns that are not simply their names with spaces."""

_P = ("p", "p_holm", "mcnemar_mid", "mcnemar_mid_holm", "mcnemar_exact")


def readable(table: pd.DataFrame, columns: Sequence[str], digits: int = 3) -> pd.DataFrame:
    """Write a tidy table for people: a figure with its interval in one cell, a dash where there is none.

    The two may stand on two lines, so that a wide table fits a sheet.

    Parameters
    ----------
    table
        Tidy, as the functions of this module make it.
    columns
        Its columns to show, in order; those that it lacks are left out.
    digits
        Decimals of figures; bounds of intervals have three.

    Examples
    --------
    >>> found = pd.DataFrame({"run": ["a"], "f1": [0.94871], "f1_low": [0.9361], "f1_high": [0.9602]})
    >>> readable(found, ["run", "f1", "recall"], digits=4).to_dict("records")
    [{'run': 'a', 'F1': '0.9487 (0.936–0.960)'}]
    """
    shown = [name for name in columns if name in table]
    rows = [
        {_HEADINGS.get(name, name.replace("_", " ")): cell(row, name, digits) for name in shown}
        for row in records(table)
    ]
    return pd.DataFrame(rows)


def cell(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """Write one figure of a tidy row, with its interval where it has one; differences bring their sign."""
    value, low, high = (row.get(f"{name}{bound}") for bound in ("", "_low", "_high"))
    if name in _P:
        return p_text(value)
    said = show(value, digits)
    if said == MISSING or not isinstance(value, float):
        return said
    known = low is not None and high is not None and not pd.isna(low) and not pd.isna(high)
    if name.endswith("difference"):
        said = f"{value:+.{digits}f}" + (f" ({low:+.3f} to {high:+.3f})" if known else "")
        return said.replace("-", "−")
    return said + (f" ({low:.3f}–{high:.3f})" if known else "")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries by name of column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def spread(
    rows: Iterable[Mapping[str, Any]], keys: Sequence[str], head: str, said: str
) -> pd.DataFrame:
    """Set rows that share their keys side by side: a column for each value of `head`, in order met.

    Parameters
    ----------
    rows
        Each holds the keys, `head` and `said`.
    keys, head, said
        Names of what stands first in a row, of what heads a column, and of the text of the cell.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = {name: row[name] for name in keys}
        found.setdefault(tuple(key.values()), key)[row[head]] = row[said]
    return pd.DataFrame(list(found.values()))


def bounds(name: str, one: Estimate | None) -> dict[str, float | None]:
    """Return a figure and the bounds of its interval, as three columns of a tidy table."""
    interval = one.interval if one else None
    return {
        name: one.value if one else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


Diseases = Mapping[str, Disease]

ALL = "all films"
"""Stands for the place where films of all sources are taken together."""


def places(diseases: Diseases) -> Iterator[tuple[str, str, Separation]]:
    """Go through disease, place and figures: all films together, then source by source."""
    for name, disease in diseases.items():
        held = [one.films + one.normals for one in disease.within.values()]
        # One source alone is all there is.
        if held != [disease.whole.films + disease.whole.normals]:
            yield name, ALL, disease.whole
        for source, one in disease.within.items():
            yield name, source, one


def separations(diseases: Diseases) -> pd.DataFrame:
    """Tabulate how far apart a disease and normal are, a place or group a row.

    Returns
    -------
    DataFrame
        ``disease``, ``source`` (`ALL` for all together), ``by`` (view, age, sex or empty), ``group``,
        ``films``, ``normal_films``, ``patients``, ``auc`` and ``average_precision`` with ``_low`` and
        ``_high``, ``unknown`` (why there is none).
    """
    rows = []
    for disease, place, whole in places(diseases):
        parts = [("", "", whole)]
        parts += [(by, name, one) for by, of in whole.groups.items() for name, one in of.items()]
        for by, group, one in parts:
            rows.append(
                {"disease": disease, "source": place, "by": by, "group": group}
                | {"films": one.films, "normal_films": one.normals, "patients": one.patients}
                | bounds("auc", one.auc)
                | bounds("average_precision", one.average_precision)
                | {"unknown": one.unknown}
            )
    return pd.DataFrame(rows)


def separations_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people how far apart a disease and normal are, where that can be known."""
    table = separations(diseases)
    if len(table):
        table = table[table["by"].eq("") & table["unknown"].eq("")]
    return readable(
        table, ["disease", "source", "films", "normal_films", "auc", "average_precision"]
    )


def groups_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people the AUC by view, age and sex within a source; empty where none is known."""
    table = separations(diseases)
    if len(table):
        place = table.groupby(["disease", "source"])["unknown"].transform("first")
        table = table[table["by"].ne("") & place.eq("")]
    return readable(table, ["disease", "source", "by", "group", "films", "normal_films", "auc"])


def unknown(diseases: Diseases) -> list[str]:
    """Say where nothing can be known, and why, a sentence a disease and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for disease, place, one in places(diseases):
        if one.unknown:
            reasons.setdefault((disease, one.unknown), []).append(place)
    return [
        f"{disease}, {listed(where)}: {reason}." for (disease, reason), where in reasons.items()
    ]


def groups_known(diseases: Diseases) -> str:
    """Say for which sources views, ages and sexes are known."""
    found = [(place, one) for _, place, one in places(diseases)]
    total = {place for place, _ in found} - {ALL}
    parts = []
    for by in ("view", "age", "sex"):
        where = {place for place, one in found if by in one.groups}
        if not where:
            parts.append(f"{by} for none")
        elif ALL in where or where == total:
            parts.append(f"{by} for all")
        else:
            parts.append(f"{by} for {', '.join(sorted(where))} alone")
    return f"Known of films: {'; '.join(parts)}."


def points(diseases: Diseases) -> pd.DataFrame:
    """Tabulate every operating point, one a row.

    Returns
    -------
    DataFrame
        ``disease``, ``source``, ``demand``, ``at_least``, ``chosen_on``, ``threshold``, then ``sensitivity``,
        ``specificity``, ``ppv`` and ``npv`` with ``_low`` and ``_high``, and ``prevalence``.
    """
    rows = []
    for disease, place, one in places(diseases):
        for point in one.points:
            row: dict[str, Any] = {"disease": disease, "source": place}
            row |= {
                name: getattr(point, name)
                for name in ("demand", "at_least", "chosen_on", "threshold")
            }
            for name in ("sensitivity", "specificity", "ppv", "npv"):
                row |= bounds(name, getattr(point, name))
            rows.append(row | {"prevalence": diseases[disease].prevalence})
    return pd.DataFrame(rows)


def _points_of(diseases: Diseases, chosen_on: ChosenOn, one_sided: bool) -> list[dict[str, Any]]:
    """Return the rows of `points` of places that hold both kinds of film, or one kind alone."""
    rows = [row for row in records(points(diseases)) if row["chosen_on"] == chosen_on]
    return [
        row | {"demanded": f"{percent(row['at_least'])} {row['demand']}"}
        for row in rows
        if (pd.isna(row["sensitivity"]) or pd.isna(row["specificity"])) == one_sided
    ]


def own_points_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people what the ROC curve's own thresholds give: a place a row, a demand a column."""
    rows = _points_of(diseases, OWN, one_sided=False)
    for row in rows:
        other = "specificity" if row["demand"] == "sensitivity" else "sensitivity"
        row |= {"head": f"{other} at {row['demanded']}", "said": cell(row, other)}
    return spread(rows, ("disease", "source"), "head", "said")


def points_text(diseases: Diseases, chosen_on: ChosenOn) -> pd.DataFrame:
    """Write for people what thresholds give at places that hold both kinds of film, one a row.

    Parameters
    ----------
    diseases
        Measured. PPV and NPV are told where a prevalence was stated.
    chosen_on
        Whose thresholds.
    """
    table = pd.DataFrame(_points_of(diseases, chosen_on, one_sided=False))
    stated = any(one.prevalence is not None for one in diseases.values())
    columns = ["disease", "source", "demanded", "sensitivity", "specificity"]
    return readable(table, [*columns, *(["ppv", "npv"] if stated else [])])


def one_sided_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people what validation films' thresholds give at sources of one class, a source a row."""
    rows = _points_of(diseases, VALIDATED, one_sided=True)
    for row in rows:
        kind = "specificity" if pd.isna(row["sensitivity"]) else "sensitivity"
        row |= {"head": f"threshold for {row['demanded']}", "figure": kind, "said": cell(row, kind)}
    return spread(rows, ("disease", "source", "figure"), "head", "said")


def who_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people whether WHO's target is met, a place and threshold a row."""
    rows = [
        {"disease": disease, "source": place, "threshold_of": target.chosen_on}
        | bounds("sensitivity", target.sensitivity)
        | bounds("specificity", target.specificity)
        | {"target": _verdict(target)}
        for disease, place, one in places(diseases)
        for target in one.who
    ]
    columns = ["disease", "source", "threshold_of", "sensitivity", "specificity", "target"]
    return readable(pd.DataFrame(rows), columns)


def _verdict(target: Target) -> str:
    if target.met:
        return "met" if target.sure else "met, but the interval reaches below"
    return "not met" if target.sure else "not met, but the interval reaches above"


def beside_text(inside: Diseases, outside: Diseases) -> pd.DataFrame:
    """Write for people the AUC within each source, of films like those learnt from and of films outside.

    Parameters
    ----------
    inside
        Of test films of sources that training saw.
    outside
        Of sources that it did not see.
    """
    rows = []
    for disease in dict.fromkeys([*outside, *inside]):
        parts = {
            name: of[disease].within if disease in of else {}
            for name, of in (("inside", inside), ("outside", outside))
        }
        for source in sorted({source for part in parts.values() for source in part}):
            found = {name: part.get(source) for name, part in parts.items()}
            if all(one is None or one.unknown for one in found.values()):
                continue
            row = {"disease": disease, "source": source}
            for name, one in found.items():
                row[f"{name}: films / normal"] = _both(one.films, one.normals) if one else MISSING
                row[f"AUC {name}"] = estimate(one.auc.value, one.auc.interval) if one else MISSING
            rows.append(row)
    return pd.DataFrame(rows)


def _both(films: int, normals: int) -> str:
    return f"{films:,} / {normals:,}"


def paired(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Tabulate every difference between two models, a disease and place a row.

    Returns
    -------
    DataFrame
        ``first``, ``second``, ``disease``, ``source`` (`ALL` for all films together), ``films``,
        ``normal_films``, ``patients``, ``auc_first``, ``auc_second``, ``difference`` with ``_low`` and
        ``_high``, ``p``, and ``p_holm``, adjusted for all rows.
    """
    rows = []
    for pair in pairs:
        for one in pair.diseases:
            rows.append(
                {"first": pair.first, "second": pair.second}
                | {"disease": one.disease, "source": one.source or ALL}
                | {"films": one.films, "normal_films": one.normals, "patients": one.patients}
                | {"auc_first": one.first, "auc_second": one.second}
                | bounds("difference", one.difference)
                | {"p": one.difference.p}
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjusted(table["p"])) if rows else table


def adjusted(values: pd.Series) -> pd.Series:
    """Adjust a column of p for the number of those that are known; see `cxrlens.evaluation.paired.holm`."""
    known = values.dropna()
    return pd.Series(holm(known.tolist()), index=known.index, dtype=float).reindex(values.index)


def paired_text(table: pd.DataFrame) -> pd.DataFrame:
    """Write rows of `paired` for people."""
    rows = [
        row
        | {
            "models": f"{row['first']} − {row['second']}",
            "films / normal": _both(row["films"], row["normal_films"]),
            "AUC of both": f"{show(row['auc_first'])}, {show(row['auc_second'])}",
        }
        for row in records(table)
    ]
    columns = ["models", "disease", "source", "films / normal", "AUC of both"]
    return readable(pd.DataFrame(rows), [*columns, "difference", "p", "p_holm"])


def by_class(films: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count films and patients of each class, with ages, sexes and views where they are known.

    Returns
    -------
    DataFrame
        ``class``, ``films``, ``patients``, then ``age``, ``female`` and ``view`` as text, each only
        if the collection knows it of some film.
    """
    rows = []
    for name in classes:
        of_class = films[films["label"] == name]
        row: dict[str, object] = {"class": name, "films": len(of_class)}
        if known(films, "patient"):
            row["patients"] = persons(of_class["patient"]).nunique()
        if known(films, "age"):
            row["age"] = _ages(of_class)
        if known(films, "sex"):
            row["female"] = _female(of_class)
        if known(films, "view"):
            row["views"] = _views(of_class)
        rows.append(row)
    return pd.DataFrame(rows)


def counts(films: pd.DataFrame, column: str, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Count films by a column (``split``, ``source``) and class, with a total.

    Parameters
    ----------
    films
        A collection's table.
    column
        Its column; what is not known is a row of its own.
    classes
        Shown even where no film is of them; other labels and ``no label`` stand behind them.

    Returns
    -------
    DataFrame
        The column, a column for each class, ``all``.

    Examples
    --------
    >>> films = pd.DataFrame({"split": ["test", None, "train"], "label": ["normal", "normal", None]})
    >>> counts(films, "split").to_dict("tight")["data"]
    [['train', 1, 0, 1], ['test', 0, 1, 1], ['not known', 0, 1, 1]]
    """
    keys = films[column].astype("string").fillna("not known")
    labels = films.get("label", pd.Series(pd.NA, index=films.index))
    found = pd.crosstab(keys, labels.astype("string").fillna("no label"))
    rows = list(dict.fromkeys(["train", "validation", "test", *found.index]))
    names = list(dict.fromkeys([*classes, *found.columns]))
    rows = [row for row in rows if row in found.index]
    found = found.reindex(index=rows, columns=names, fill_value=0)
    return found.assign(all=found.sum(axis=1)).rename_axis(columns=None).reset_index(names=column)


def known(films: pd.DataFrame, column: str) -> bool:
    """Tell whether a column is there and has a value for some film."""
    return column in films.columns and bool(films[column].notna().any())


def _ages(films: pd.DataFrame) -> str | None:
    ages = films["age"].dropna()
    if ages.empty:
        return None
    low, middle, high = ages.quantile([0.05, 0.5, 0.95])
    return f"{middle:.0f} ({low:.0f}–{high:.0f}), {percent(len(ages) / len(films))}"


def _female(films: pd.DataFrame) -> str | None:
    sexes = films["sex"].dropna().astype(str).str.upper()
    if sexes.empty:
        return None
    return f"{percent(float(sexes.isin(['F', 'FEMALE']).mean()))} of {len(sexes):,}"


def _views(films: pd.DataFrame) -> str | None:
    views = films["view"].dropna().astype(str).value_counts()
    return ", ".join(f"{name} {count:,}" for name, count in views.items()) or None
