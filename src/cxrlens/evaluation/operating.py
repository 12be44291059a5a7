"""Operating points: what a threshold finds and what it spares, for many weightings of the films at once.

A film is called so where its score reaches the threshold. Thresholds lie at scores of films, as in
``sklearn.metrics.roc_curve``; films of one score are called together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.evaluation.diseases import Demand
from cxrlens.evaluation.intervals import ratio

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
