"""Underexposure: films that are too dark as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
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
    native: ClassVar[bool] = False

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a dark film by its mean."""
        return Finding.beyond(-float(film.mean()), -self.mean, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Equalise the film's contrast by tiles."""
        return clahe(film, self.clip, (self.tiles, self.tiles))
