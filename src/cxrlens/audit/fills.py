"""Lungs taken out of a film, four ways, and everything but the lungs taken out.

What can still be told of a film whose lungs are gone is no disease of the lungs. Each fill leaves
traces of its own, so one alone proves little: a mean is flat, noise has no anatomy, a blur keeps how
dense the lungs were, another film's lungs are lungs, but of somebody drawn by lot.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import find_lungs

Lungs = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Where the lungs are: films (N, S, S) uint8 to masks (N, S, S)."""

FILLS = ("mean", "noise", "blur", "another film's lungs")
"""Names of the fills, in the order in which they are shown."""

LEAST = 0.02
"""Share of a film that a mask must cover to count as lungs."""


def filled(
    films: NDArray[np.uint8], masks: NDArray[np.bool_], fill: str, seed: int = 0
) -> NDArray[np.uint8]:
    """Take the lungs out of films.

    Parameters
    ----------
    films
        (N, S, S) uint8.
    masks
        (N, S, S), true in the lungs.
    fill
        One of `FILLS`. The mean and the spread are those of the film outside its lungs; the blur has
        a sigma of a tenth of the side; another film's lungs are drawn by lot, brought to the place
        and size of those that they replace, and what they leave open is filled with the mean.
    seed
        Of the noise and the lot.

    Returns
    -------
    ndarray of uint8
        (N, S, S), equal to `films` outside the masks.
    """
    random = np.random.default_rng(seed)
    givers = _other(len(films), random)
    out = films.copy()
    for row, (film, mask) in enumerate(zip(films, masks, strict=True)):
        if not mask.any() or mask.all():
            continue
        around = film[~mask]
        if fill == "mean":
            out[row][mask] = round(float(around.mean()))
        elif fill == "noise":
            noise = random.normal(around.mean(), around.std(), int(mask.sum()))
            out[row][mask] = np.clip(noise, 0, 255).astype(np.uint8)
        elif fill == "blur":
            out[row][mask] = cv2.GaussianBlur(film, (0, 0), film.shape[0] / 10)[mask]
        elif fill == FILLS[3]:
            giver = givers[row]
            out[row][mask] = _given(films[giver], masks[giver], mask, around)
        else:
            raise ValueError(f"there is no fill {fill!r}: choose one of {', '.join(FILLS)}")
    return out


def network_lungs(films: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find lungs by the lung network, generously; see `Lungs`.

    A lung that is missing or half hidden counts where the other's mirror image lies, and all reach 3 % of
    the side beyond what was found, so that no white lung and no edge of one is left on a filled film.
    """
    side = films.shape[1]
    reach = 2 * max(1, round(0.03 * side)) + 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    masks = np.zeros(films.shape, np.bool_)
    for mask, film in zip(masks, films, strict=True):
        fields = find_lungs(film).completed().astype(np.uint8) * 255
        if fields.any():
            mask[:] = cv2.dilate(cv2.resize(fields, (side, side)), around) > 127
    return masks


def lungs_alone(films: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Leave nothing but the lungs: all around them gets their own mean, a film a film, (N, S, S)."""
    out = films.copy()
    for row, (film, mask) in enumerate(zip(films, masks, strict=True)):
        out[row][~mask] = round(float(film[mask].mean())) if mask.any() else 0
    return out


def _other(count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Deal every film another one's place: a random cycle, so that no film gets its own."""
    order = random.permutation(count)
    givers = np.empty(count, np.intp)
    givers[order] = np.roll(order, 1)
    return givers


def _given(
    film: NDArray[np.uint8],
    lungs: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    around: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    mean = np.uint8(round(float(around.mean())))
    if not lungs.any():
        return np.full(int(mask.sum()), mean)
    (top, bottom, left, right), theirs = _box(mask), _box(lungs)
    size = (right - left, bottom - top)
    place = np.s_[theirs[0] : theirs[1], theirs[2] : theirs[3]]
    brought = np.full(mask.shape, mean)
    shape = cv2.resize(lungs[place].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    levels = cv2.resize(film[place], size, interpolation=cv2.INTER_AREA)
    brought[top:bottom, left:right][shape] = levels[shape]
    return brought[mask]


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
