"""The gate: pictures that are no frontal chest film, whole and upright; photographs and torn films."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs
from cxrlens.quality.detail import band_statistics
from cxrlens.quality.step import Finding, Regression, Step
from cxrlens.radiographs.grey import Film, Floats, Mask

SIDE = 16
"""Pixels along the thumbnail's side."""


def rank_thumbnail(film: Film, side: int = SIDE) -> Floats:
    """Shrink a film and replace its grey levels by their ranks.

    Parameters
    ----------
    film
        (H, W) uint8.
    side
        Of the thumbnail, in pixels.

    Returns
    -------
    (side * side,) float64
        Row by row, ranks brought to [-1, 1]; equal levels share the mean of their ranks, so that
        the thumbnail of the inverted film is minus this one up to rounding.
    """
    small = cv2.resize(film, (side, side), interpolation=cv2.INTER_AREA).ravel()
    counts = np.bincount(small, minlength=256)
    upto = np.cumsum(counts)
    middle = upto - (counts + 1) / 2
    return np.asarray(2 * middle[small] / (side * side - 1) - 1, np.float64)


@dataclass(frozen=True)
class Bounds:
    """Between which values a statistic of chest films lies.

    Attributes
    ----------
    name
        A key of `ChestGate.statistics`.
    low, high
        The bounds; infinite where a side does not count.
    step
        The statistic's natural step: one step beyond a bound scores 0.73.
    """

    name: str
    low: float
    high: float
    step: float

    def beyond(self, value: float) -> float:
        """Return how many steps a value lies beyond the nearer bound; below 0 it lies within."""
        return max(self.low - value, value - self.high) / self.step


