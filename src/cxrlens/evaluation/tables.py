"""Diseases against normal as tables: every figure for programs, and what people read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from cxrlens.evaluation.diseases import OWN, ChosenOn, Disease, Estimate, Separation, Target
from cxrlens.evaluation.operating import DEMANDS
from cxrlens.evaluation.paired import DiseaseDifference, holm
from cxrlens.evaluation.sources import MISSING, estimate, listed, p_text, percent

Diseases = Mapping[str, Disease]

ALL = "all films"
"""Stands for the place where films of all sources are taken together."""


def places(diseases: Diseases) -> Iterator[tuple[str, str, Separation]]:
    """Go through disease, place and figures: all films together, then source by source."""
    for name, disease in diseases.items():
        held = [one.films + one.normals for one in disease.within.values()]
        if held != [
            disease.whole.films + disease.whole.normals
        ]:  # one source alone is all there is
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
                {
                    "disease": disease,
                    "source": place,
                    "by": by,
                    "group": group,
                    "films": one.films,
                    "normal_films": one.normals,
                    "patients": one.patients,
                    **_bounds("auc", one.auc),
                    **_bounds("average_precision", one.average_precision),
                    "unknown": one.unknown,
                }
            )
    return pd.DataFrame(rows)


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
            rows.append(
                {
                    "disease": disease,
                    "source": place,
                    "demand": point.demand,
                    "at_least": point.at_least,
                    "chosen_on": point.chosen_on,
                    "threshold": point.threshold,
                    **_bounds("sensitivity", point.sensitivity),
                    **_bounds("specificity", point.specificity),
                    **_bounds("ppv", point.ppv),
                    **_bounds("npv", point.npv),
                    "prevalence": diseases[disease].prevalence,
                }
            )
    return pd.DataFrame(rows)


def separations_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people how far apart a disease and normal are, where that can be known."""
    return pd.DataFrame(
        [
            {
                "disease": disease,
                "source": place,
                "films": one.films,
                "normal films": one.normals,
                "AUC": said(one.auc),
                "average precision": said(one.average_precision),
            }
            for disease, place, one in places(diseases)
            if not one.unknown
        ],
        columns=["disease", "source", "films", "normal films", "AUC", "average precision"],
    )


def unknown(diseases: Diseases) -> list[str]:
    """Say where nothing can be known, and why, a sentence a disease and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for disease, place, one in places(diseases):
        if one.unknown:
            reasons.setdefault((disease, one.unknown), []).append(place)
    return [
        f"{disease}, {listed(where)}: {reason}." for (disease, reason), where in reasons.items()
    ]


def groups_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people the AUC by view, age and sex within a source; empty where none is known."""
    return pd.DataFrame(
        [
            {
                "disease": disease,
                "source": place,
                "by": by,
                "group": group,
                "films": one.films,
                "normal films": one.normals,
                "AUC": said(one.auc),
            }
            for disease, place, whole in places(diseases)
            for by, of in whole.groups.items()
            for group, one in of.items()
            if not whole.unknown
        ]
    )


def groups_known(diseases: Diseases) -> str:
    """Say for which sources views, ages and sexes are known."""
    known: dict[str, list[str]] = {by: [] for by in ("view", "age", "sex")}
    total = set()
    for _, place, whole in places(diseases):
        if place != ALL:
            total.add(place)
        for by in whole.groups:
            if place not in known[by]:
                known[by].append(place)
    parts = []
    for by, where in known.items():
        if not where:
            parts.append(f"{by} for none")
        elif ALL in where or set(where) == total:
            parts.append(f"{by} for all")
        else:
            parts.append(f"{by} for {', '.join(sorted(where))} alone")
    return f"Known of films: {'; '.join(parts)}."


def own_points_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people what the ROC curve's own thresholds give: a place a row, a demand a column."""
    rows = []
    for disease, place, one in places(diseases):
        found = {(p.demand, p.at_least): p for p in one.points if p.chosen_on == OWN}
        if not found:
            continue
        row = {"disease": disease, "source": place}
        for demand, of in DEMANDS:
            point, other = found[demand, of], "sensitivity"
            gives = point.sensitivity
            if demand == "sensitivity":
                other, gives = "specificity", point.specificity
            row[f"{other} at {percent(of)} {demand}"] = said(gives)
        rows.append(row)
    return pd.DataFrame(rows)


def points_text(diseases: Diseases, chosen_on: ChosenOn) -> pd.DataFrame:
    """Write for people what thresholds give at places that hold both kinds of film, one a row.

    Parameters
    ----------
    diseases
        Measured. PPV and NPV are told where a prevalence was stated.
    chosen_on
        Whose thresholds.
    """
    rows = []
    for disease, place, one in places(diseases):
        for point in one.points if not one.unknown else ():
            if point.chosen_on != chosen_on:
                continue
            row = {
                "disease": disease,
                "source": place,
                "demanded": f"{percent(point.at_least)} {point.demand}",
                "sensitivity": said(point.sensitivity),
                "specificity": said(point.specificity),
            }
            if diseases[disease].prevalence is not None:
                row |= {"PPV": said(point.ppv), "NPV": said(point.npv)}
            rows.append(row)
    return pd.DataFrame(rows)


