"""One copy of an exposure, measured so that it can be held against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.blur import BandRegression
from cxrlens.quality.borders import EvenBorders
from cxrlens.quality.chain import Chain
from cxrlens.quality.exposure import DarkTone, tone_statistics
from cxrlens.quality.negative import OddRegression, invert
from cxrlens.quality.noise import GrainRegression
from cxrlens.quality.texture import band_statistics, grain_statistics
from cxrlens.radiographs.resize import resize

Film = NDArray[np.uint8]

_Sides = tuple[int, int, int, int]

_EVEN = 4  # grey levels within which a line is of one grey

SIDE = 224
"""Copies are compared at one size."""


@dataclass
class Copy:
    """What was measured on one copy.

    Attributes
    ----------
    square, whole
        (224, 224) uint8, positive; with the borders cropped, and as it came.
    negative
        Whether it came as a negative.
    noise, blur, dark
        Logits of the robust chain's detectors, 0 at their thresholds.
    noise_shrunk
        The noise detector's logit on the square: noise of an enlarged copy is fine only there.
    entropy
        Bits of the grey levels of the smoothed square; no change of tone raises it much.
    padded
        Share of the film that borders take, in [0, 1).
    blocky
        How much more neighbours differ across the edges of JPEG's blocks, as a logarithm, >= 0.
    pixels
        Of the film as decoded, borders cropped.
    """

    square: Film
    whole: Film
    negative: bool
    noise: float
    noise_shrunk: float
    blur: float
    dark: float
    entropy: float
    padded: float
    blocky: float
    pixels: int


def measure_copies(films: Sequence[Film]) -> list[Copy]:
    """Measure copies of one exposure; their polarity is decided together.

    Parameters
    ----------
    films
        (H, W) uint8 as decoded.
    """
    return _Detectors.robust().measure(films)


@dataclass(frozen=True)
class _Detectors:
    """The robust chain's detectors, for their values instead of their verdicts."""

    noisy: GrainRegression
    padded: EvenBorders
    negative: OddRegression
    underexposed: DarkTone
    blurred: BandRegression

    @staticmethod
    @cache
    def robust() -> _Detectors:
        steps = {step.defect: step for step in Chain.named("robust", SIDE).steps}
        names = _Detectors.__dataclass_fields__
        return _Detectors(**{name: steps[name] for name in names})  # type: ignore[arg-type]

    def measure(self, films: Sequence[Film]) -> list[Copy]:
        inner = []
        for film in films:
            top, bottom, left, right = _outer(self.padded.borders(film), _bare_lines(film))
            inner.append(film[top : film.shape[0] - bottom, left : film.shape[1] - right])
        squares = [resize(film, SIDE) for film in inner]
        negatives = self.negatives(squares)
        copies = []
        for film, crop, square, negative in zip(films, inner, squares, negatives, strict=True):
            whole = resize(film, SIDE)
            if negative:
                square, whole = invert(square), invert(whole)
            copies.append(
                Copy(
                    square=square,
                    whole=whole,
                    negative=negative,
                    noise=_beyond(self.noisy, grain_statistics(film)),
                    noise_shrunk=_beyond(self.noisy, grain_statistics(square)),
                    blur=_beyond(self.blurred, band_statistics(square)),
                    dark=_beyond(self.underexposed, tone_statistics(square)),
                    entropy=_entropy(square),
                    padded=1 - crop.size / film.size,
                    blocky=_blockiness(film),
                    pixels=crop.size,
                )
            )
        return copies

    def negatives(self, squares: list[Film]) -> list[bool]:
        """Decide on all at once: those like the first vote with it, their opposites against it."""
        first = thumbnail(squares[0])
        alike = [float(np.corrcoef(first, thumbnail(s))[0, 1]) >= 0 for s in squares]
        votes = [
            self.negative.value(square) * (1 if same else -1)
            for square, same in zip(squares, alike, strict=True)
        ]
        return [(sum(votes) > 0) == same for same in alike]


def _beyond(
    step: GrainRegression | BandRegression | DarkTone, statistics: NDArray[np.float64]
) -> float:
    return step.regression.logit(statistics) - step.regression.threshold


def _bare_lines(film: Film) -> tuple[int, int, int, int]:
    """Count lines of one grey from each side: padding beside black air, which ends in no step."""
    depths = []
    for lines in (film, film[::-1], film.T, film.T[::-1]):
        even = (lines.max(axis=1) - lines.min(axis=1) <= _EVEN) & (
            np.abs(lines[:, 0].astype(int) - int(lines[0, 0])) <= _EVEN
        )
        depths.append(0 if even.all() else int(np.argmin(even)))
    return depths[0], depths[1], depths[2], depths[3]


def _outer(one: _Sides, other: _Sides) -> _Sides:
    top, bottom, left, right = (max(pair) for pair in zip(one, other, strict=True))
    return top, bottom, left, right


def thumbnail(film: Film) -> NDArray[np.float64]:
    """Shrink a film to 56×56 and lay it out in a row, (3136,), for correlations."""
    small = cv2.resize(film, (56, 56), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
    small[0] += 1e-3  # an even film has no correlation, but needs a number
    return small


def aligned(one: Copy, other: Copy) -> tuple[Film, Film]:
    """Give the two squares that fit best, cropped or whole.

    A border of the film's own may be seen on one copy only; then cropping would shift it.
    """
    pairs = [(one.square, other.square)]
    if one.padded or other.padded:
        pairs += [(one.whole, other.whole), (one.square, other.whole), (one.whole, other.square)]
    fits = [float(np.corrcoef(thumbnail(a), thumbnail(b))[0, 1]) for a, b in pairs]
    return pairs[int(np.argmax(fits))]


def _entropy(square: Film) -> float:
    # Smoothed, because noise adds levels and because any filter fills the gaps of a stretched tone.
    smooth = np.asarray(cv2.GaussianBlur(square, (0, 0), 1.5), np.uint8)
    shares = np.bincount(smooth.ravel(), minlength=256) / smooth.size
    shares = shares[shares > 0]
    return float(-(shares @ np.log2(shares)))


def _blockiness(film: Film) -> float:
    ratios = []
    for picture in (film, film.T):
        steps = np.abs(np.diff(picture[:, : picture.shape[1] // 8 * 8].astype(np.int16), axis=1))
        by_column = np.minimum(steps, 24).mean(axis=0)
        at_edges = by_column[7::8].mean() if len(by_column) > 8 else 0.0
        within = np.delete(by_column, np.s_[7::8]).mean() if len(by_column) else 0.0
        ratios.append(float(np.log((at_edges + 0.5) / (within + 0.5))))
    return max(0.0, float(np.mean(ratios)))
