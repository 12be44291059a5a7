"""Negatives: films whose white and black are exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.radiographs.filters import otsu_threshold


def invert(film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Exchange black and white of a uint8 film; twice gives the same film."""
    return np.bitwise_not(film)


def bright_corner_share(film: NDArray[np.uint8], corner: float) -> float:
    """Tell how much of the four corners is bright after Otsu's binarisation.

    Parameters
    ----------
    film
        (H, W) uint8.
    corner
        Side of each corner region as a share of the film's, in (0, 0.5].

    Returns
    -------
    float
        Share of ones in the four regions together, in [0, 1].
    """
    height, width = film.shape
    rows, columns = max(1, round(corner * height)), max(1, round(corner * width))
    bright = film > otsu_threshold(film)
    return float(
        np.mean(
            [
                bright[:rows, :columns],
                bright[:rows, -columns:],
                bright[-rows:, :columns],
                bright[-rows:, -columns:],
            ]
        )
    )


@dataclass(frozen=True)
class CornerNegative:
    """The report's test: the four corners of a binarised film are mostly bright.

    Attributes
    ----------
    corner
        Side of a corner region as a share of the film's side.
    share
        Beyond this share of bright corner pixels the film is a negative (the majority: 0.5).
    scale
        Step of the score, in shares.
    """

    corner: float
    share: float
    scale: float

    defect: ClassVar[str] = "negative"
    repair_name: ClassVar[str] = "invert"
    native: ClassVar[bool] = False

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a negative by its bright corners."""
        return Finding.beyond(bright_corner_share(film, self.corner), self.share, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Invert the film."""
        return invert(film)
