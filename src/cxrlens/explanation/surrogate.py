"""A Gaussian process over masks of regions: guesses the model's answer to masks it was not asked."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-5
"""Probabilities nearer to 0 or 1 count as this: beyond it the log-odds say nothing about the film."""
_NOISE = 0.05
"""Share of the variance that no other mask tells of."""
_RIDGE = 3.0

Guess = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Masks (N, R) to probabilities (N,)."""


def fit_surrogate(masks: NDArray[np.bool_], answers: NDArray[np.float64]) -> Guess:
    """Learn how probable a class is when some regions are hidden.

    A Gaussian process on the log-odds, where a saturated model is nearer to linear than in its
    probabilities. Its covariance of two masks is exp(s - 1), s being their agreement (-1 to 1) over the
    regions, each weighed by its coefficient in a ridge regression of the log-odds: a sum over all
    orders of interaction, between regions that count, the fewer together the likelier.

    Parameters
    ----------
    masks
        (N, R) bool, N of some hundreds; the cost grows with N² in memory and N³ in time.
    answers
        (N,) probabilities in [0, 1].

    Returns
    -------
    callable
        Masks (M, R) to probabilities (M,) float64.
    """
    share = np.clip(answers, _LEAST, 1 - _LEAST)
    odds = np.log(share / (1 - share))
    mean = odds.mean()
    # Single precision halves the cost, and is far finer than the process itself.
    signs = (2 * masks.astype(np.float32)) - 1
    centred = masks - masks.mean(axis=0)
    square = centred.T @ centred + _RIDGE * np.eye(masks.shape[1])
    lean = np.abs(np.linalg.solve(square, centred.T @ (odds - mean)))
    if lean.max() == 0:
        constant = float(answers.mean())
        return lambda others: np.full(len(others), constant)
    lean += 1e-3 * lean.max()
    scaled = signs * (lean / lean.sum()).astype(np.float32)
    covariance = np.exp(scaled @ signs.T - 1)
    covariance[np.diag_indices_from(covariance)] += _NOISE
    coefficients = np.linalg.solve(covariance, (odds - mean).astype(np.float32))

    def guess(others: NDArray[np.bool_]) -> NDArray[np.float64]:
        near = (2 * others.astype(np.float32) - 1) @ scaled.T
        near -= 1
        np.exp(near, out=near)
        return np.asarray(1 / (1 + np.exp(-(near @ coefficients + mean))), np.float64)

    return guess
