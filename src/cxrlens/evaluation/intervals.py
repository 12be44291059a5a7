"""Bootstrap intervals, resampled by patient: how far the figures would move with other patients.

Films of one patient resemble each other, so that resampling films would promise too much. Patients
are drawn with replacement, as many as there are; a drawn patient brings all of their films. The
interval runs between percentiles of the resampled figures (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapter 13; for clustered data Field and Welsh, 2007).

Nothing is copied for a resample: each is a vector of whole weights, one a patient, and all figures
are computed from weighted counts for all resamples at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import patient_codes
from cxrlens.errors import CxrlensError
from cxrlens.evaluation.measured import Demand, Interval, Intervals
from cxrlens.evaluation.metrics import (
    check_predictions,
    forced,
    numbered,
    probabilities,
)

CELLS = 4_000_000
"""Weights held at a time: 32 MB, whatever the size of the table."""


def bootstrap(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Intervals:
    """Draw patients again and again, and give each figure's percentile interval.

    Parameters
    ----------
    predictions, classes
        As for `cxrlens.evaluation.metrics.measure`.
    resamples
        How often patients are drawn.
    seed
        The same seed gives the same intervals.
    level
        Coverage in (0, 1): 0.95 runs from the 2.5th to the 97.5th percentile.

    Returns
    -------
    Intervals
        An entry for each name of `Metrics.flat`. It is None where fewer than two patients were
        given, or where less than half of the resamples can be measured (a class of one patient is
        missing from every third). Each figure follows the rules of `Metrics`, in every resample: a
        mean over classes takes those that occur there.

    Raises
    ------
    CollectionError
        If the table cannot be measured.
    ValueError
        If `resamples` is less than 1 or `level` is not in (0, 1).

    Notes
    -----
    A percentile interval cannot see beyond its sample: where no film is wrong it is the point 1,
    however few films there are. With n patients and no error, an error rate of up to about 3 / n is
    still compatible (Hanley and Lippman-Hand, JAMA 1983).
    """
    if not 0 < level < 1:
        raise ValueError("resamples must be at least 1, and level between 0 and 1")
    drawn = resampled(predictions, classes, resamples, seed)
    patients = int(np.unique(patient_codes(predictions)).size)
    return Intervals(
        level=level,
        resamples=resamples,
        seed=seed,
        patients=patients,
        by_name={
            name: percentiles(values, level) if patients > 1 else None
            for name, values in drawn.items()
        },
    )


def resampled(
    predictions: pd.DataFrame, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Draw patients again and again, and give each figure as it came out each time.

    Two tables of the same films in the same order, with the same seed, are drawn alike: their
    figures are paired, and so is the difference of them.

    Parameters
    ----------
    predictions, classes, resamples, seed
        As for `bootstrap`.

    Returns
    -------
    dict of str to NDArray of float64
        By the names of `Metrics.flat`, shape (resamples,); NaN where it could not be measured.

    Raises
    ------
    CollectionError
        If the table cannot be measured.
    ValueError
        If `resamples` is less than 1.
    """
    if resamples < 1:
        raise ValueError("resamples must be at least 1")
    predictions = forced(predictions, classes)
    check_predictions(predictions, classes)
    label = numbered(predictions["label"], classes)
    predicted = numbered(predictions["predicted"], classes)
    scores = probabilities(predictions, classes)
    parts = [
        _figures(weights, label, predicted, scores, classes)
        for weights in drawn_weights(predictions, resamples, seed)[1]
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def drawn_weights(
    films: pd.DataFrame, resamples: int, seed: int
) -> tuple[int, Iterator[NDArray[np.float64]]]:
    """Count patients, and draw them again and again: how often each film counts, some draws at a time.

    Returns
    -------
    tuple
        The number of patients, and arrays (draws, films) of at most `CELLS` weights.
    """
    _, codes = np.unique(patient_codes(films), return_inverse=True)
    patients = int(codes.max()) + 1
    random = np.random.default_rng(seed)
    chunk = max(1, CELLS // len(codes))
    starts = range(0, resamples, chunk)
    return patients, (
        draw(random, patients, min(chunk, resamples - start))[:, codes] for start in starts
    )


def draw(random: np.random.Generator, patients: int, resamples: int) -> NDArray[np.float64]:
    """Draw patients with replacement, and count each: (resamples, patients), rows sum to `patients`."""
    picks = random.integers(0, patients, size=(resamples, patients))
    picks += np.arange(resamples)[:, None] * patients
    counts = np.bincount(picks.ravel(), minlength=resamples * patients)
    return counts.reshape(resamples, patients).astype(np.float64)


def percentiles(values: NDArray[np.float64], level: float) -> Interval | None:
    """Return the interval that holds the middle `level` of resampled values.

    Parameters
    ----------
    values
        (resamples,), with NaN where a figure could not be measured.
    level
        In (0, 1).

    Returns
    -------
    Interval or None
        None where less than half of the resamples could be measured.
    """
    measured = values[np.isfinite(values)]
    if 2 * measured.size < values.size:
        return None
    low, high = np.quantile(measured, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), measured=measured.size / values.size)


def weighted_auc(
    weights: NDArray[np.float64], positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under the ROC curve for many weightings of the same films at once.

    Parameters
    ----------
    weights
        (resamples, films), not negative.
    positive
        (films,), which of them belong to the class.
    score
        (films,), higher meaning more of the class. Equal scores count half.

    Returns
    -------
    NDArray of float64
        (resamples,); NaN where one side has no weight. For a single row it equals
        ``sklearn.metrics.roc_auc_score(positive, score, sample_weight=weights[0])``.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_weights = weights[:, order]
    hits = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    rest = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    below = np.cumsum(rest, axis=1) - rest / 2
    pairs = hits.sum(axis=1) * rest.sum(axis=1)
    return ratio((hits * below).sum(axis=1), pairs)


def ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide element by element; NaN where there is nothing to divide by."""
    shares: NDArray[np.float64] = np.full(np.shape(top), np.nan)
    np.divide(top, bottom, out=shares, where=bottom > 0)
    return shares


def _figures(
    weights: NDArray[np.float64],
    label: NDArray[np.intp],
    predicted: NDArray[np.intp],
    scores: NDArray[np.float64],
    classes: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Every figure of `Metrics.flat` for each row of weights (resamples, films)."""
    count = len(classes)
    cells = np.zeros((len(label), count * count))
    cells[np.arange(len(label)), label * count + predicted] = 1
    confusion = (weights @ cells).reshape(-1, count, count)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    films, called = confusion.sum(axis=2), confusion.sum(axis=1)
    precision = ratio(right, called)
    recall = ratio(right, films)
    others = films.sum(axis=1, keepdims=True) - films
    specificity = ratio(others - (called - right), others)
    f1 = ratio(2 * right, films + called)
    auc = np.stack([weighted_auc(weights, label == i, scores[:, i]) for i in range(count)], axis=1)
    classes_there = (films + called > 0).sum(axis=1)
    aucs_there = np.isfinite(auc).sum(axis=1)
    figures = {
        "accuracy": right.sum(axis=1) / films.sum(axis=1),
        "macro_precision": np.nansum(precision, axis=1) / classes_there,
        "macro_recall": np.nansum(recall, axis=1) / classes_there,
        "macro_f1": np.nansum(f1, axis=1) / classes_there,
        "macro_auc": ratio(np.nansum(auc, axis=1), aucs_there.astype(np.float64)),
    }
    for i, name in enumerate(classes):
        for quantity, values in (
            ("precision", precision),
            ("recall", recall),
            ("specificity", specificity),
            ("f1", f1),
        ):
            figures[f"{name}.{quantity}"] = values[:, i]
        figures[f"{name}.auc"] = auc[:, i]
    return figures


DEMANDS: tuple[tuple[Demand, float], ...] = (
    ("specificity", 0.7),
    ("specificity", 0.9),
    ("sensitivity", 0.7),
    ("sensitivity", 0.9),
)
"""What is demanded of a threshold, and how much of it."""

_SLACK = 1e-9  # 0.9 * 10 films is 9, whatever floating point makes of it


@dataclass(frozen=True)
class Steps:
    """What is called so as the threshold falls, K steps after a first one at which nothing is.

    Attributes
    ----------
    thresholds
        (K + 1,), falling; the first is infinite.
    hits, alarms
        (resamples, K + 1) weight of the films that are called so and are, or are not.
    """

    thresholds: NDArray[np.float64]
    hits: NDArray[np.float64]
    alarms: NDArray[np.float64]

    def chosen(self, demand: Demand, at_least: float) -> NDArray[np.intp]:
        """Find the step that keeps a demand and gives most of the other.

        Parameters
        ----------
        demand, at_least
            A specificity or sensitivity in [0, 1] that must be reached.

        Returns
        -------
        ndarray of intp
            (resamples,), a step. Of those equally good the one that calls fewest films so where
            specificity is demanded, and most where sensitivity is: it gives something away for nothing
            in neither.
        """
        hits, alarms = self.hits, self.alarms
        if demand == "specificity":
            allowed = alarms <= (1 - at_least) * alarms[:, -1:] + _SLACK
            most = np.take_along_axis(hits, allowed.sum(axis=1, keepdims=True) - 1, axis=1)
        else:
            most = hits[:, -1:] * at_least - _SLACK
        first: NDArray[np.intp] = (hits >= most).argmax(axis=1)
        if demand == "specificity":
            return first
        # More may be found at no further alarm.
        fewest = np.take_along_axis(alarms, first[:, None], axis=1)
        last: NDArray[np.intp] = (alarms <= fewest).sum(axis=1) - 1
        return last

    def rates(self, step: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give sensitivity and specificity (resamples,) at a step each; NaN where there is no such film."""
        hits, alarms = (
            np.take_along_axis(of, step[:, None], axis=1)[:, 0] for of in (self.hits, self.alarms)
        )
        normals = self.alarms[:, -1]
        return ratio(hits, self.hits[:, -1]), ratio(normals - alarms, normals)

    def areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the area under the ROC curve and the average precision, (resamples,) each."""
        hits, alarms = self.hits, self.alarms
        found, spared = np.diff(hits, axis=1), np.diff(alarms, axis=1)
        above = (spared * (hits[:, :-1] + found / 2)).sum(axis=1)
        precision = np.nan_to_num(ratio(hits[:, 1:], hits[:, 1:] + alarms[:, 1:]))
        both = np.where(alarms[:, -1] > 0, hits[:, -1], 0.0)  # without normal films it says nothing
        return ratio(above, hits[:, -1] * alarms[:, -1]), ratio(
            (found * precision).sum(axis=1), both
        )


def steps(
    weights: NDArray[np.float64], positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> Steps:
    """Let the threshold fall over all scores.

    Parameters
    ----------
    weights
        (resamples, films), how often each film counts.
    positive
        (films,), which of them are so.
    score
        (films,), higher for films that are more likely so.
    """
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    ends = np.flatnonzero(np.append(np.diff(falling), -1.0))
    sorted_weights = weights[:, order]
    counted = []
    for kind in (positive[order], ~positive[order]):
        sums = np.cumsum(sorted_weights * kind, axis=1)[:, ends]
        counted.append(np.concatenate([np.zeros((len(sums), 1)), sums], axis=1))
    return Steps(np.append(np.inf, falling[ends]), *counted)


def rates_from(
    weights: NDArray[np.float64],
    positive: NDArray[np.bool_],
    score: NDArray[np.float64],
    threshold: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give sensitivity and specificity (resamples,) of a threshold that other films chose.

    Parameters
    ----------
    weights, positive, score
        See `steps`.
    threshold
        Infinite calls no film so.
    """
    called = score >= threshold
    hits, films = weights @ (called & positive), weights @ positive
    spared, normals = weights @ (~called & ~positive), weights @ ~positive
    return ratio(hits, films), ratio(spared, normals)


def thresholds(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> dict[tuple[Demand, float], float]:
    """Choose a threshold for each of `DEMANDS`; infinite where no film may be called so.

    Parameters
    ----------
    positive, score
        See `steps`; of both kinds there is at least one film.
    """
    curve = steps(np.ones((1, len(score))), positive, score)
    return {
        (demand, of): float(curve.thresholds[curve.chosen(demand, of)[0]]) for demand, of in DEMANDS
    }


def refuse_prevalences(stated: Mapping[str, float] | None, diseases: Sequence[str]) -> None:
    """Refuse what cannot be the shares of those tested who have each disease.

    Raises
    ------
    CxrlensError
        If one is of no disease among `diseases` or not in (0, 1), or they leave no one healthy.
    """
    for name, share in (stated or {}).items():
        if name not in diseases or not 0 < share < 1:
            raise CxrlensError(
                f"prevalence {name}={share}: name one of {', '.join(diseases)}, and a share between 0 and 1"
            )
    if sum((stated or {}).values()) >= 1:
        raise CxrlensError("the stated prevalences leave no one healthy: they sum to 1 or more")


def predictive_values(
    sensitivity: NDArray[np.float64] | Sequence[float],
    specificity: NDArray[np.float64] | Sequence[float],
    prevalence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Work out PPV and NPV at a prevalence by Bayes' theorem.

    Parameters
    ----------
    sensitivity, specificity
        (N,) in [0, 1].
    prevalence
        Share of those tested who have the disease, in (0, 1).

    Returns
    -------
    tuple of ndarray
        (N,) each; NaN where nobody would be called so, or not so.

    Examples
    --------
    >>> ppv, npv = predictive_values([0.9], [0.7], 0.02)
    >>> round(float(ppv[0]), 4), round(float(npv[0]), 4)
    (0.0577, 0.9971)
    """
    found, spared = np.asarray(sensitivity, np.float64), np.asarray(specificity, np.float64)
    ill, well = prevalence, 1 - prevalence
    called = found * ill + (1 - spared) * well
    return ratio(found * ill, called), ratio(spared * well, spared * well + (1 - found) * ill)