@dataclass(frozen=True)
class ChestGate:
    """Finds pictures that cannot be one frontal chest film, whole and upright.

    A film is refused if one of its statistics lies outside of its bounds: what the lung network answers
    about the film as a whole; size, place and form of the lungs that it found; how much the film looks
    like chests do. `ChestGate.statistics` names them.

    Attributes
    ----------
    mean
        (256,) thumbnail of the mean chest.
    components
        (k, 256) main forms by which chests differ from it, orthonormal.
    bounds
        Of the statistics that count.
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    bounds: tuple[Bounds, ...]

    defect: ClassVar[str] = "not_a_chest"

    def detect(self, film: Film, lungs: Lungs) -> Finding:
        """Find a film that is no frontal chest radiograph."""
        told = self.statistics(film, lungs)
        return Finding.beyond(max(bound.beyond(told[bound.name]) for bound in self.bounds), 0.0)

    def statistics(self, film: Film, lungs: Lungs) -> dict[str, float]:
        """Describe how far a film and its lungs are from a whole, upright, frontal chest.

        Parameters
        ----------
        film
            (side, side) uint8, no negative.
        lungs
            Its lungs.

        Returns
        -------
        dict
            ``answer``: the network's logit for the film as a whole. ``share``: of the film that is lung;
            ``doubtful``: pixels of which the network is not sure, as a share of them. ``height``,
            ``breadth``: of the box round both, as shares of the side; ``filled``: share of the box that is
            lung. ``cut``: share of the film's upper and lower edge that is lung. ``top``: how broad the
            lungs are at their top against their bottom. ``unlike``: share of the thumbnail that the chest's
            main forms leave unexplained. ``proportion``: the film's breadth over height.
        """
        mean, components = self._forms
        picture = rank_thumbnail(film)
        difference = picture - mean
        unexplained = difference - components.T @ (components @ difference)
        return {
            "answer": lungs.chest,
            "proportion": lungs.proportion,
            **_of_lungs(lungs),
            "unlike": float((unexplained**2).sum()) / (float((picture**2).sum()) + 1e-9),
        }

    @functools.cached_property
    def _forms(self) -> tuple[Floats, Floats]:
        return np.array(self.mean), np.array(self.components)


def _of_lungs(lungs: Lungs) -> dict[str, float]:
    fields = lungs.fields()
    side = len(fields)
    names = ("height", "breadth", "filled", "cut", "top")
    if not fields.any():
        return {"share": 0.0, "doubtful": 1.0, **dict.fromkeys(names, 0.0)}
    share = float(fields.mean())
    rows, columns = np.flatnonzero(fields.any(axis=1)), np.flatnonzero(fields.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    box = fields[top:bottom, left:right]
    upper, *_, lower = (_breadth(part) for part in np.array_split(box, 4))
    unsure = float(((lungs.likely > 30) & (lungs.likely < 225)).mean())
    values = (
        (bottom - top) / side,
        (right - left) / side,
        float(box.mean()),
        float(np.mean([fields[0], fields[-1]])),
        min(upper / max(lower, 1.0), 2.0),
    )
    told = dict(zip(names, map(float, values), strict=True))
    return {"share": share, "doubtful": min(unsure / share, 1.0), **told}


def _breadth(part: Mask) -> float:
    """Mean distance from the first to the last lung pixel of the rows."""
    found = [np.flatnonzero(row) for row in part]
    return float(np.mean([row[-1] + 1 - row[0] if len(row) else 0 for row in found] or [0]))


_EDGE = 14
"""Pixels of the side of 224 within which what lies round a film is looked for."""


@dataclass(frozen=True)
class SeenByCamera:
    """Traces of a camera: lines that lean, something round the film, moiré, uneven light, a lens's blur.

    A photographed film is let through: the finding says that tones and proportions are not those of
    the film. What the lung network answers about the film as a whole is one of the statistics.

    Attributes
    ----------
    regression
        On the statistics.
    """

    regression: Regression

    defect: ClassVar[str] = "photographed"

    def detect(self, film: Film, lungs: Lungs) -> Finding:
        """Find a film that was photographed."""
        return self.regression.finding(camera_statistics(film, lungs))


def camera_statistics(film: Film, lungs: Lungs) -> Floats:
    """Describe what a camera may have left on a (224, 224) uint8 film.

    Returns
    -------
    (37,) float64
        The network's answer; peaks of the spectrum; straight lines; the edge against the middle; how
        detail falls off from scale to scale (`band_statistics`).
    """
    answer = np.clip(lungs.photographed, -6, 6)
    return np.concatenate(
        [[answer], _peaks(film), _lines(film), _edge(film), band_statistics(film)]
    )


def _peaks(film: Film) -> list[float]:
    """Measure how far single frequencies stand out of their neighbours: moiré is made of a few."""
    grey = film.astype(np.float32)
    grey -= np.asarray(cv2.GaussianBlur(grey, (0, 0), 3))
    window = np.hanning(len(grey))
    spectrum = np.fft.rfft2(grey * window[:, None] * np.hanning(grey.shape[1]))
    power = np.log(np.abs(spectrum) + 1e-2).astype(np.float32)
    excess = power - np.asarray(cv2.medianBlur(power, 5))
    down = np.abs(np.fft.fftfreq(len(grey)))[:, None]
    across = np.fft.rfftfreq(grey.shape[1])[None]
    # The axes hold the film's own edges, the middle its anatomy.
    asked = (np.hypot(down, across) > 0.05) & (down >= 0.01) & (across >= 0.01)
    broad = np.asarray(cv2.GaussianBlur(np.maximum(excess, 0), (0, 0), 1.0))
    sharpest, broadest = np.sort(excess[asked]), np.sort(broad[asked])
    return [
        float(sharpest[-8:].mean()),
        float(sharpest[-1]),
        float(broadest[-4:].mean()),
        float(1000 * (sharpest > 2.5).mean()),
    ]


def _lines(film: Film) -> list[float]:
    """Measure how long straight lines near the edges are: leaning a little, and quite level or upright."""
    edges = cv2.Canny(cv2.GaussianBlur(film, (0, 0), 1.2), 30, 80)
    found = cv2.HoughLinesP(edges, 1, np.pi / 360, 50, minLineLength=70, maxLineGap=6)
    if found is None:
        return [0.0, 0.0, 0.0, 0.0]
    ends = found.reshape(-1, 2, 2).astype(np.float64)
    along = ends[:, 1] - ends[:, 0]
    lengths = np.hypot(along[:, 0], along[:, 1])
    leaning = np.abs((np.degrees(np.arctan2(along[:, 1], along[:, 0])) + 45) % 90 - 45)
    middle = np.abs(ends.mean(axis=1) - np.array(film.shape[::-1]) / 2).max(axis=1)
    outer = middle > 0.31 * len(film)
    tilted, level = outer & (leaning > 0.7) & (leaning < 12), outer & (leaning <= 0.7)
    return [
        float(np.log1p(lengths[tilted].sum())),
        float(lengths[tilted].max(initial=0)),
        float(np.log1p(lengths[level].sum())),
        float(np.log1p(lengths.sum())),
    ]


def _edge(film: Film) -> list[float]:
    """Measure how the outermost pixels differ from the rest: what lies round a film is not of it."""
    grey = film.astype(np.float32)
    detail = np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F)))
    sides = [grey[:_EDGE], grey[-_EDGE:], grey[:, :_EDGE], grey[:, -_EDGE:]]
    outermost = [detail[:10], detail[-10:], detail[:, :10], detail[:, -10:]]
    spreads = [float(side.std()) for side in sides]
    means = [float(side.mean()) for side in sides]
    dark, bright, brighter, brightest = np.percentile(grey, [1, 98, 99, 99.9])
    quarter = len(film) // 4
    middle = grey[quarter:-quarter, quarter:-quarter]
    return [
        float(np.mean(spreads)),
        min(spreads),
        float(np.mean([part.mean() for part in outermost]) / (detail.mean() + 1)),
        float(np.std(means)),
        float(middle.mean() - np.mean(means)),
        float(dark),
        float(brighter),
        float(brightest - bright),
    ]


_BLOCK = 8
_DARKEST, _BRIGHTEST = 2, 253
_SMALLEST = 48


@dataclass(frozen=True)
class LossSeam(Step, defect="torn"):
    """A step in brightness along a row of blocks, from one block on to the right and below all the rest.

    A JPEG codes a block's mean as its difference from the block before. Bytes lost in between shift all
    that follows by one and the same level: the row of blocks in which it happened is parted from the row
    above it from there on, and from the row below it up to there. Along that path, once across the film,
    the jumps of brightness beyond what the rows on either side lead one to expect have one height; edges
    of the body do not follow it, and those of borders are even on one side.

    Attributes
    ----------
    threshold
        Of the seam's clearness: its median jump in multiples of the jumps' spread.
    softness
        Levels that are added to the spread, so that no faint step counts on an even film.
    largest
        Jumps beyond so many levels count no more, where the path is looked for.
    candidates
        So many of the likeliest paths are looked at closely.
    filled
        Of the path, this share must be neither black nor white.
    even
        A row of which so large a share is of one level is a border's edge.
    """

    threshold: float
    softness: float
    largest: float
    candidates: int
    filled: float
    even: float

    def detect(self, film: Film) -> Finding:
        """Find a seam in a film as decoded, before any of its pixels moved."""
        return Finding.beyond(self.clearness(film), self.threshold, self.threshold / 4)

    def clearness(self, film: Film) -> float:
        """Measure the clearest seam, for blocks and for the squares of four that colour films code."""
        return max(self._clearest(film, _BLOCK), self._clearest(film, 2 * _BLOCK))

    def _clearest(self, film: Film, unit: int) -> float:
        height, width = film.shape
        if min(height, width) < max(_SMALLEST, 4 * unit):
            return 0.0
        rows = np.arange(unit, height - 2, unit)
        across = width // _BLOCK
        lines = [film[rows + shift, : across * _BLOCK].astype(np.int16) for shift in (-2, -1, 0, 1)]
        jumps, is_seen = _jumps(lines, across)
        borders = [_evenness(line) for line in (lines[1], lines[2])]
        is_seen[np.maximum(*borders) >= self.even] = False
        jumps[~is_seen] = 0
        near = np.clip(jumps, -self.largest, self.largest)
        total, count = _along_paths(near), _along_paths(is_seen.astype(np.float64))
        strength = np.where(count >= self.filled * across, np.abs(total), 0) / np.sqrt(
            np.maximum(count, 1)
        )
        likeliest = np.argpartition(strength.ravel(), -self.candidates)[-self.candidates :]
        return max(self._one(jumps, is_seen, *divmod(int(place), across)) for place in likeliest)

    def _one(self, jumps: Floats, is_seen: Mask, row: int, column: int) -> float:
        if row + 1 == len(jumps):
            return 0.0
        right = jumps[row, column:][is_seen[row, column:]]
        left = jumps[row + 1, :column][is_seen[row + 1, :column]]
        path = np.concatenate([right, left])
        # An edge that runs straight across has nothing in the next row.
        if min(len(left), len(right)) < 2 or len(path) < self.filled * jumps.shape[1]:
            return 0.0
        step = float(np.median(path))
        if step == 0 or min(np.median(left) / step, np.median(right) / step) < 0.5:
            return 0.0
        spread = 1.4826 * float(np.median(np.abs(path - step)))
        # Few blocks agree more easily.
        return float(abs(step) * (len(path) / 64) ** 0.25 / (spread + self.softness))


def _jumps(lines: list[NDArray[np.int16]], across: int) -> tuple[Floats, Mask]:
    """Average over each block the step between its row and the one above, less the slope on both sides."""
    before, above, below, after = lines
    steps = (below - above) - ((above - before) + (after - below)) * 0.5
    darkest = np.minimum(np.minimum(before, above), np.minimum(below, after))
    brightest = np.maximum(np.maximum(before, above), np.maximum(below, after))
    is_grey = ((darkest > _DARKEST) & (brightest < _BRIGHTEST)).reshape(len(above), across, _BLOCK)
    steps = steps.reshape(len(above), across, _BLOCK) * is_grey
    count = is_grey.sum(axis=2)
    return steps.sum(axis=2) / np.maximum(count, 1), count >= _BLOCK // 2


def _evenness(lines: NDArray[np.int16]) -> Floats:
    """Return the share of each line that has its median level."""
    return np.asarray((lines == np.median(lines, axis=1, keepdims=True)).mean(axis=1))


def _along_paths(values: Floats) -> Floats:
    """Sum along the path that starts at each block: to the right, then up to it in the next row."""
    left = np.cumsum(values, axis=1) - values
    sums = values.sum(axis=1, keepdims=True) - left
    sums[:-1] += left[1:]
    return np.asarray(sums, np.float64)
