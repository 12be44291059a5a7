"""How well features tell a target, by ridge regression in closed form, with intervals by patient.

A ridge on centred targets ranks films as a linear discriminant does. Its penalty is chosen by the
leave-one-out error of the training films, which costs one eigendecomposition (Golub, Heath and
Wahba, Generalized cross-validation, 1979), so hundreds of probes take seconds, without scikit-learn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.evaluation.intervals import draw, percentiles, weighted_auc

Array = NDArray[np.float64]

FOLDS = 5
_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)  # of features with spread 1
_RESAMPLES = 200
_LEVEL = 0.95


@dataclass(frozen=True)
class Told:
    """How well a target is told.

    Attributes
    ----------
    auc
        Area under the ROC curve on films that were not learnt from; 0.5 is chance.
    low, high
        Its 95 % interval by patient; None where there are too few.
    films, patients
        On which it was measured.
    """

    auc: float
    low: float | None
    high: float | None
    films: int
    patients: int

    def words(self) -> str:
        """Write ``AUC 0.93 (0.91–0.95)``."""
        span = f" ({self.low:.2f}–{self.high:.2f})" if self.low is not None else ""
        return f"AUC {self.auc:.2f}{span}"


def fit_ridge(features: Array, targets: Array) -> tuple[Array, Array]:
    """Fit targets (N, T) by features (N, D); return weights (D, T) and biases (T,)."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread < 1e-9, np.inf, spread)  # what never changes tells nothing
    x, centre = (features - mean) / spread, targets.mean(axis=0)
    y = targets - centre
    values, vectors = _axes(x)
    rotated = x @ vectors
    along = rotated.T @ y / len(x)
    best: tuple[float, Array] | None = None
    for penalty in _PENALTIES:
        shrunk = 1 / (np.maximum(values, 0) + penalty)
        weights = shrunk[:, None] * along
        leverage = (rotated**2) @ shrunk / len(x) + 1 / len(x)
        left_out = (y - rotated @ weights) / np.maximum(1 - leverage, 1e-6)[:, None]
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = (error, vectors @ weights)
    assert best is not None
    weight = best[1] / spread[:, None]
    return weight, centre - mean @ weight


def _axes(x: Array) -> tuple[Array, Array]:
    """Compute the principal axes of features (N, D) as columns, and their variances."""
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        return values, vectors
    # Of few films the axes are found faster among the films; where nothing varies there are none.
    values, among = np.linalg.eigh(x @ x.T / len(x))
    there = values > 1e-10 * max(float(values[-1]), 1e-30)
    values, among = values[there], among[:, there]
    return values, x.T @ among / np.sqrt(len(x) * values)


def cross_validated(
    features: Array, targets: NDArray[np.bool_], patients: NDArray[np.intp], seed: int = 0
) -> Array:
    """Score every film by a ridge that has seen none of its patient's films.

    Parameters
    ----------
    features
        (N, D).
    targets
        (N, T), which of T things each film is.
    patients
        (N,), whole numbers; films of one number stay in one fold. Folds are stratified by target.

    Returns
    -------
    ndarray of float64
        (N, T), higher meaning more of it.
    """
    scores = np.zeros(targets.shape)
    folds = folds_of(targets, patients, seed)
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            weight, bias = fit_ridge(features[~held], targets[~held].astype(np.float64))
            scores[held] = features[held] @ weight + bias
    return scores


def folds_of(targets: NDArray[np.bool_], patients: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Deal patients into folds 0 … `FOLDS` - 1, each with its share of every target, (N,)."""
    people, first = np.unique(patients, return_index=True)
    order = np.random.default_rng(seed).permutation(len(people))
    order = order[np.argsort(targets[first][order].argmax(axis=1), kind="stable")]
    dealt = np.empty(len(people), np.intp)
    dealt[order] = np.arange(len(people)) % FOLDS
    return dealt[np.searchsorted(people, patients)]


def measured(
    scores: Array, targets: NDArray[np.bool_], patients: NDArray[np.intp], seed: int = 0
) -> tuple[list[Told], Told]:
    """Compute the AUC of each of T columns, and of their mean, with intervals by patient.

    Parameters
    ----------
    scores, targets
        (N, T); every column of `targets` holds both true and false.
    patients
        (N,), whole numbers; patients are resampled.
    """
    _, codes = np.unique(patients, return_inverse=True)
    people = int(codes.max()) + 1
    random = np.random.default_rng(seed)
    drawn = draw(random, people, _RESAMPLES)
    weights = np.concatenate([np.ones((1, people)), drawn])[:, codes]
    columns = range(targets.shape[1])
    aucs = np.stack([weighted_auc(weights, targets[:, t], scores[:, t]) for t in columns], axis=1)
    # A resample without a class has no AUC for it; the mean takes those that it has.
    counted = np.isfinite(aucs)
    means = np.where(counted, aucs, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    told = [_told(aucs[:, t], len(codes), people) for t in columns]
    return told, _told(np.where(counted.any(axis=1), means, np.nan), len(codes), people)


def _told(values: Array, films: int, people: int) -> Told:
    interval = percentiles(values[1:], _LEVEL) if people > 1 else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Told(float(values[0]), low, high, films, people)
