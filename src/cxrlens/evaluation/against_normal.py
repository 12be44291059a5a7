"""Each disease against normal films: over all, within each source, and by view, age and sex there.

A model of three classes may tell a place, a machine or an age from another instead of a disease from
health. So each disease is held against normal films alone, and within a source against that source's own.
Where the model gives a probability of normal, films are ranked by the disease's log-odds against it,
log p(disease) - log p(normal); this is the order of p(disease) / (p(disease) + p(normal)), which a third
class does not change.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.evaluation.intervals import (
    DEMANDS,
    drawn_weights,
    percentiles,
    predictive_values,
    rates_from,
    refuse_prevalences,
    steps,
    thresholds,
)
from cxrlens.evaluation.measured import (
    NORMAL,
    OWN,
    VALIDATED,
    ChosenOn,
    Demand,
    Disease,
    Estimate,
    OperatingPoint,
    Separation,
    Target,
)

LEVEL = 0.95

AGES = ((0, 17, "under 18"), (18, 39, "18 to 39"), (40, 64, "40 to 64"), (65, 200, "65 and over"))
"""First and last whole year of each age group, and its name."""

WHO_SENSITIVITY, WHO_SPECIFICITY = 0.9, 0.7
WHO_DISEASE = "tuberculosis"

Values = NDArray[np.float64]

_Kind = tuple[ChosenOn, Demand, float]


def disease_score(table: pd.DataFrame, disease: str) -> Values:
    """Rank films by how much more likely a disease is than normal.

    Parameters
    ----------
    table
        A column of the disease and, where the model has one, of ``normal``, both probabilities.
    disease
        Its name.

    Returns
    -------
    ndarray of float64
        (films,): log-odds against normal, or the disease's own score where there is none of normal.
    """
    own = table[disease].to_numpy(np.float64)
    if NORMAL not in table:
        return own
    least = np.finfo(np.float64).tiny  # a probability that was rounded to 0
    odds: Values = np.log(np.maximum(own, least)) - np.log(
        np.maximum(table[NORMAL].to_numpy(np.float64), least)
    )
    return odds


def score_in_words(classes: Sequence[str], disease: str) -> str:
    """Say what `disease_score` ranks films by."""
    if NORMAL in classes:
        return f"log-odds of {disease} against normal, log p({disease}) − log p(normal)"
    return f"the score of {disease} as it is, since there is none of normal"


def each_disease(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    validation: pd.DataFrame | None = None,
    prevalence: Mapping[str, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Disease]:
    """Hold each disease that has a score against normal films.

    Parameters
    ----------
    predictions
        A film a row: ``label``, a column for each of `classes`; ``patient``, ``source``, ``view``, ``age``
        and ``sex`` where known.
    classes
        The columns that hold scores; those of ``normal`` may be missing.
    validation
        Other films with the same columns, to choose thresholds by; all of their sources together.
    prevalence
        By disease, in (0, 1): also give predictive values for it.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`; 0 resamples gives no intervals.

    Returns
    -------
    dict of str to Disease
        By disease; empty where no film is labelled normal and none a disease with a score.

    Raises
    ------
    CxrlensError
        See `cxrlens.evaluation.intervals.refuse_prevalences`.
    """
    refuse_prevalences(prevalence, [name for name in classes if name != NORMAL])
    found = {}
    for disease in (name for name in classes if name != NORMAL):
        films = _films(predictions, disease)
        if films.empty:
            continue
        share = (prevalence or {}).get(disease)
        judge = _Judge(disease, _chosen(validation, disease), share, resamples, seed)
        whole = judge.separation(films, points=True)
        within = {}
        if "source" in films and films["source"].notna().any():
            keys = films["source"].astype(str).where(films["source"].notna())
            for name, part in films.groupby(keys):
                within[str(name)] = judge.grouped(judge.separation(part, points=True), part)
        else:
            whole = judge.grouped(whole, films)
        found[disease] = Disease(
            score=score_in_words(classes, disease),
            prevalence=share,
            whole=whole,
            within=within,
        )
    return found


def _films(table: pd.DataFrame, disease: str) -> pd.DataFrame:
    return table[table["label"].isin([NORMAL, disease])]


def _chosen(validation: pd.DataFrame | None, disease: str) -> dict[tuple[Demand, float], float]:
    """Let the validation films choose thresholds; none where they lack films of one kind."""
    if validation is None:
        return {}
    films = _films(validation, disease)
    positive = films["label"].eq(disease).to_numpy(bool)
    if positive.all() or not positive.any():
        return {}
    return thresholds(positive, disease_score(films, disease))


@dataclass(frozen=True)
class _Judge:
    disease: str
    chosen: dict[tuple[Demand, float], float]
    prevalence: float | None
    resamples: int
    seed: int

    def separation(self, films: pd.DataFrame, points: bool) -> Separation:
        positive = films["label"].eq(self.disease).to_numpy(bool)
        score = disease_score(films, self.disease)
        both = bool(positive.any() and not positive.all())
        own: list[_Kind] = [(OWN, *demand) for demand in DEMANDS if both]
        kinds = [*own, *((VALIDATED, *demand) for demand in self.chosen)] if points else []

        def figures(weights: Values) -> dict[str, Values]:
            return self._figures(weights, positive, score, both, kinds)

        once = figures(np.ones((1, len(films))))
        patients, draws = drawn_weights(films, self.resamples, self.seed)
        drawn = [figures(weights) for weights in draws] if patients > 1 else []
        found = {
            name: _estimate(values, [part[name] for part in drawn]) for name, values in once.items()
        }
        nothing = Estimate(value=None)
        lacks = NORMAL if positive.any() else self.disease
        return Separation(
            films=int(positive.sum()),
            normals=int((~positive).sum()),
            patients=patients,
            auc=found.get("auc", nothing),
            average_precision=found.get("average_precision", nothing),
            points=tuple(self._point(kind, found, positive, score) for kind in kinds),
            who=tuple(self._targets(kinds, found)) if both else (),
            unknown="" if both else f"no {lacks} films there to hold against the others",
        )

    def grouped(self, whole: Separation, films: pd.DataFrame) -> Separation:
        """Add the same by view, age and sex, as far as they are known."""
        found = {}
        for column, keys in (
            ("view", _words(films, "view")),
            ("age", _age_groups(films)),
            ("sex", _words(films, "sex")),
        ):
            if keys is None:
                continue
            parts = {str(name): part for name, part in films.groupby(keys, sort=False)}
            order = [name for *_, name in AGES] if column == "age" else sorted(parts)
            found[column] = {
                name: self.separation(parts[name], points=False) for name in order if name in parts
            }
        return whole.model_copy(update={"groups": found})

    def _figures(
        self,
        weights: Values,
        positive: NDArray[np.bool_],
        score: Values,
        both: bool,
        kinds: Sequence[_Kind],
    ) -> dict[str, Values]:
        """Every figure for each row of weights (resamples, films), by name."""
        figures: dict[str, Values] = {}
        curve = steps(weights, positive, score) if both else None
        if curve:
            figures["auc"], figures["average_precision"] = curve.areas()
        for chosen_on, demand, of in kinds:
            if chosen_on == OWN:
                assert curve is not None
                found, spared = curve.rates(curve.chosen(demand, of))
                # Without films of one kind in a resample there was nothing to choose by.
                known = np.isfinite(found) & np.isfinite(spared)
                found, spared = np.where(known, found, np.nan), np.where(known, spared, np.nan)
            else:
                found, spared = rates_from(weights, positive, score, self.chosen[demand, of])
            name = _name(chosen_on, demand, of)
            figures[f"{name}.sensitivity"], figures[f"{name}.specificity"] = found, spared
            if self.prevalence is not None and both:
                ppv, npv = predictive_values(found, spared, self.prevalence)
                figures[f"{name}.ppv"], figures[f"{name}.npv"] = ppv, npv
        return figures

    def _point(
        self,
        kind: _Kind,
        estimates: dict[str, Estimate],
        positive: NDArray[np.bool_],
        score: Values,
    ) -> OperatingPoint:
        chosen_on, demand, of = kind
        threshold = (
            thresholds(positive, score)[demand, of] if chosen_on == OWN else self.chosen[demand, of]
        )
        name = _name(*kind)
        rates = {rate: estimates[f"{name}.{rate}"] for rate in ("sensitivity", "specificity")}
        if chosen_on == OWN:
            # Every resample chooses a threshold that gives what is demanded: its interval says nothing.
            rates[demand] = Estimate(value=rates[demand].value)
        return OperatingPoint(
            demand=demand,
            at_least=of,
            chosen_on=chosen_on,
            threshold=threshold if np.isfinite(threshold) else None,
            **rates,
            ppv=estimates.get(f"{name}.ppv"),
            npv=estimates.get(f"{name}.npv"),
        )

    def _targets(self, kinds: Sequence[_Kind], found: dict[str, Estimate]) -> Iterator[Target]:
        wanted: list[_Kind] = [
            (OWN, "specificity", WHO_SPECIFICITY),
            (VALIDATED, "sensitivity", WHO_SENSITIVITY),
        ]
        for kind in wanted if self.disease == WHO_DISEASE else ():
            if kind in kinds:
                rates = [found[f"{_name(*kind)}.{rate}"] for rate in ("sensitivity", "specificity")]
                yield _target(kind[0], *rates)


def _name(chosen_on: ChosenOn, demand: Demand, of: float) -> str:
    return f"{chosen_on}: {demand} {of}"


def _estimate(once: Values, drawn: Sequence[Values]) -> Estimate:
    value = float(once[0])
    if not np.isfinite(value):
        return Estimate(value=None)
    interval = percentiles(np.concatenate(drawn), LEVEL) if drawn else None
    return Estimate(value=value, interval=interval)


def _target(chosen_on: ChosenOn, sensitivity: Estimate, specificity: Estimate) -> Target:
    pairs = [(sensitivity, WHO_SENSITIVITY), (specificity, WHO_SPECIFICITY)]
    if chosen_on == OWN:
        # The specificity was what the threshold was chosen by: its interval says nothing of it.
        pairs = pairs[:1]
    met = all(one.value is not None and one.value >= of for one, of in pairs)
    intervals = [(one.interval, of) for one, of in pairs]
    if met:
        sure = all(interval is not None and interval.low >= of for interval, of in intervals)
    else:
        sure = any(interval is not None and interval.high < of for interval, of in intervals)
    return Target(
        chosen_on=chosen_on, sensitivity=sensitivity, specificity=specificity, met=met, sure=sure
    )


def _words(films: pd.DataFrame, column: str) -> pd.Series | None:
    if column not in films or not films[column].notna().any():
        return None
    return films[column].astype("string").str.strip().str.upper()


def _age_groups(films: pd.DataFrame) -> pd.Series | None:
    if "age" not in films:
        return None
    years = np.floor(pd.to_numeric(films["age"], errors="coerce"))
    if not years.notna().any():
        return None
    keys = pd.Series(pd.NA, index=films.index, dtype="string")
    for first, last, name in AGES:
        keys = keys.mask(years.between(first, last), name)
    return keys
