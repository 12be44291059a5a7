"""Not a chest: films that show something else than a frontal chest radiograph."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.regression import Regression
from cxrlens.quality.texture import band_statistics
from cxrlens.quality.thumbnail import SIDE, rank_thumbnail

LOOKED = 112
"""Side at which the fall of detail is looked at; finer detail depends on noise and blur."""


@dataclass(frozen=True)
class ChestTemplate:
    """How far a film's thumbnail is from what frontal chests look like.

    Statistics: the thumbnail's correlation with the mean chest (the best of small shifts), its
    correlation with its own mirror image, the share of it that the chest's main forms (principal
    components) do not explain, how much of the film is at its darkest, brightest and middle levels,
    and how the detail falls off from scale to scale.

    Attributes
    ----------
    mean
        (256,) thumbnail of the mean chest.
    components
        (k, 256) main forms by which chests differ from it, orthonormal.
    regression
        On the statistics.
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    regression: Regression

    defect: ClassVar[str] = "not_a_chest"
    repair_name: ClassVar[str] = ""

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a film that is no frontal chest radiograph."""
        return self.regression.finding(self.statistics(film))

    def statistics(self, film: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Describe a (side, side) uint8 film that is no negative."""
        return chest_statistics(film, *self._arrays)

    @functools.cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.mean), np.array(self.components)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave it: there is nothing to mend."""
        return film


def chest_statistics(
    film: NDArray[np.uint8], mean: NDArray[np.float64], components: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Describe how far a film is from the chests of a template; see `ChestTemplate`.

    Returns
    -------
    (38,) float64
    """
    picture = rank_thumbnail(film).reshape(SIDE, SIDE)
    template = mean.reshape(SIDE, SIDE)
    likeness = max(
        _correlation(picture[2:-2, 2:-2], template[2 + y : SIDE - 2 + y, 2 + x : SIDE - 2 + x])
        for y in (-2, 0, 2)
        for x in (-2, 0, 2)
    )
    symmetry = _correlation(picture, picture[:, ::-1])
    difference = picture.ravel() - mean
    unexplained = difference - components.T @ (components @ difference)
    power = float((picture**2).sum()) + 1e-9
    smooth = [
        _correlation(picture[:, 1:], picture[:, :-1]),
        _correlation(picture[1:], picture[:-1]),
    ]
    upto = np.cumsum(np.bincount(film.ravel(), minlength=256)) / film.size
    dark, median, bright = np.searchsorted(upto, [0.05, 0.5, 0.95]) / 255
    extremes = [float(upto[3]), float(1 - upto[251])]
    half = cv2.resize(film, (LOOKED, LOOKED), interpolation=cv2.INTER_AREA)
    bands = band_statistics(np.asarray(half, dtype=np.uint8)).reshape(5, 4)
    unevenness = bands[[0, 4], 3] - bands[[0, 4], 0]
    fall = np.array([*np.diff(bands[:, 1]), bands[4, 1], *unevenness])
    unlike = [float((d**2).sum()) / power for d in (unexplained, difference)]
    form = np.array([likeness, symmetry, *unlike, *smooth, power / picture.size])
    tone = np.array([dark, median, bright, *extremes])
    # Too little of most of these is as strange as too much, so their squares count too.
    return np.concatenate([form, form**2, tone, tone**2, fall, np.square(fall)])


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    a, b = one - one.mean(), other - other.mean()
    length = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / length if length > 1e-9 else 0.0
