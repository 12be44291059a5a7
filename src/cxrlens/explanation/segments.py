"""Superpixels: a film cut into connected regions of even grey (SLIC, Achanta et al. 2012).

OpenCV's main modules have no superpixels and scikit-image belongs to the training extra, so this is a
small SLIC of our own: LIME must work wherever an exported model does.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALLEST = 0.25
"""A region below this share of the mean region's pixels is given to its neighbours."""


def superpixels(
    film: NDArray[np.uint8],
    count: int = 50,
    compactness: float = 0.1,
    blur: float = 1.0,
    rounds: int = 10,
) -> NDArray[np.int32]:
    """Cut a film into connected regions that follow its edges.

    Centres start on a regular grid. In each round a pixel joins the best centre of its own grid cell and
    the eight around it, by grey and place together, and each centre moves to the mean of its pixels.
    Parts that hang loose, and regions that came out tiny, go to their neighbours.

    Parameters
    ----------
    film
        (H, W) uint8.
    count
        Regions wanted; those that come out are the nearest grid's, less the tiny ones.
    compactness
        How much place counts against grey: a grey difference of this share of the film's whole range
        weighs as much as the distance between two centres. Higher is squarer.
    blur
        Standard deviation in pixels of a Gaussian before, against noise; 0 for none.
    rounds
        Of joining and moving.

    Returns
    -------
    ndarray of int32
        (H, W), regions numbered from 0 without gaps, each connected by edges.
    """
    height, width = film.shape
    rows = min(height, max(1, round(np.sqrt(count * height / width))))
    columns = min(width, max(1, round(count / rows)))
    grey = film.astype(np.float32)
    if blur > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), blur).astype(np.float32)
    grey /= max(float(np.ptp(grey)), 1.0) * compactness
    step = np.sqrt(height * width / (rows * columns))
    y, x = (np.indices(film.shape) / step).astype(np.float32)

    home_row = (np.arange(height) * rows // height)[:, None]
    home_column = (np.arange(width) * columns // width)[None]
    around = np.stack(
        [
            np.clip(home_row + down, 0, rows - 1) * columns
            + np.clip(home_column + right, 0, columns - 1)
            for down in (0, -1, 1)
            for right in (0, -1, 1)
        ]
    )
    labels = around[0]
    centres = _means(labels, (grey, y, x), np.zeros((rows * columns, 3), np.float32))
    for _ in range(rounds):
        distance = sum(
            (centres[around, axis] - place) ** 2 for axis, place in enumerate((grey, y, x))
        )
        best = np.asarray(distance).argmin(0)
        labels = np.take_along_axis(around, best[None], 0)[0]
        centres = _means(labels, (grey, y, x), centres)
    return _connected(labels.astype(np.int32), _SMALLEST * film.size / (rows * columns))


def _means(
    labels: NDArray[np.int64],
    features: tuple[NDArray[np.float32], ...],
    before: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Mean features of each region; one that has lost all its pixels stays where it was."""
    size = len(before)
    pixels = np.bincount(labels.ravel(), minlength=size)
    sums = np.stack([np.bincount(labels.ravel(), f.ravel(), size) for f in features], 1)
    means = sums / np.maximum(pixels, 1)[:, None]
    return np.where(pixels[:, None] > 0, means, before).astype(np.float32)


def _connected(labels: NDArray[np.int32], smallest: float) -> NDArray[np.int32]:
    """Keep each region's largest connected part if it has `smallest` pixels; neighbours take the rest."""
    kept = np.full(labels.shape, -1, np.int32)
    number = 0
    for label in np.unique(labels):
        parts, numbered, facts, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=4
        )
        sizes = facts[1:parts, cv2.CC_STAT_AREA]
        if sizes.max() >= smallest:
            kept[numbered == 1 + sizes.argmax()] = number
            number += 1
    if number == 0:  # never with the grid's own sizes; a film of one pixel must work too
        return np.zeros_like(labels)
    while (kept < 0).any():
        rim = np.pad(kept, 1, constant_values=-1)
        for near in (rim[:-2, 1:-1], rim[2:, 1:-1], rim[1:-1, :-2], rim[1:-1, 2:]):
            kept = np.where(kept < 0, near, kept)
    return kept
