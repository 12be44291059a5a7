"""Underexposure: films that are too dark as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.regression import Regression
from cxrlens.radiographs.filters import clahe


@dataclass(frozen=True)
class DarkMean:
    """The report's test: the mean pixel is below 71; its repair: CLAHE.

    Attributes
    ----------
    mean
        Grey value below which a film's mean is underexposed.
    scale
        Step of the score, in grey values.
    clip, tiles
        Clip limit and number of tiles along a side of the CLAHE that repairs.
    """

    mean: float
    scale: float
    clip: float
    tiles: int

    defect: ClassVar[str] = "underexposed"
    repair_name: ClassVar[str] = "equalise"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a dark film by its mean."""
        return Finding.beyond(-float(film.mean()), -self.mean, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Equalise the film's contrast by tiles."""
        return clahe(film, self.clip, (self.tiles, self.tiles))


def tone_statistics(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe how bright a film is.

    Its black surroundings tell nothing, so pixels of at most 3 grey levels are left out, unless
    they are all there is.

    Returns
    -------
    (7,) float64
        Mean of all pixels; mean and percentiles 5, 25, 50, 75, 98 of those that are left; all / 255.
    """
    counts = np.bincount(film.ravel(), minlength=256)
    levels = np.arange(256)
    mean = float(counts @ levels) / film.size
    inner = counts.copy()
    inner[:4] = 0
    if not inner.any():
        inner = counts
    upto = np.cumsum(inner)
    percentiles = [int(np.searchsorted(upto, q * upto[-1])) for q in (0.05, 0.25, 0.5, 0.75, 0.98)]
    inner_mean = float(inner @ levels) / float(upto[-1])
    return np.array([mean, inner_mean, *percentiles], dtype=np.float64) / 255


@dataclass(frozen=True)
class DarkTone:
    """The robust test: a regression on how the grey levels are spread; its repair: a stretch.

    Attributes
    ----------
    regression
        On `tone_statistics`.
    white, mean
        Grey values that the stretch brings the brightest half per cent and the mean to.
    least_power
        The stretch raises levels in [0, 1] to a power between this and 1.
    """

    regression: Regression
    white: float
    mean: float
    least_power: float

    defect: ClassVar[str] = "underexposed"
    repair_name: ClassVar[str] = "stretch"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a dark film by its tone."""
        return self.regression.finding(tone_statistics(film))

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stretch the levels to the whole range, then brighten by a power (gamma)."""
        low, high = np.percentile(film, [0.5, 99.5])
        low = min(float(low), 10.0)
        levels = (np.arange(256) - low) / max(float(high) - low, 1.0) * self.white / 255
        levels = np.clip(levels, 0, 1)
        mean = float(levels[film].mean())
        power = np.log(self.mean / 255) / np.log(np.clip(mean, 0.01, 0.99))
        tone = np.rint(255 * levels ** np.clip(power, self.least_power, 1.0)).astype(np.uint8)
        return np.asarray(tone[film], dtype=np.uint8)
