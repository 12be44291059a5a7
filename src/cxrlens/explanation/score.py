"""How good a heat map is: where its heat lies, and whether the model follows it.

A map is measured in the geometry of what the network saw, its part above 0 alone: what speaks against a class
points at nothing. Masks say where the heat should lie: lesions' boxes, or lungs.
"""

import cv2
import numpy as np

from cxrlens.explanation.method import Probabilities
from cxrlens.radiographs.grey import Film, Levels, Mask

STEPS = 10
"""Shares of the film at which a class's probability is asked while it is hidden or shown."""

_BLUR = 0.08
"""Spread of the blur that stands for hidden pixels, as a share of the side: grey would bring edges."""


def heat_in(values: Levels, mask: Mask) -> float:
    """Return the share of the heat inside a mask, in [0, 1] (Wang et al. 2020); NaN without heat."""
    heat = values.clip(min=0)
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else float("nan")


def points_at(values: Levels, mask: Mask) -> bool:
    """Return whether the strongest place lies inside a mask: the pointing game (Zhang et al. 2018)."""
    return bool(mask.ravel()[values.argmax()])


def overlap(values: Levels, mask: Mask) -> float:
    """Return the IoU of a mask and as many of the strongest pixels, in [0, 1].

    Examples
    --------
    >>> heat, box = np.float32([[0, 1], [2, 3]]), np.array([[False, True], [False, True]])
    >>> round(overlap(heat, box), 3)
    0.333
    """
    strongest = np.zeros(mask.size, np.bool_)
    strongest[np.argsort(-values.ravel(), kind="stable")[: mask.sum()]] = True
    both = (strongest & mask.ravel()).sum()
    return float(both / max(1, 2 * mask.sum() - both))


def followed(
    probabilities: Probabilities, film: Film, target: int, values: Levels
) -> tuple[float, float]:
    """Hide a film from its strongest place on, and show it so, and watch a class's probability.

    Parameters
    ----------
    probabilities
        The model.
    film
        (S, S) uint8, as the model sees it.
    target
        Index of the class.
    values
        (S, S), the map.

    Returns
    -------
    tuple of float
        Mean probability while it is hidden (deletion; less is better) and while it is shown (insertion; more
        is better) in `STEPS` steps (Petsiuk et al. 2018). A hidden pixel is that of a blurred film.
    """
    blurred = cv2.GaussianBlur(film, (0, 0), _BLUR * len(film))
    rank = np.empty(film.size, np.int64)
    rank[np.argsort(-values.ravel(), kind="stable")] = np.arange(film.size)
    edges = np.linspace(0, film.size, STEPS + 1)[:, None, None]
    strong = rank.reshape(film.shape)[None] < edges
    shown = [np.where(strong, blurred, film), np.where(strong, film, blurred)]
    hidden, given = (probabilities(films)[:, target].mean() for films in shown)
    return float(hidden), float(given)


def agreement(one: Levels, other: Levels) -> float:
    """Return the rank correlation of two maps (Spearman), in [-1, 1]; NaN where one is flat.

    Ties are ranked by place: maps on a coarse grid are to be compared on that grid.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    middle = (one.size - 1) / 2
    first, second = (
        values.ravel().argsort(kind="stable").argsort(kind="stable") - middle
        for values in (one, other)
    )
    return float((first * second).sum() / (first**2).sum())
