"""Negatives: films whose white and black are exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.thumbnail import rank_thumbnail
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

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a negative by its bright corners."""
        return Finding.beyond(bright_corner_share(film, self.corner), self.share, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Invert the film."""
        return invert(film)


@dataclass(frozen=True)
class RankTemplate:
    """The robust test: the ranks of a 16×16 thumbnail against a template of bright and dark places.

    Inversion turns every rank round, and no gamma, gain or window changes one, so the sum of
    ranks times template is positive for negatives and its mirror value for their originals.

    Attributes
    ----------
    template
        (256,) weights, row by row; positive where a negative is bright. Symmetric left to right,
        since mirrored films are films too.
    threshold
        Of the sum.
    """

    template: tuple[float, ...]
    threshold: float

    defect: ClassVar[str] = "negative"
    repair_name: ClassVar[str] = "invert"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a negative by where it is bright."""
        value = float(np.asarray(self.template) @ rank_thumbnail(film))
        return Finding.beyond(value, self.threshold)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Invert the film."""
        return invert(film)
