"""Two copies' fine detail, held against each other: which is noisy or blurred, and what is covered.

The copy with more fine detail is either the noisy one or the sharp one. In bands of detail from fine
to coarse, let a and b be the copies' powers and c their coherence. Noise is in one copy alone, so it
costs as much coherence as it adds power: log(a / b) = -log c². What blur takes away is missing at coarse
scales too, and what is left of it stays coherent. So of the ratio of powers, band by band, only what the
loss of coherence does not explain speaks for the copy that has more; a logistic regression weighs it
with the noise and blur detectors' logits and JPEG's blocks. All its statistics change sign when the
copies are exchanged, and it has no intercept, so it cannot prefer the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.copy_measures import Copy, aligned

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
