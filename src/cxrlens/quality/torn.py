"""Torn: the seam that lost bytes leave in a JPEG whose codes fell into step again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding

_BLOCK = 8
_DARKEST, _BRIGHTEST = 2, 253
_SMALLEST = 48


@dataclass(frozen=True)
class LossSeam:
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

    defect: ClassVar[str] = "torn"
    repair_name: ClassVar[str] = ""

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find a seam in a film as decoded, before any of its pixels moved."""
        return Finding.beyond(self.clearness(film), self.threshold, self.threshold / 4)

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave it: what is lost cannot be mended."""
        return film

    def finish(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave it."""
        return film

    def clearness(self, film: NDArray[np.uint8]) -> float:
        """Measure the clearest seam, for blocks and for the squares of four that colour films code."""
        return max(self._clearest(film, _BLOCK), self._clearest(film, 2 * _BLOCK))

    def _clearest(self, film: NDArray[np.uint8], unit: int) -> float:
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

    def _one(
        self, jumps: NDArray[np.float64], is_seen: NDArray[np.bool_], row: int, column: int
    ) -> float:
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


def _jumps(
    lines: list[NDArray[np.int16]], across: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Average over each block the step between its row and the one above, less the slope on both sides."""
    before, above, below, after = lines
    steps = (below - above) - ((above - before) + (after - below)) * 0.5
    darkest = np.minimum(np.minimum(before, above), np.minimum(below, after))
    brightest = np.maximum(np.maximum(before, above), np.maximum(below, after))
    is_grey = ((darkest > _DARKEST) & (brightest < _BRIGHTEST)).reshape(len(above), across, _BLOCK)
    steps = steps.reshape(len(above), across, _BLOCK) * is_grey
    count = is_grey.sum(axis=2)
    return steps.sum(axis=2) / np.maximum(count, 1), count >= _BLOCK // 2


def _evenness(lines: NDArray[np.int16]) -> NDArray[np.float64]:
    """Give the share of each line that has its median level."""
    return np.asarray((lines == np.median(lines, axis=1, keepdims=True)).mean(axis=1))


def _along_paths(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum along the path that starts at each block: to the right, then up to it in the next row."""
    left = np.cumsum(values, axis=1) - values
    sums = values.sum(axis=1, keepdims=True) - left
    sums[:-1] += left[1:]
    return np.asarray(sums, dtype=np.float64)
