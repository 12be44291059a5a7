"""Negatives: films whose white and black are exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.thumbnail import SIDE, rank_thumbnail
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


_SIGMAS = (1.0, 2.0, 4.0, 8.0)


def odd_statistics(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe a film by statistics that change their sign, and only that, when it is inverted.

    The ranks of its 16×16 thumbnail, averaged with their mirror image (mirrored films are films
    too); the skewness of four bands of detail, since ribs, vessels and letters are bright lines on
    dark ground; and how far the mean, the median and the extremes lean towards white.

    Parameters
    ----------
    film
        (H, W) uint8.

    Returns
    -------
    (135,) float64
        128 ranks (the left half of the symmetric thumbnail), then 4 and 3 of the others.
    """
    ranks = rank_thumbnail(film).reshape(SIDE, SIDE)
    half = (ranks + ranks[:, ::-1])[:, : SIDE // 2].ravel() / 2
    shrunk = cv2.resize(film, (112, 112), interpolation=cv2.INTER_AREA)
    small = finer = np.asarray(shrunk, dtype=np.float32)
    skews = []
    for sigma in _SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), dtype=np.float32)
        # Cut, so that a single letter or patch does not decide.
        band = (finer - coarser)[4:-4, 4:-4]
        spread = max(float(band.std()), 0.5)
        cut = np.clip(band / spread, -4, 4)
        skews.append(float((cut * cut * cut).mean()))
        finer = coarser
    low, median, high = (float(v) for v in np.percentile(small, [2, 50, 98]))
    reach = max(high - low, 8.0)
    lean = [
        (float(small.mean()) - (high + low) / 2) / reach,
        (median - (high + low) / 2) / reach,
        (high + low) / 255 - 1,
    ]
    return np.array([*half, *skews, *lean], dtype=np.float64)


@dataclass(frozen=True)
class OddRegression:
    """The robust test: a regression without intercept on statistics that inversion turns round.

    So a film and its negative get opposite values, and no threshold has to be chosen but the
    middle; one above it leaves doubtful films as they are.

    Attributes
    ----------
    weights
        (135,) of `odd_statistics`; positive where a negative is bright.
    threshold
        Of the weighted sum.
    """

    weights: tuple[float, ...]
    threshold: float

    defect: ClassVar[str] = "negative"
    repair_name: ClassVar[str] = "invert"

    def value(self, film: NDArray[np.uint8]) -> float:
        """Weigh the statistics; positive for negatives."""
        return float(np.asarray(self.weights) @ odd_statistics(film))

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a negative by where it is bright."""
        return Finding.beyond(self.value(film), self.threshold)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Invert the film."""
        return invert(film)
