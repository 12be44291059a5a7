"""Metrics with everything: intervals, sources, each disease against normal, films left unsure, all splits."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import OUTSIDE, SPLITS, patient_codes
from cxrlens.collections.tables import persons
from cxrlens.errors import CollectionError, RunError
from cxrlens.evaluation.against_normal import each_disease
from cxrlens.evaluation.intervals import bootstrap, drawn_weights, percentiles, ratio, weighted_auc
from cxrlens.evaluation.measured import (
    NORMAL,
    Abstention,
    Bin,
    Calibration,
    Estimate,
    Judged,
    Metrics,
    Referral,
    Separation,
    write_metrics,
)
from cxrlens.evaluation.metrics import certainty, forced, measure, probabilities, unsure
from cxrlens.evaluation.scores import Scores
from cxrlens.runs.run import Run

COVERAGES = tuple(round(0.05 * step, 2) for step in range(6, 21))
"""Shares of the films, the least doubtful first, at which the error is given: 0.3 to 1."""


def abstention(
    predictions: pd.DataFrame, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> Abstention | None:
    """Measure what abstaining gives; see `Abstention`.

    Parameters
    ----------
    predictions
        ``label``, ``predicted`` and a column of probabilities for each class; ``suggests``, ``reason``,
        ``doubt`` and ``patient`` are used where they are.
    classes
        The classes of the model.
    resamples, seed
        Of the intervals, which draw patients; 0 gives none.

    Returns
    -------
    Abstention or None
        None where no film is unsure and the table has no ``doubt``: nothing abstains there.
    """
    left = unsure(predictions)
    if not left.any() and "doubt" not in predictions:
        return None
    named = forced(predictions, classes)["predicted"].astype(str).to_numpy()
    label = predictions["label"].astype(str).to_numpy()
    wrong, answered = named != label, ~left
    diseases = [name for name in classes if name != NORMAL and (label == name).any()]
    counted = [np.ones(len(label), bool), answered, wrong, wrong & answered]
    for name in diseases:
        ill, hit = label == name, named == name
        counted += [ill, ill & hit, ill & hit & answered, ill & (hit | left)]
    likely = 1 - probabilities(predictions, classes).max(1)
    doubt = _doubt(predictions)
    kinds = np.stack(counted, 1).astype(np.float64)
    ranked = [likely] if doubt is None else [likely, doubt]
    draws = [np.ones((1, len(label)))]
    if resamples:
        draws += drawn_weights(predictions, resamples, seed)[1]
    parts = [_counted(weights, kinds, wrong, ranked) for weights in draws]
    sums, areas = (np.concatenate(of) for of in zip(*parts, strict=True))

    def share(top: int, bottom: int) -> Estimate:
        return _estimate(ratio(sums[:, top], sums[:, bottom]))

    order = np.argsort(likely if doubt is None else doubt, kind="stable")
    errors = np.cumsum(wrong[order])
    places = [max(1, round(share * len(label))) for share in COVERAGES]
    reasons = predictions["reason"] if "reason" in predictions else pd.Series("", predictions.index)
    told = reasons.fillna("").astype(str)[left].value_counts()
    return Abstention(
        films=len(label),
        answered=share(1, 0),
        by_class={
            name: float(answered[label == name].mean()) for name in classes if (label == name).any()
        },
        by_reason={str(name): int(count) for name, count in told.items()},
        error=share(3, 1),
        forced_error=share(2, 0),
        ratio=_estimate(ratio(ratio(sums[:, 3], sums[:, 1]), ratio(sums[:, 2], sums[:, 0]))),
        doubt=Estimate(value=None) if doubt is None else _estimate(areas[:, 1]),
        likelihood=_estimate(areas[:, 0]),
        diseases={
            name: Referral(
                films=int((label == name).sum()),
                forced=share(5 + 4 * i, 4 + 4 * i),
                as_miss=share(6 + 4 * i, 4 + 4 * i),
                as_referral=share(7 + 4 * i, 4 + 4 * i),
            )
            for i, name in enumerate(diseases)
        },
        curve=[
            (share, float(errors[place - 1] / place))
            for share, place in zip(COVERAGES, places, strict=True)
        ],
    )


def _counted(
    weights: NDArray[np.float64],
    kinds: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    ranked: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count films of each kind (R, K) for rows of weights (R, N), and how scores rank errors (R, S)."""
    areas = np.stack([weighted_auc(weights, wrong, score) for score in ranked], axis=1)
    return weights @ kinds, areas


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """Take the first as the figure, and the rest as its resamples."""
    value, drawn = float(values[0]), values[1:]
    if not np.isfinite(value):
        return Estimate(value=None)
    return Estimate(value=value, interval=percentiles(drawn, 0.95) if drawn.size else None)


