"""Exposure: negatives, whose white and black are exchanged, and films that are too dark as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cxrlens.quality.gate import SIDE, rank_thumbnail
from cxrlens.quality.step import Finding, Regressed, Step
from cxrlens.radiographs.grey import Film, Floats, clahe, otsu_threshold


def invert(film: Film) -> Film:
    """Exchange black and white of a uint8 film; twice gives the same film."""
    return np.bitwise_not(film)


def bright_corner_share(film: Film, corner: float) -> float:
    """Return how much of the four corners is bright after Otsu's binarisation.

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
    corners = (film > otsu_threshold(film))[np.r_[:rows, height - rows : height]]
    return float(corners[:, np.r_[:columns, width - columns : width]].mean())


INVERT = "invert"
"""The repair of a negative, in the column ``repairs``."""


class _Inverts(Step, defect="negative", repair_name=INVERT):
    """A step whose defect is a negative."""

    def repair(self, film: Film) -> Film:
        """Invert the film."""
        return invert(film)


@dataclass(frozen=True)
class CornerNegative(_Inverts):
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

    def detect(self, film: Film) -> Finding:
        """Find a negative by its bright corners."""
        return Finding.beyond(bright_corner_share(film, self.corner), self.share, self.scale)


@dataclass(frozen=True)
class FlatWhite(Step, defect="saturated"):
    """Even white over much of a film: window or exposure cut grey levels off, and nothing brings them back.

    Attributes
    ----------
    white
        The level from which a pixel counts.
    margin
        Left out at each edge, as a share of the side: what is white there may be a border's rest.
    border
        A line that is white to this share or more is no part of the rest.
    share
        Beyond this share of the rest, white with all their neighbours, the film is saturated.
    scale
        Step of the score, in shares.
    """

    white: int
    margin: float
    border: float
    share: float
    scale: float

    def detect(self, film: Film) -> Finding:
        """Find a film of which much is white alone."""
        return Finding.beyond(self.flat_share(film), self.share, self.scale)

    def flat_share(self, film: Film) -> float:
        """Return how much of the film within its margins is white, and so is all round it."""
        rows, columns = (int(self.margin * side) for side in film.shape)
        inner = film[rows : film.shape[0] - rows, columns : film.shape[1] - columns]
        white = (inner >= self.white).astype(np.uint8)
        flat = np.asarray(cv2.erode(white, np.ones((3, 3), np.uint8)))
        # Lines that are white from end to end are what is left of a border.
        inside = np.ix_(white.mean(axis=1) < self.border, white.mean(axis=0) < self.border)
        return float(flat[inside].mean()) if flat[inside].size else float(flat.mean())


_SIGMAS = (1.0, 2.0, 4.0, 8.0)


def odd_statistics(film: Film) -> Floats:
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
    small = finer = np.asarray(shrunk, np.float32)
    skews = []
    for sigma in _SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), np.float32)
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
    return np.array([*half, *skews, *lean], np.float64)


@dataclass(frozen=True)
class OddRegression(_Inverts):
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

    def value(self, film: Film) -> float:
        """Weigh the statistics; positive for negatives."""
        return float(np.asarray(self.weights) @ odd_statistics(film))

    def detect(self, film: Film) -> Finding:
        """Find a negative by where it is bright."""
        return Finding.beyond(self.value(film), self.threshold)


@dataclass(frozen=True)
class DarkMean(Step, defect="underexposed", repair_name="equalise"):
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

    def detect(self, film: Film) -> Finding:
        """Find a dark film by its mean."""
        return Finding.beyond(-float(film.mean()), -self.mean, self.scale)

    def repair(self, film: Film) -> Film:
        """Equalise the film's contrast by tiles."""
        return clahe(film, self.clip, (self.tiles, self.tiles))


def tone_statistics(film: Film) -> Floats:
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
    return np.array([mean, inner_mean, *percentiles], np.float64) / 255


@dataclass(frozen=True)
class DarkTone(Regressed, defect="underexposed", repair_name="stretch"):
    """The robust test: a regression on how the grey levels are spread; its repair: a stretch.

    Attributes
    ----------
    white, mean
        Grey values that the stretch brings the brightest half per cent and the mean to.
    least_power
        The stretch raises levels in [0, 1] to a power between this and 1.
    """

    white: float
    mean: float
    least_power: float

    statistics = staticmethod(tone_statistics)

    def repair(self, film: Film) -> Film:
        """Stretch the levels to the whole range, then brighten by a power (gamma)."""
        low, high = np.percentile(film, [0.5, 99.5])
        low = min(float(low), 10.0)
        levels = (np.arange(256) - low) / max(float(high) - low, 1.0) * self.white / 255
        levels = np.clip(levels, 0, 1)
        mean = float(levels[film].mean())
        power = np.log(self.mean / 255) / np.log(np.clip(mean, 0.01, 0.99))
        tone = np.rint(255 * levels ** np.clip(power, self.least_power, 1.0)).astype(np.uint8)
        return np.asarray(tone[film], np.uint8)
