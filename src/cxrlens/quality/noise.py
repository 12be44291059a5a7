"""Noise: salt and pepper, uniform and Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding
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
    native: ClassVar[bool] = False

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
