"""Burnt-in text: lines of letters or figures that a machine wrote into the pixels, names perhaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.step import Finding, Step

_TALLEST = 64
"""Pixels; what is taller is a marker of lead, or no letter."""

_STROKE = 13
"""Pixels; a letter's strokes are thinner."""

_MOST = 1000
"""So many islands of one brightness are grain, not letters."""

Box = NDArray[np.int64]


@dataclass(frozen=True)
class PrintedLines(Step):
    """Lines of small, thin, even islands side by side, as letters stand in a name, a number or a date.

    What the letters say is not read: a finding says that someone should look before the film is passed on.
    A marker of a letter or three (L, R, AP) is no finding, nor is print so small that it cannot be read.

    Attributes
    ----------
    side
        A film whose longer side is greater is looked at reduced to it.
    contrast
        Levels by which a letter's strokes differ from what they stand on.
    smallest
        Height in pixels of the smallest letters.
    letters, upright
        A level line of more is text; so is an upright one.
    even
        Levels by which the strokes of a line's letters may differ.
    alone
        What else stands out round a line, as a share of its letters.
    """

    side: int
    contrast: int
    smallest: int
    letters: float
    upright: float
    even: float
    alone: float

    defect: ClassVar[str] = "burnt_in_text"

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find the longest line on a film as decoded."""
        return Finding.beyond(float(len(self.longest(film))), self.letters)

    def longest(self, film: NDArray[np.uint8]) -> Box:
        """Return the letters of the longest line: (N, 4) x, y, width and height in the film as looked at."""
        factor = self.side / max(film.shape)
        if factor < 1:
            film = np.asarray(
                cv2.resize(film, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
            )
        square = np.ones((_STROKE, _STROKE), np.uint8)
        lines = [np.empty((0, 4), np.int64)]
        for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            strokes = np.asarray(cv2.morphologyEx(film, kind, square)) >= self.contrast
            lines += self._lines(film if kind == cv2.MORPH_TOPHAT else 255 - film, strokes)
        return max(lines, key=len)

    def _lines(self, film: NDArray[np.uint8], strokes: NDArray[np.bool_]) -> list[Box]:
        """Find lines of bright letters, level and upright ones."""
        _, islands, stats, _ = cv2.connectedComponentsWithStats(
            strokes.astype(np.uint8), connectivity=8
        )
        labels, boxes = np.asarray(islands, np.int32), np.asarray(stats, np.int32)
        found = []
        # Ribs and vertebrae lie one above the other as letters do side by side: there it takes more of them.
        for sides, least in (([0, 1, 2, 3], self.letters), ([1, 0, 3, 2], self.upright)):
            turned = boxes[:, sides]
            _, _, across, tall = turned.T
            is_letter = (tall >= self.smallest) & (tall <= _TALLEST) & (across <= 1.5 * tall)
            is_letter &= boxes[:, 4] >= 0.12 * across * tall
            is_letter[0] = False
            letters = np.flatnonzero(is_letter)
            if least < len(letters) <= _MOST:
                for line in _side_by_side(turned[letters].astype(np.int64)):
                    if len(line) > least and self._is_print(
                        film, strokes, labels, boxes, letters[line]
                    ):
                        found.append(boxes[letters[line], :4].astype(np.int64))
        return found

    def _is_print(
        self,
        film: NDArray[np.uint8],
        strokes: NDArray[np.bool_],
        labels: NDArray[np.int32],
        boxes: NDArray[np.int32],
        line: NDArray[np.int64],
    ) -> bool:
        x, y, width, height, area = boxes[line].T
        # Rungs, beads and the marks of a ruler are all alike.
        if np.std(width) + np.std(height) + np.std(area / height) < 0.06 * height.mean():
            return False
        greys = []
        for one, (left, top, across, down, _) in zip(line, boxes[line], strict=True):
            window = np.s_[top : top + down, left : left + across]
            greys.append(np.percentile(film[window][labels[window] == one], 90))
        if np.ptp(np.sort(greys)[len(greys) // 8 : len(greys) - len(greys) // 8]) > self.even:
            return False
        room = int(min(height.max(), width.max())) // 2
        around = strokes[
            max(0, y.min() - room) : (y + height).max() + room,
            max(0, x.min() - room) : (x + width).max() + room,
        ]
        return bool(around.sum() - area.sum() <= self.alone * area.sum())


def _side_by_side(boxes: Box) -> list[NDArray[np.int64]]:
    """Join boxes to lines: each stands beside the last, on one base line, about as tall."""
    lines: list[list[int]] = []
    ends = np.empty((len(boxes), 3), np.int64)  # of each line's last box: right, bottom, height
    for one in np.lexsort((boxes[:, 1], boxes[:, 0])):
        left, top, width, height = boxes[one]
        right, bottom, last = ends[: len(lines)].T
        tall = np.maximum(height, last)
        gap = left - right
        fits = (gap <= 1.6 * tall) & (gap >= -0.2 * tall) & (tall <= 1.7 * np.minimum(height, last))
        fits &= np.abs(top + height - bottom) <= 0.22 * tall
        if fits.any():
            line = int(np.flatnonzero(fits)[np.argmin(gap[fits])])
            lines[line].append(int(one))
        else:
            line = len(lines)
            lines.append([int(one)])
        ends[line] = left + width, top + height, height
    return [np.array(line) for line in lines]
