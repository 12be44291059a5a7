"""Blur: films without fine detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.noise import response_picture
from cxrlens.quality.regression import Regression
from cxrlens.quality.texture import band_statistics
from cxrlens.radiographs.filters import clahe, gaussian, laplacian


@dataclass(frozen=True)
class QuietResponse:
    """The report's test: LoG, mild CLAHE, binarised at 2; a low variance means blur.

    Attributes
    ----------
    sigma, gain
        Of the response picture.
    clip, tiles
        Clip limit and number of tiles along a side of the CLAHE that strengthens the response.
    level
        Grey value above which the strengthened response becomes 255, else 0 (the report's 2).
    variance
        Below this variance of the binary picture the film is blurred; 255**2 / 4 at most.
    scale
        Step of the score, in units of the variance.
    strength
        Share of the Laplacian that is subtracted to sharpen.
    """

    sigma: float
    gain: float
    clip: float
    tiles: int
    level: int
    variance: float
    scale: float
    strength: float

    defect: ClassVar[str] = "blurred"
    repair_name: ClassVar[str] = "sharpen"

    def statistic(self, film: NDArray[np.uint8]) -> float:
        """Variance of the binary picture of the strengthened response."""
        picture = response_picture(film, self.sigma, self.gain)
        picture = clahe(picture, self.clip, (self.tiles, self.tiles))
        share = float((picture > self.level).mean())
        return 255.0**2 * share * (1.0 - share)

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find blur by the quiet of the strengthened response."""
        return Finding.beyond(-self.statistic(film), -self.variance, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Subtract the Laplacian."""
        sharp = film - self.strength * laplacian(film)
        return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class BandRegression:
    """The robust test: a regression on how the detail falls off from coarse to fine.

    Attributes
    ----------
    regression
        On `cxrlens.quality.texture.band_statistics`.
    sigma, amount
        The repair adds this share of the film's difference from itself smoothed with this sigma, in
        pixels (unsharp masking).
    """

    regression: Regression
    sigma: float
    amount: float

    defect: ClassVar[str] = "blurred"
    repair_name: ClassVar[str] = "sharpen"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find blur by the lack of fine detail beside coarser detail."""
        return self.regression.finding(band_statistics(film))

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Sharpen mildly: a strong mask would raise what is no detail."""
        sharp = film + self.amount * (film - gaussian(film, self.sigma))
        return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)
