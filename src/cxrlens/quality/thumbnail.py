"""A film as a tiny picture of ranks: what stays of it under any change of tone.

Ranks do not change under gamma, gain or window, and inverting a film exactly mirrors them. So a
template of ranks answers whether a film is a negative, and whether it is a chest at all.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Pixels along the thumbnail's side."""


def rank_thumbnail(film: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.float64]:
    """Shrink a film and replace its grey levels by their ranks.

    Parameters
    ----------
    film
        (H, W) uint8.
    side
        Of the thumbnail, in pixels.

    Returns
    -------
    (side * side,) float64
        Row by row, ranks brought to [-1, 1]; equal levels share the mean of their ranks, so that
        the thumbnail of the inverted film is minus this one up to rounding.
    """
    small = cv2.resize(film, (side, side), interpolation=cv2.INTER_AREA).ravel()
    counts = np.bincount(small, minlength=256)
    upto = np.cumsum(counts)
    middle = upto - (counts + 1) / 2
    return np.asarray(2 * middle[small] / (side * side - 1) - 1, dtype=np.float64)
