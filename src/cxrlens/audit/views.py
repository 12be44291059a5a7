"""What a shortcut probe is shown of a film: never enough to read a disease of the lungs from.

A thumbnail and a histogram hold a little of the lungs and are shown for comparison. All the others
hold nothing of them: what they tell of the label, a model can learn instead of the disease.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.audit.fills import filled
from cxrlens.audit.films import SIDE, Films

Features = NDArray[np.float64]

CORNERS = ("top left corner", "top right corner", "bottom left corner", "bottom right corner")
_CORNER = 24  # of 128 pixels
_COMMON = 12  # sizes of film that get a column of their own


@dataclass(frozen=True)
class View:
    """One way to look at films.

    Attributes
    ----------
    name
        What tables call it.
    shown
        What it is shown, for the page.
    lungs
        Whether it holds something of the lungs, so that it may tell the disease itself.
    features
        Films to (N, D).
    """

    name: str
    shown: str
    lungs: bool
    features: Callable[[Films], Features]


def _shrunk(squares: NDArray[np.uint8], side: int) -> Features:
    small = [cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA) for square in squares]
    return np.stack(small).astype(np.float64) / 255


def _thumbnail(films: Films) -> Features:
    return _shrunk(films.pixels, 16).reshape(len(films), -1)


def _border(films: Films) -> Features:
    frame = np.ones((32, 32), bool)
    frame[3:-3, 3:-3] = False
    return _shrunk(films.pixels, 32)[:, frame]


def corner_of(name: str) -> tuple[slice, slice]:
    """Give rows and columns of the (128, 128) square that the corner of that name takes."""
    vertical, horizontal, _ = name.split()
    near, far = slice(0, _CORNER), slice(SIDE - _CORNER, SIDE)
    return (near if vertical == "top" else far), (near if horizontal == "left" else far)


def _corner(name: str) -> Callable[[Films], Features]:
    def features(films: Films) -> Features:
        rows, columns = corner_of(name)
        return _shrunk(films.pixels[:, rows, columns], 12).reshape(len(films), -1)

    return features


def _histogram(films: Films) -> Features:
    counts = [np.bincount(square.ravel() // 8, minlength=32) for square in films.pixels]
    # Square roots of counts have about the same spread, in rare and in common levels.
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
    View("border", "the outer 9 % of the film on each side", False, _border),
    *(View(name, "a square of 19 % of the side", False, _corner(name)) for name in CORNERS),
    View("file", "size, aspect, format, mode, JPEG quality", False, _file),
    # How well a film can be packed depends on all that is on it, the lungs included.
    View("bytes", "bytes a pixel", True, _bytes),
    View("thumbnail", "16×16 pixels of the whole film", True, _thumbnail),
    View("histogram", "how many pixels are how bright", True, _histogram),
)
"""Views that need nothing but the films, those without lungs first."""


def lung_views(masks: NDArray[np.bool_]) -> tuple[View, ...]:
    """Give the views that need to know where the lungs are, for films of the masks (N, 128, 128)."""

    def without(films: Films) -> Features:
        return _shrunk(filled(films.pixels, masks, "mean"), 16).reshape(len(films), -1)

    def outline(films: Films) -> Features:
        return _shrunk(masks.astype(np.uint8) * 255, 16).reshape(len(films), -1)

    return (
        View(
            "lungs filled", "16×16 pixels of the film, its lungs filled with a mean", False, without
        ),
        # A disease can change where lungs seem to end, so their outline may tell it.
        View("lungs' outline", "16×16 pixels of the lungs' mask alone", True, outline),
    )


def table_views(table: pd.DataFrame) -> tuple[View, ...]:
    """Give views of a collection's own columns: ``source``, ``view``, ``age``, ``sex``, where known."""
    found = []
    for column in ("source", "view", "sex", "age"):
        if column in table and table[column].notna().any():
            found.append(View(column, f"the column {column} alone", False, _column(column)))
    return tuple(found)


def _column(column: str) -> Callable[[Films], Features]:
    def features(films: Films) -> Features:
        values = films.table[column]
        if column == "age":
            # In steps of a few years, since no line runs from children through adults to the old.
            values = pd.cut(
                values.astype(float), [-1, 1, 3, 5, 10, 18, 30, 40, 50, 60, 70, 80, 200]
            )
        return pd.get_dummies(values.astype("string").fillna("not known")).to_numpy(np.float64)

    return features
