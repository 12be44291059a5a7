"""Fine detail of a film, scale by scale: noise adds to it, blur takes it away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.step import Finding, Regressed, Step
from cxrlens.radiographs.grey import (
    Film,
    Floats,
    box,
    clahe,
    gaussian,
    laplacian,
    log_response,
    median,
)

BLOCK = 32
"""Side of the blocks of `sample_blocks`, in pixels of the film as decoded."""

_SCALES = 3
_FLOOR = 0.1  # a tenth of a grey level: below it a logarithm would measure rounding


def sample_blocks(film: Film, along: int = 6) -> Film:
    """Cut out evenly spread blocks, so that a large film costs no more than a small one.

    Parameters
    ----------
    film
        (H, W) uint8; where it is smaller than a block its edges are mirrored.
    along
        Blocks along each side at most; small films have fewer.

    Returns
    -------
    (n, 32, 32) uint8
    """
    height, width = film.shape
    if height < BLOCK or width < BLOCK:
        low, right = max(0, BLOCK - height), max(0, BLOCK - width)
        film = np.pad(film, ((0, low), (0, right)), mode="symmetric")
        height, width = film.shape
    tops = np.linspace(0, height - BLOCK, min(along, height // BLOCK)).astype(int)
    lefts = np.linspace(0, width - BLOCK, min(along, width // BLOCK)).astype(int)
    return np.stack([film[y : y + BLOCK, x : x + BLOCK] for y in tops for x in lefts])


def lively(blocks: Film) -> Film:
    """Leave out blocks that are mostly black, white or of one grey: they tell nothing of the film.

    If fewer than eight remain, all blocks are returned.
    """
    flat = blocks.reshape(len(blocks), -1)
    extreme = ((flat <= 2) | (flat >= 253)).mean(axis=1)
    kept = blocks[(extreme < 0.5) & (flat.max(axis=1) > flat.min(axis=1))]
    return kept if len(kept) >= 8 else blocks


def grain_statistics(film: Film) -> Floats:
    """Describe the finest detail of a film at the size at which it was decoded.

    On sampled, lively blocks: three scales of the orthonormal Haar transform, under which white
    noise is equally strong at each; of the diagonal and of the other coefficients the root mean
    square (percentiles 10, 25, 50 over blocks) and the median absolute value (25, 50), as
    logarithms. Then how many pixels stand out of their 3×3 median by 16 and by 40 grey levels
    (median and percentile 20 over blocks, as logarithms), and the film's size.

    Parameters
    ----------
    film
        (H, W) uint8 as decoded.

    Returns
    -------
    (35,) float64
    """
    blocks = lively(sample_blocks(film))
    count = len(blocks)
    smooth: NDArray[np.floating] = blocks.astype(np.float32)
    strength, typical = [], []
    for _ in range(_SCALES):
        a, b = smooth[:, 0::2, 0::2], smooth[:, 0::2, 1::2]
        c, d = smooth[:, 1::2, 0::2], smooth[:, 1::2, 1::2]
        across, along = (a - b + c - d) / 2, (a + b - c - d) / 2
        diagonal = ((a - b - c + d) / 2).reshape(count, -1)
        smooth = (a + b + c + d) / 2
        upright = np.concatenate([across.reshape(count, -1), along.reshape(count, -1)], axis=1)
        for detail in (diagonal, upright):
            strength.append(np.sqrt((detail * detail).mean(axis=1)))
            typical.append(np.median(np.abs(detail), axis=1) / 0.6745)
    # One call for all scales: NumPy's percentiles cost more by the call than by the number.
    of_strength = np.percentile(np.array(strength), [10, 25, 50], axis=1)
    of_typical = np.percentile(np.array(typical), [25, 50], axis=1)
    scales = np.log(_FLOOR + np.concatenate([of_strength, of_typical])).T.ravel()
    tall = blocks.reshape(-1, BLOCK)
    outstanding = cv2.absdiff(tall, cv2.medianBlur(tall, 3)).reshape(blocks.shape)[:, 1:-1, 1:-1]
    shares = [(outstanding > levels).reshape(count, -1).mean(axis=1) for levels in (16, 40)]
    impulses = np.log(1e-3 + np.percentile(shares, [50, 20], axis=1)).T.ravel()
    return np.array([*scales, *impulses, np.log(np.sqrt(film.size) / 224)], np.float64)


_BAND_SIGMAS = (0.6, 1.0, 1.7, 2.9, 5.0)


def band_statistics(film: Film) -> Floats:
    """Describe how the detail of a film falls off from coarse to fine.

    Five high-passes: the film minus itself smoothed with sigma 0.6, 1, 1.7, 2.9 and 5 pixels. Of
    each the root mean square in blocks of 16 pixels; percentiles 25, 50, 75 and 90 over the
    blocks, as logarithms.

    Parameters
    ----------
    film
        (H, W) uint8, of the side at which the statistics are compared.

    Returns
    -------
    (20,) float64
    """
    levels = film.astype(np.float32)
    blocks = (max(1, film.shape[1] // 16), max(1, film.shape[0] // 16))
    energies = []
    for sigma in _BAND_SIGMAS:
        side = 2 * int(np.ceil(3 * sigma)) + 1
        band = cv2.subtract(levels, cv2.GaussianBlur(levels, (side, side), sigma))
        energies.append(
            cv2.resize(cv2.multiply(band, band), blocks, interpolation=cv2.INTER_AREA).ravel()
        )
    rms = np.percentile(np.sqrt(np.array(energies)), [25, 50, 75, 90], axis=1)
    return np.asarray(np.log(_FLOOR + rms).T.ravel(), np.float64)


def response_picture(film: Film, sigma: float, gain: float) -> Film:
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
    return np.asarray(cv2.convertScaleAbs(log_response(film, sigma), alpha=gain), np.uint8)


@dataclass(frozen=True)
class Response(Step):
    """A test of the study on the Laplacian of Gaussian, drawn as a picture and strengthened by CLAHE.

    Attributes
    ----------
    sigma, gain
        Of the response picture.
    clip, tiles
        Clip limit and number of tiles along a side of the CLAHE that strengthens the response.
    variance
        Of what the test makes of the strengthened response: where it separates good films from bad.
    scale
        Step of the score, in units of the variance.
    """

    sigma: float
    gain: float
    clip: float
    tiles: int
    variance: float
    scale: float

    def strengthened(self, film: Film) -> Film:
        """Equalise the response picture of a (H, W) uint8 film."""
        picture = response_picture(film, self.sigma, self.gain)
        return clahe(picture, self.clip, (self.tiles, self.tiles))


@dataclass(frozen=True)
class ResponseVariance(Response, defect="noisy", repair_name="smooth"):
    """The report's test: LoG with a large sigma, CLAHE with an extreme clip, high variance.

    Attributes
    ----------
    median, box
        Sides of the median filter and of the uniform filter that repair, in pixels; odd.
    """

    median: int
    box: int

    def statistic(self, film: Film) -> float:
        """Variance of the strengthened response."""
        return float(self.strengthened(film).var())

    def detect(self, film: Film) -> Finding:
        """Find noise by the variance of the strengthened response."""
        return Finding.beyond(self.statistic(film), self.variance, self.scale)

    def repair(self, film: Film) -> Film:
        """Median filter, then uniform filter."""
        return box(median(film, self.median), self.box)


def grain(film: Film) -> float:
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
class GrainRegression(Regressed, defect="noisy", repair_name="denoise"):
    """The robust test: a regression on the finest detail at the size at which the film was decoded.

    Its repair takes out impulses at that size, before the resize smears them, and smooths grain
    after it, when the resize has averaged most of it away.

    Attributes
    ----------
    impulse, impulse_grains
        A pixel that stands out of its 3×3 median by more than this many grey levels, and by more
        than this many times the grain, is replaced by that median.
    strength
        Filter strength of the non-local means in multiples of the grain that is left.
    least_grain
        Grain in grey levels up to which nothing is smoothed.
    """

    impulse: float
    impulse_grains: float
    strength: float
    least_grain: float

    statistics = staticmethod(grain_statistics)

    def repair(self, film: Film) -> Film:
        """Replace impulses by the median round them; leave every other pixel."""
        smooth = median(film, 3)
        least = max(self.impulse, self.impulse_grains * grain(film))
        return np.where(cv2.absdiff(film, smooth) > least, smooth, film)

    def finish(self, film: Film) -> Film:
        """Smooth the grain that the resize has left, by non-local means (Buades et al. 2005)."""
        left = grain(film)
        if left <= self.least_grain:
            return film
        return np.asarray(
            cv2.fastNlMeansDenoising(film, None, self.strength * left, 5, 13), dtype=np.uint8
        )


@dataclass(frozen=True)
class QuietResponse(Response, defect="blurred", repair_name="sharpen"):
    """The report's test: LoG, mild CLAHE, binarised at 2; a low variance, 255**2 / 4 at most, means blur.

    Attributes
    ----------
    level
        Grey value above which the strengthened response becomes 255, else 0 (the report's 2).
    strength
        Share of the Laplacian that is subtracted to sharpen.
    """

    level: int
    strength: float

    def statistic(self, film: Film) -> float:
        """Variance of the binary picture of the strengthened response."""
        share = float((self.strengthened(film) > self.level).mean())
        return 255.0**2 * share * (1.0 - share)

    def detect(self, film: Film) -> Finding:
        """Find blur by the quiet of the strengthened response."""
        return Finding.beyond(-self.statistic(film), -self.variance, self.scale)

    def repair(self, film: Film) -> Film:
        """Subtract the Laplacian."""
        sharp = film - self.strength * laplacian(film)
        return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class BandRegression(Regressed, defect="blurred", repair_name="sharpen"):
    """The robust test: a regression on how the detail falls off from coarse to fine.

    Attributes
    ----------
    sigma, amount
        The repair adds this share of the film's difference from itself smoothed with this sigma, in
        pixels (unsharp masking).
    """

    sigma: float
    amount: float

    statistics = staticmethod(band_statistics)

    def repair(self, film: Film) -> Film:
        """Sharpen mildly: a strong mask would raise what is no detail."""
        sharp = film + self.amount * (film - gaussian(film, self.sigma))
        return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)
