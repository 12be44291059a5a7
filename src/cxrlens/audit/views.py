"""Parts of a film that a shortcut probe is shown: its edges, its frame, all but its lungs, or they alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.audit.films import PART, SIDE, Films, Squares
from cxrlens.lungs import find_lungs
from cxrlens.progress import in_batches
from cxrlens.radiographs.grey import Film, Mask

Lungs = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Where the lungs are: films (N, S, S) uint8 to masks (N, S, S)."""

Features = NDArray[np.uint8] | NDArray[np.float64]

CORNERS = ("top left corner", "top right corner", "bottom left corner", "bottom right corner")
_CORNER = 24  # of 128 pixels
_THUMBNAIL = 16  # pixels of a side
_COMMON = 12  # sizes of film that get a column of their own

FILLS = ("mean", "noise", "blur", "another film's lungs")
"""Names of the fills, in the order in which they are shown."""

LEAST = 0.02
"""Share of a film that a mask must cover to count as lungs."""


@dataclass(frozen=True)
class View:
    """One way to look at films.

    Attributes
    ----------
    name
        As tables call it.
    lungs
        Whether it holds something of the lungs, so that it may tell the disease itself.
    features
        Films to (N, D), of any scale.
    """

    name: str
    lungs: bool
    features: Callable[[Films], Features]


def _shrunk(squares: Iterable[Film], side: int, frame: Mask | slice = slice(None)) -> Film:
    """Shrink squares and keep what is in a frame (side, side) of them, (N, D) uint8."""
    small = (cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA) for square in squares)
    return np.stack([np.asarray(square, np.uint8)[frame].ravel() for square in small])


def _border(films: Films) -> Features:
    # The outer 9 % of the film on each side.
    frame = np.ones((32, 32), bool)
    frame[3:-3, 3:-3] = False
    return _shrunk(films.pixels, 32, frame)


def _corner(name: str, films: Films) -> Features:
    vertical, horizontal, _ = name.split()
    near, far = slice(0, _CORNER), slice(SIDE - _CORNER, SIDE)
    rows, columns = near if vertical == "top" else far, near if horizontal == "left" else far
    return _shrunk((square[rows, columns] for square in films.pixels), 12)


def _histogram(films: Films) -> Features:
    counts = [np.bincount(square.ravel() // 8, minlength=32) for square in films.pixels]
    # Film roots of counts have about the same spread, in rare and in common levels.
    return np.sqrt(np.stack(counts) / SIDE**2)


def _bytes(films: Films) -> Features:
    return np.asarray(np.log(films.files[["bytes_per_pixel"]].to_numpy(np.float64)))


def _file(films: Films) -> Features:
    files = films.files
    quality = files["quality"].astype(float)
    numbers = [
        np.log(files["width"]),
        np.log(files["height"]),
        np.log(files["width"] / files["height"]),
        quality.fillna(quality.mean() if quality.notna().any() else 0),
    ]
    sizes = files["width"].astype(str) + "×" + files["height"].astype(str)
    common = sizes.isin(sizes.value_counts().index[:_COMMON])
    kinds = pd.get_dummies(
        pd.DataFrame({"f": files["format"], "m": files["mode"], "s": sizes.where(common, "other")})
    )
    return np.column_stack([*numbers, kinds.to_numpy(float)]).astype(np.float64)


VIEWS: tuple[View, ...] = (
    View("border", False, _border),
    *(View(name, False, partial(_corner, name)) for name in CORNERS),
    View("file", False, _file),
    # How well a film can be packed depends on all that is on it, the lungs included.
    View("bytes", True, _bytes),
    View("thumbnail", True, lambda films: _shrunk(films.pixels, _THUMBNAIL)),
    View("histogram", True, _histogram),
)
"""Views that need nothing but the films, those without lungs first."""


def lung_views(masks: Squares) -> tuple[View, ...]:
    """Make the views that need to know where the lungs are, for films of the masks (N, 128, 128)."""

    def without(films: Films) -> Iterator[Film]:
        for part in in_batches(len(films), PART):
            yield from filled(films.pixels[part], masks[part] > 0, "mean")

    return (
        View("lungs filled", False, lambda films: _shrunk(without(films), _THUMBNAIL)),
        # A disease can change where lungs seem to end, so their outline may tell it.
        View("lungs' outline", True, lambda _: _shrunk((m * 255 for m in masks), _THUMBNAIL)),
    )


def table_views(table: pd.DataFrame) -> tuple[View, ...]:
    """Make views of a collection's own columns: ``source``, ``view``, ``age``, ``sex``, where known."""
    there = (column for column in ("source", "view", "sex", "age") if column in table)
    return tuple(
        View(name, False, partial(_column, name)) for name in there if table[name].notna().any()
    )


def _column(column: str, films: Films) -> Features:
    values = films.table[column]
    if column == "age":
        # In steps of a few years, since no line runs from children through adults to the old.
        ends = [-1, 1, 3, 5, 10, 18, 30, 40, 50, 60, 70, 80, 200]
        values = pd.cut(values.astype(float), ends)
    return pd.get_dummies(values.astype("string").fillna("not known")).to_numpy(np.float64)


def filled(films: Film, masks: Mask, fill: str, seed: int = 0) -> Film:
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
    # A random cycle, so that no film gets its own lungs.
    order = random.permutation(len(films))
    givers = np.empty(len(films), np.intp)
    givers[order] = np.roll(order, 1)
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
        else:
            giver = givers[row]
            out[row][mask] = _transplanted(films[giver], masks[giver], mask, around)
    return out


def network_lungs(films: Film) -> Mask:
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


def lungs_alone(films: Film, masks: Mask) -> Film:
    """Leave nothing but the lungs: all around them gets their own mean, a film a film, (N, S, S)."""
    out = films.copy()
    for row, (film, mask) in enumerate(zip(films, masks, strict=True)):
        out[row][~mask] = round(float(film[mask].mean())) if mask.any() else 0
    return out


def _transplanted(
    film: Film,
    lungs: Mask,
    mask: Mask,
    around: Film,
) -> Film:
    mean = np.uint8(round(float(around.mean())))
    if not lungs.any():
        return np.full(int(mask.sum()), mean)
    here, there = _box(mask), _box(lungs)
    size = mask[here].shape[::-1]
    brought = np.full(mask.shape, mean)
    shape = cv2.resize(lungs[there].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    levels = cv2.resize(film[there], size, interpolation=cv2.INTER_AREA)
    brought[here][shape] = levels[shape]
    return brought[mask]


def _box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
