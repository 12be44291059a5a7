"""Copies of one exposure held against each other: what is wrong with each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.borders import EvenBorders
from cxrlens.quality.chain import Chain
from cxrlens.quality.detail import (
    BandRegression,
    GrainRegression,
    band_statistics,
    grain_statistics,
)
from cxrlens.quality.exposure import DarkTone, OddRegression, invert, tone_statistics
from cxrlens.radiographs.grey import resize

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


STATISTICS = (
    "noise",
    "noise_shrunk",
    "blur",
    "noise_found",
    "blur_found",
    "blocky",
    *(f"shared_{band}" for band in range(4)),
)
"""Names of `detail_statistics`: differences of the detectors' logits, whole and beyond their
thresholds, of JPEG's blocks, then ratios of power by band, from fine to coarse."""

_SIGMAS = (0.7, 1.4, 2.8, 5.6)
_FLOOR = 0.02  # grey levels squared: below it a power would measure rounding
_FOREIGN = 8.0  # grey levels by which a place must differ to count as covered
_EXTREME = 6  # grey levels from black or white
_UNSURE = 0.3  # of a patch's weight: less comes from tone and registration
_ELSEWHERE = 6.0  # logits from which noise or blur is so strong that it differs everywhere

_Levels = NDArray[np.float32]


@dataclass(frozen=True)
class Beside:
    """One copy beside another.

    Attributes
    ----------
    worse
        Logit of its being the noisy or blurred one; the other's is minus this.
    grainier
        Whether it has more grain, so that, if it is the worse, it is noisy, not blurred.
    covered
        How much it is covered by patches or spots that the other lacks, >= 0.
    """

    worse: float
    grainier: bool
    covered: float


def beside(one: Copy, other: Copy) -> Beside:
    """Hold the first copy against the second."""
    raw = aligned(one, other)
    a, b, agrees = _one_tone(*(film.astype(np.float32) for film in raw))
    worse = float(_statistics(one, other, a, b, agrees) @ _weights())
    grainier = one.noise_shrunk > other.noise_shrunk
    return Beside(worse, grainier, _covered(*raw, a, b) if abs(worse) < _ELSEWHERE else 0.0)


def detail_statistics(one: Copy, other: Copy) -> NDArray[np.float64]:
    """Measure what tells noise from sharpness; exchanging the copies changes the sign of all.

    Returns
    -------
    (10,) float64
        As named by `STATISTICS`.
    """
    raw = aligned(one, other)
    return _statistics(one, other, *_one_tone(*(film.astype(np.float32) for film in raw)))


def _statistics(
    one: Copy, other: Copy, a: _Levels, b: _Levels, agrees: NDArray[np.bool_]
) -> NDArray[np.float64]:
    shared = []
    for p, q in zip(_bands(a), _bands(b), strict=True):
        p, q = p[agrees], q[agrees]
        power, power_other = float((p * p).mean()) + _FLOOR, float((q * q).mean()) + _FLOOR
        common = max(float((p * q).mean()), 1e-3)
        ratio = float(np.log(power / power_other))
        lost = max(0.0, -float(np.log(common * common / (power * power_other))))
        shared.append(ratio - float(np.clip(ratio, -lost, lost)))
    differences = [
        float(np.clip(one.noise - other.noise, -15, 15)) / 5,
        float(np.clip(one.noise_shrunk - other.noise_shrunk, -15, 15)) / 5,
        float(np.clip(one.blur - other.blur, -15, 15)) / 5,
        float(np.clip(max(one.noise, 0) - max(other.noise, 0), -15, 15)) / 5,
        float(np.clip(max(one.blur, 0) - max(other.blur, 0), -15, 15)) / 5,
        float(np.clip(one.blocky - other.blocky, -0.5, 0.5)) * 2,
    ]
    return np.array([*differences, *shared], dtype=np.float64)


def _bands(film: _Levels) -> list[_Levels]:
    bands, finer = [], film
    for sigma in _SIGMAS:
        coarser = np.asarray(cv2.GaussianBlur(film, (0, 0), sigma), np.float32)
        bands.append(finer - coarser)
        finer = coarser
    return bands


@cache
def _weights() -> NDArray[np.float64]:
    text = files(__package__).joinpath("detail.json").read_text(encoding="utf-8")
    weights = json.loads(text)["weights"]
    return np.array([weights[name] for name in STATISTICS])


