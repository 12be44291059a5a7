"""Films of any size to one square."""

import cv2
import numpy as np
from numpy.typing import NDArray


def resize(film: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Squash or stretch a film to a square; its aspect ratio is given up, its whole area is kept.

    Where an axis shrinks, pixels are averaged over the area that they cover (``INTER_AREA``), which
    keeps fine detail from aliasing; where one grows, they are interpolated linearly
    (``INTER_LINEAR``), which cannot overshoot the film's own range as cubic interpolation does. If
    one axis shrinks and the other grows, the shrinking one goes first.

    Parameters
    ----------
    film
        (H, W).
    side
        Pixels of the result's side.

    Returns
    -------
    ndarray of uint8
        (side, side), a new array. A film that has the size already comes back bit for bit.

    Raises
    ------
    ValueError
        If the film is not a grey (H, W) array, or `side` is not positive.
    """
    if film.ndim != 2 or film.size == 0:
        raise ValueError(f"a film is a grey array of height and width, not of shape {film.shape}")
    if side < 1:
        raise ValueError(f"side must be 1 or more, not {side}")
    height, width = film.shape
    if (height, width) == (side, side):
        return film.copy()
    smaller = (min(height, side), min(width, side))
    if smaller != (height, width):
        film = _resized(film, smaller, cv2.INTER_AREA)
    if smaller != (side, side):
        film = _resized(film, (side, side), cv2.INTER_LINEAR)
    return film


def _resized(film: NDArray[np.uint8], shape: tuple[int, int], how: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(film, (shape[1], shape[0]), interpolation=how), dtype=np.uint8)