BINS = 10


def calibration(
    predictions: pd.DataFrame, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> Calibration:
    """Measure whether probabilities mean what they say; see `Calibration`.

    Parameters
    ----------
    predictions
        ``label``, ``predicted``, a column of probabilities for each class; ``patient`` is used where it is.
    classes
        The classes of the model.
    resamples, seed
        Of the intervals, which draw patients; 0 gives none.
    """
    named = forced(predictions, classes)["predicted"].astype(str).to_numpy()
    label = predictions["label"].astype(str).to_numpy()
    claimed = certainty(predictions, classes)
    place = np.minimum((claimed * BINS).astype(int), BINS - 1)
    used = np.unique(place)
    bins = (place[:, None] == used).astype(np.float64)
    truth = (label[:, None] == np.array(classes)).astype(np.float64)
    off = ((probabilities(predictions, classes) - truth) ** 2).sum(1)
    kinds = [off[:, None], truth, bins, bins * claimed[:, None], bins * (named == label)[:, None]]
    draws = [np.ones((1, len(label)))]
    if resamples:
        draws += drawn_weights(predictions, resamples, seed)[1]
    sums = np.concatenate([weights @ np.concatenate(kinds, axis=1) for weights in draws])
    cuts = np.cumsum([1, len(classes), len(used), len(used)])
    total, shares, films, claims, hits = np.split(sums, cuts, axis=1)
    count = films.sum(1)
    brier = total[:, 0] / count
    chance = 1 - ((shares / count[:, None]) ** 2).sum(1)
    right = ratio(hits, films)
    return Calibration(
        ece=_estimate(np.abs(hits - claims).sum(1) / count),
        brier=_estimate(brier),
        skill=_estimate(ratio(chance - brier, chance)),
        bins=tuple(
            Bin(
                claimed=claims[0, b] / films[0, b],
                right=_estimate(right[:, b]),
                films=int(films[0, b]),
            )
            for b in range(len(used))
        ),
    )


def _doubt(predictions: pd.DataFrame) -> NDArray[np.float64] | None:
    if "doubt" not in predictions:
        return None
    doubt = pd.to_numeric(predictions["doubt"], errors="coerce").to_numpy(np.float64)
    return None if np.isnan(doubt).any() else doubt


def assess(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    by_source: bool = True,
    validation: pd.DataFrame | None = None,
    prevalence: Mapping[str, float] | None = None,
) -> Metrics:
    """Measure a table of predictions, with 95 % intervals, whole and source by source.

    Parameters
    ----------
    predictions
        A film a row: ``label``, ``predicted``, a column of probabilities for each class, and
        ``patient`` and ``source`` where known.
    classes
        The classes of the model, in the order in which to show them.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`; 0 resamples gives no intervals.
    by_source
        Also measure the films of each source alone, if there are two sources or more, and each disease
        against normal.
    validation
        Predictions of other films, which choose thresholds for these.
    prevalence
        By disease, in (0, 1): also give predictive values for it.

    Returns
    -------
    Metrics
        With `intervals` and, in alphabetical order, `by_source`; with `diseases` where normal is a class.

    Raises
    ------
    CollectionError
        If the table cannot be measured; see `cxrlens.evaluation.metrics.check_predictions`.
    """
    whole = measure(predictions, classes)
    left = abstention(predictions, classes, resamples, seed)
    sure = calibration(predictions, classes, resamples, seed)
    whole = whole.model_copy(update={"abstention": left, "calibration": sure})
    if resamples:
        whole = whole.model_copy(
            update={"intervals": bootstrap(predictions, classes, resamples, seed)}
        )
    if by_source and "source" in predictions.columns and predictions["source"].nunique() > 1:
        parts = {
            str(name): assess(part, classes, resamples, seed, by_source=False)
            for name, part in predictions.groupby("source", sort=True)
        }
        whole = whole.model_copy(update={"by_source": parts})
    if by_source and NORMAL in classes:
        diseases = each_disease(predictions, classes, validation, prevalence, resamples, seed)
        whole = whole.model_copy(update={"diseases": diseases})
    return whole


def assess_scores(
    scores: Scores,
    validation: Scores | None = None,
    prevalence: Mapping[str, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Metrics | Judged:
    """Measure a table of scores of anybody's model; see `assess`.

    Parameters
    ----------
    scores
        The films to measure.
    validation
        Films that choose thresholds; they need the same classes.
    prevalence, resamples, seed
        See `assess`.

    Returns
    -------
    Metrics or Judged
        Without a score for each class there is only each disease against normal.

    Raises
    ------
    CollectionError
        If `validation` lacks a score that `scores` has, or shares a film or a patient with it.
    """
    table, classes = scores.table, scores.classes
    other = validation.table if validation else None
    if validation:
        _refuse_shared(scores, validation)
    if scores.whole:
        return assess(table, classes, resamples, seed, validation=other, prevalence=prevalence)
    return Judged(
        films=len(table),
        patients=int(np.unique(patient_codes(table)).size),
        diseases=each_disease(table, classes, other, prevalence, resamples, seed),
    )


def _refuse_shared(scores: Scores, validation: Scores) -> None:
    lacks = [name for name in scores.classes if name not in validation.classes]
    if lacks:
        raise CollectionError(
            f"{validation.name} has no scores of {' and '.join(lacks)}, which {scores.name} has: thresholds "
            "are chosen by the same scores"
        )
    for column, whose, key in (("image", "films", _files), ("patient", "patients", persons)):
        if column in scores.table and column in validation.table:
            both = key(scores.table[column]).isin(key(validation.table[column]).dropna())
            if both.any():
                raise CollectionError(
                    f"the films of {scores.name} that are measured and those of {validation.name} that "
                    f"choose thresholds share {whose} ({int(both.sum())} films so, the first is "
                    f"{scores.table.loc[both, 'image'].iloc[0]}): thresholds are chosen on other {whose}"
                )


def _files(images: pd.Series) -> pd.Series:
    return images.map(os.path.realpath)


def assess_run(
    run: Run, resamples: int = 1000, seed: int = 0, prevalence: Mapping[str, float] | None = None
) -> dict[str, Metrics]:
    """Measure each split of a run that has predictions, and keep it as ``metrics.json``.

    Thresholds for the other splits are chosen on the validation films.

    Parameters
    ----------
    run
        A run; metrics that it has already are replaced.
    resamples, seed, prevalence
        See `assess`.

    Returns
    -------
    dict of str to Metrics
        By split, in the order train, validation, test.

    Raises
    ------
    RunError
        If the run has no predictions of any split.
    CollectionError
        If a table of predictions cannot be measured.
    """
    predictions = {
        split: run.predictions(split)
        for split in SPLITS
        if (run.path / f"predictions-{split}.csv").is_file()
    }
    found = {
        split: assess(
            table,
            run.classes,
            resamples,
            seed,
            validation=predictions.get("validation") if split != "validation" else None,
            prevalence=prevalence,
        )
        for split, table in predictions.items()
    }
    if OUTSIDE in found and run.recipe.outside:
        found[OUTSIDE] = _by_place(run, predictions, found[OUTSIDE], resamples, seed, prevalence)
    if not found:
        raise RunError(f"{run.path} has no predictions yet: cxrlens train --resume finishes it")
    write_metrics(run.path / "metrics.json", found, force=True)
    return found


def _by_place(
    run: Run,
    predictions: Mapping[str, pd.DataFrame],
    whole: Metrics,
    resamples: int,
    seed: int,
    prevalence: Mapping[str, float] | None,
) -> Metrics:
    """Let each left-out source be judged by the network that did not see it, and by its own thresholds."""
    within: dict[str, dict[str, Separation]] = {name: {} for name in whole.diseases}
    own = predictions[OUTSIDE]
    own = own[own["source"].isin(run.recipe.leave_out.sources)]
    validation = predictions.get("validation")
    judged = [each_disease(own, run.classes, validation, prevalence, resamples, seed)]
    for name, member in run.outside().items():
        found = assess_run(member, resamples, seed, prevalence)[OUTSIDE].diseases
        gone = run.recipe.outside[name]
        for label, one in found.items():
            kept = {source: of for source, of in one.within.items() if source in gone}
            judged.append({label: one.model_copy(update={"within": kept})})
    for diseases in judged:
        for name, disease in diseases.items():
            within.setdefault(name, {}).update(disease.within)
    diseases = {}
    for name, disease in whole.diseases.items():
        apart = Separation(
            films=disease.whole.films,
            normals=disease.whole.normals,
            patients=disease.whole.patients,
            auc=Estimate(value=None),
            average_precision=Estimate(value=None),
            unknown="the places were scored by several networks, whose scores have no common order",
        )
        places = dict(sorted(within[name].items()))
        diseases[name] = disease.model_copy(update={"whole": apart, "within": places})
    return whole.model_copy(update={"diseases": diseases})