def _one_tone(one: _Levels, other: _Levels) -> tuple[_Levels, _Levels, NDArray[np.bool_]]:
    """Bring two films to one mean and contrast, measured where their coarse forms agree; say where."""
    coarse = [cv2.GaussianBlur(film, (0, 0), 2.5) for film in (one, other)]
    valid = np.ones(one.shape, bool)
    for _ in range(4):
        means = [float(film[valid].mean()) for film in coarse]
        spreads = [max(float(film[valid].std()), 1.0) for film in coarse]
        a, b = ((f - m) / s for f, m, s in zip(coarse, means, spreads, strict=True))
        differs = np.abs(a - b)
        agrees = differs <= max(4 * float(np.median(differs)), 0.08)
        if agrees.mean() < 0.3:
            break
        valid = agrees
    widest = max(spreads)
    first, second = (
        np.asarray((f - m) * (widest / s), np.float32)
        for f, m, s in zip((one, other), means, spreads, strict=True)
    )
    within = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return first, second, within if within.mean() > 0.1 else valid


def _covered(raw: NDArray[np.uint8], raw_other: NDArray[np.uint8], a: _Levels, b: _Levels) -> float:
    """Look at the places that differ: how much more the first is black, white or rough there."""
    foreign = np.abs(cv2.GaussianBlur(a - b, (0, 0), 1.0))
    marked = (foreign > max(_FOREIGN, 6 * float(np.median(foreign)))).astype(np.uint8)
    there = cv2.morphologyEx(marked, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    share = float(there.mean())
    if share == 0:
        return 0.0
    extreme, extreme_other = (
        float(((film <= _EXTREME) | (film >= 255 - _EXTREME))[there].mean())
        for film in (raw, raw_other)
    )
    rough, rough_other = (
        float(np.abs(film - cv2.GaussianBlur(film, (0, 0), 2))[there].mean()) for film in (a, b)
    )
    worse = extreme - extreme_other + 0.3 * float(np.log((rough + 1) / (rough_other + 1)))
    return max(0.0, worse - _UNSURE) * min(1.0, share / 0.002)


_LOGITS = 6.0  # of noise or blur that weigh 1
_MOST = 3.0  # that one fault weighs
_ALIKE = 3.0  # logits below the threshold of darkness at which films count as equally bright


@dataclass(frozen=True)
class Blame:
    """What is wrong with one copy, beside the others.

    Attributes
    ----------
    weights
        For each fault found (``noisy``, ``blurred``, ``badly exposed``, ``patched``, ``padded``,
        ``negative``, ``blocky``, ``small``) how much of it, > 0; 1 is plain to see.
    pixels
        Of the copy as decoded, borders cropped; of copies alike in all else, the largest stays.
    """

    weights: dict[str, float]
    pixels: int

    @property
    def score(self) -> float:
        """Sum of the weights; the copy with the lowest stays."""
        return float(sum(self.weights.values()))

    def words(self) -> str:
        """Name the faults, worst first."""
        worst = sorted(self.weights.items(), key=lambda fault: -fault[1])
        return ", ".join(f"{name} {weight:.2g}" for name, weight in worst if weight >= 0.05)


def blame_copies(films: Sequence[NDArray[np.uint8]]) -> list[Blame]:
    """Hold copies of one exposure against each other.

    Parameters
    ----------
    films
        Two or more (H, W) uint8 films as decoded; sizes, borders and polarity may differ.

    Returns
    -------
    list of Blame
        One for each film, in their order.
    """
    copies = measure_copies(films)
    blames = [_against(copy, copies) for copy in copies]
    return [
        Blame({name: float(w) for name, w in blame.items() if w > 0}, copy.pixels)
        for blame, copy in zip(blames, copies, strict=True)
    ]


def _against(one: Copy, copies: Sequence[Copy]) -> dict[str, float]:
    """Weigh the faults of one copy, each beside the copy that has least of it."""
    others = [copy for copy in copies if copy is not one]
    besides = [beside(one, other) for other in others]
    worst = max(besides, key=lambda b: b.worse)
    detail = min(_MOST, _most([worst.worse]) / _LOGITS)
    dark = _most(max(one.dark, -_ALIKE) - max(c.dark, -_ALIKE) for c in others) / 10
    flat = _most((c.entropy - one.entropy - 0.1) / 0.7 for c in others)
    return {
        "noisy": detail if worst.grainier else 0.0,
        "blurred": 0.0 if worst.grainier else detail,
        "badly exposed": min(_MOST, dark + flat),
        "patched": _most(b.covered for b in besides),
        "padded": 0.5 * any(_padded(one, c) for c in others),
        "negative": 0.3 * (one.negative and not all(c.negative for c in others)),
        "blocky": min(0.2, _most(one.blocky - c.blocky - 0.05 for c in others)),
        "small": min(0.2, 0.1 * _most(np.log2(c.pixels / one.pixels) - 0.5 for c in others)),
    }


def _most(values: Iterable[float]) -> float:
    """Give the largest value, or 0 if none is above it."""
    return max(0.0, 0.0, *values)


def _padded(one: Copy, other: Copy) -> bool:
    """Tell whether the first has a border more than the other, not one that was seen on it alone."""
    if one.padded - other.padded <= 0.02:
        return False
    cropped, _ = aligned(one, other)
    return cropped is not one.whole
