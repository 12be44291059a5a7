"""Noise: salt and pepper, uniform and Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
from cxrlens.quality.regression import Regression
from cxrlens.quality.texture import grain_statistics
from cxrlens.radiographs.filters import box, clahe, log_response, median


def response_picture(film: NDArray[np.uint8], sigma: float, gain: float) -> NDArray[np.uint8]:
    """Draw the strength of the Laplacian of Gaussian as a picture: ``gain * |LoG|``, cut at 255.

    Parameters
    ----------
    film
        (H, W) uint8.
    sigma
        Of the Gaussian, in pixels.
    gain
        Grey values a unit of response: at large sigmas the response is a few units strong only.

    Returns
    -------
    (H, W) uint8
    """
    return np.asarray(cv2.convertScaleAbs(log_response(film, sigma), alpha=gain), dtype=np.uint8)


@dataclass(frozen=True)
class ResponseVariance:
    """The report's test: LoG with a large sigma, CLAHE with an extreme clip, high variance.

    Attributes
    ----------
    sigma, gain
        Of the response picture.
    clip, tiles
        Clip limit and number of tiles along a side of the CLAHE that strengthens the response.
    variance
        Beyond this variance of the strengthened response the film is noisy.
    scale
        Step of the score, in units of the variance.
    median, box
        Sides of the median filter and of the uniform filter that repair, in pixels; odd.
    """

    sigma: float
    gain: float
    clip: float
    tiles: int
    variance: float
    scale: float
    median: int
    box: int

    defect: ClassVar[str] = "noisy"
    repair_name: ClassVar[str] = "smooth"

    def statistic(self, film: NDArray[np.uint8]) -> float:
        """Variance of the strengthened response."""
        picture = response_picture(film, self.sigma, self.gain)
        return float(clahe(picture, self.clip, (self.tiles, self.tiles)).var())

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find noise by the variance of the strengthened response."""
        return Finding.beyond(self.statistic(film), self.variance, self.scale)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Median filter, then uniform filter."""
        return box(median(film, self.median), self.box)


def grain(film: NDArray[np.uint8]) -> float:
    """Estimate the standard deviation of white noise, in grey levels.

    From the median absolute value of the diagonal Haar coefficients (Donoho and Johnstone 1994),
    which neither edges nor a few impulses change much.
    """
    height, width = film.shape[0] // 2 * 2, film.shape[1] // 2 * 2
    if not height or not width:
        return 0.0
    levels = film[:height, :width].astype(np.float32)
    rows = levels[0::2] - levels[1::2]
    diagonal = (rows[:, 0::2] - rows[:, 1::2]) / 2
    return float(np.median(np.abs(diagonal))) / 0.6745


@dataclass(frozen=True)
class GrainRegression:
    """The robust test: a regression on the finest detail at the size at which the film was decoded.

    Its repair takes out impulses at that size, before the resize smears them, and smooths grain
    after it, when the resize has averaged most of it away.

    Attributes
    ----------
    regression
        On `cxrlens.quality.texture.grain_statistics`.
    impulse, impulse_grains
        A pixel that stands out of its 3×3 median by more than this many grey levels, and by more
        than this many times the grain, is replaced by that median.
    strength
        Filter strength of the non-local means in multiples of the grain that is left.
    least_grain
        Grain in grey levels up to which nothing is smoothed.
    """

    regression: Regression
    impulse: float
    impulse_grains: float
    strength: float
    least_grain: float

    defect: ClassVar[str] = "noisy"
    repair_name: ClassVar[str] = "denoise"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find noise in sampled blocks of the film."""
        return self.regression.finding(grain_statistics(film))

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Replace impulses by the median round them; leave every other pixel."""
        smooth = median(film, 3)
        least = max(self.impulse, self.impulse_grains * grain(film))
        return np.where(cv2.absdiff(film, smooth) > least, smooth, film)

    def finish(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Smooth the grain that the resize has left, by non-local means (Buades et al. 2005)."""
        left = grain(film)
        if left <= self.least_grain:
            return film
        return np.asarray(
            cv2.fastNlMeansDenoising(film, None, self.strength * left, 5, 13), dtype=np.uint8
        )