def one_sided_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people what validation films' thresholds give at sources of one class, a source a row."""
    rows = []
    for disease, place, one in places(diseases):
        if one.unknown and one.points:
            kind = "sensitivity" if one.films else "specificity"
            row = {"disease": disease, "source": place, "figure": kind}
            for point in one.points:
                head = f"threshold for {percent(point.at_least)} {point.demand}"
                row[head] = said(getattr(point, kind))
            rows.append(row)
    return pd.DataFrame(rows)


def who_text(diseases: Diseases) -> pd.DataFrame:
    """Write for people whether WHO's target is met, a place and threshold a row."""
    return pd.DataFrame(
        [
            {
                "disease": disease,
                "source": place,
                "threshold of": target.chosen_on,
                "sensitivity": said(target.sensitivity),
                "specificity": said(target.specificity),
                "target": verdict(target),
            }
            for disease, place, one in places(diseases)
            for target in one.who
        ]
    )


def verdict(target: Target) -> str:
    """Say whether WHO's target is met, and whether the interval agrees."""
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
        parts = [of[disease].within if disease in of else {} for of in (inside, outside)]
        for source in sorted(set(parts[0]) | set(parts[1])):
            seen, unseen = (part.get(source) for part in parts)
            if all(one is None or one.unknown for one in (seen, unseen)):
                continue
            rows.append(
                {"disease": disease, "source": source}
                | {
                    "inside: films / normal": _counts(seen),
                    "AUC inside": said(seen.auc) if seen else MISSING,
                    "outside: films / normal": _counts(unseen),
                    "AUC outside": said(unseen.auc) if unseen else MISSING,
                }
            )
    return pd.DataFrame(rows)


def said(one: Estimate | None) -> str:
    """Write an estimate with its interval; a dash where it cannot be known."""
    return estimate(one.value, one.interval) if one else MISSING


def _counts(one: Separation | None) -> str:
    return f"{one.films:,} / {one.normals:,}" if one else MISSING


def _bounds(name: str, one: Estimate | None) -> dict[str, float | None]:
    interval = one.interval if one else None
    return {
        name: one.value if one else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


WORDS: tuple[str, ...] = ("models", "disease", "source")
"""Columns of `paired_text` that hold words."""


class Two(Protocol):
    """Two models and what parts them."""

    @property
    def first(self) -> str: ...  # noqa: D102
    @property
    def second(self) -> str: ...  # noqa: D102
    @property
    def diseases(self) -> Sequence[DiseaseDifference]: ...  # noqa: D102


def paired(pairs: Iterable[Two]) -> pd.DataFrame:
    """Tabulate every difference, a place a row.

    Returns
    -------
    DataFrame
        ``first``, ``second``, ``disease``, ``source`` (`ALL` for all films together), ``films``,
        ``normal_films``, ``patients``, ``auc_first``, ``auc_second``, ``difference`` with ``_low`` and
        ``_high``, ``p``, and ``p_holm``, adjusted for all rows.
    """
    rows = _rows(pairs)
    return pd.DataFrame(rows)


def paired_text(pairs: Iterable[Two]) -> pd.DataFrame:
    """Write `paired` for people."""
    return pd.DataFrame(
        [
            {
                "models": f"{row['first']} − {row['second']}",
                "disease": row["disease"],
                "source": row["source"],
                "films / normal": f"{row['films']:,} / {row['normal_films']:,}",
                "AUC of both": f"{estimate(row['auc_first'])}, {estimate(row['auc_second'])}",
                "difference": _signed(row),
                "p": p_text(row["p"]),
                "p, Holm": p_text(row["p_holm"]),
            }
            for row in _rows(pairs)
        ]
    )


def _rows(pairs: Iterable[Two]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        for one in pair.diseases:
            interval = one.difference.interval
            rows.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "disease": one.disease,
                    "source": one.source or ALL,
                    "films": one.films,
                    "normal_films": one.normals,
                    "patients": one.patients,
                    "auc_first": one.first,
                    "auc_second": one.second,
                    "difference": one.difference.value,
                    "difference_low": interval.low if interval else None,
                    "difference_high": interval.high if interval else None,
                    "p": one.difference.p,
                }
            )
    adjusted = iter(holm([row["p"] for row in rows if row["p"] is not None]))
    return [row | {"p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def _signed(row: Mapping[str, Any]) -> str:
    said = f"{row['difference']:+.3f}"
    if row["difference_low"] is not None:
        said += f" ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
    return said.replace("-", "−")
