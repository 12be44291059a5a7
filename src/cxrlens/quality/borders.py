"""Things round or over a film: padding, patches, and text burnt in, names perhaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.step import Finding, Step
from cxrlens.radiographs.grey import Film, Mask

_ALONG = 9


def without(film: Film, borders: tuple[int, int, int, int]) -> Film:
    """Return a view of a film without so many pixels at the top, bottom, left and right."""
    top, bottom, left, right = borders
    height, width = film.shape
    return film[top : height - bottom, left : width - right]


@dataclass(frozen=True)
class EvenBorders(Step, defect="padded", repair_name="crop"):
    """Lines of one grey along a side, black or white, that end in a step; the repair crops them.

    The air beside a patient is dark too, but it ends softly at the skin: it is no border.

    Attributes
    ----------
    looked
        The film is looked at with this many lines a side, or its own if it has fewer.
    level
        A border's grey is at most this far from black or from white.
    tolerance, even
        A line belongs to the border if this share of it lies within the tolerance of that grey.
    step, stepped
        At its inner edge this share of the line must be this far from that grey.
    width
        Of the side; narrower borders are left alone.
    most
        Of the side; if opposite borders leave less than the rest, nothing is cropped.
    """

    looked: int
    level: int
    tolerance: int
    even: float
    step: int
    stepped: float
    width: float
    most: float

    def borders(self, film: Film) -> tuple[int, int, int, int]:
        """Measure the borders: pixels at the top, bottom, left and right of the film."""
        height, width = film.shape
        rows, columns = min(height, self.looked), min(width, self.looked)
        # Of large films every k-th line is enough, and much faster than all of them.
        small = film[:: max(1, height // (2 * rows)), :: max(1, width // (2 * columns))]
        if (rows, columns) != small.shape:
            small = np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA))
        top, bottom, left, right = 0, rows, 0, columns
        # A second look finds what the first one's corners hid, or a frame inside a frame.
        for _ in range(2):
            inner = np.ascontiguousarray(small[top:bottom, left:right])
            # Smoothed along a side's lines, grain is even and the border's edge stays sharp.
            across = np.asarray(cv2.blur(inner, (_ALONG, 1)), np.uint8)
            down = np.asarray(cv2.blur(inner, (1, _ALONG)), np.uint8).T
            found = [self._depth(lines) for lines in (across, across[::-1], down, down[::-1])]
            top, bottom = top + found[0], bottom - found[1]
            left, right = left + found[2], right - found[3]
            if not any(found) or bottom - top < _ALONG or right - left < _ALONG:
                break
        if bottom - top < (1 - self.most) * rows or right - left < (1 - self.most) * columns:
            return 0, 0, 0, 0
        tall, broad = height / rows, width / columns
        return (
            math.ceil(top * tall),
            math.ceil((rows - bottom) * tall),
            math.ceil(left * broad),
            math.ceil((columns - right) * broad),
        )

    def _depth(self, lines: Film) -> int:
        """Count the border's lines, from the first on."""
        count = len(lines)
        grey = float(np.median(lines[0]))
        if min(grey, 255 - grey) > self.level or count < _ALONG:
            return 0
        away = np.abs(lines.astype(np.float32) - grey)
        even = (away <= self.tolerance).mean(axis=1) >= self.even
        depth = count if even.all() else int(np.argmin(even))
        if depth == count or depth < self.width * self.looked:
            return 0
        # The edge may be smeared over a few lines by blur, JPEG or resampling.
        further = away[depth : depth + max(2, round(0.015 * count) + 1)]
        stepped = (further >= self.step).mean(axis=1) >= self.stepped
        return depth + min(int(np.argmax(stepped)), 1) if stepped.any() else 0

    def detect(self, film: Film) -> Finding:
        """Find borders; the score grows with the widest one's share of the side."""
        top, bottom, left, right = self.borders(film)
        widest = max(max(top, bottom) / film.shape[0], max(left, right) / film.shape[1])
        # A border counts from `width` on: below it `borders` gives 0, so the threshold lies between.
        return Finding.beyond(widest, self.width / 2, self.width / 2)

    def repair(self, film: Film) -> Film:
        """Crop the borders away."""
        return without(film, self.borders(film))


@dataclass(frozen=True)
class SharpIslands(Step, defect="patched", repair_name="fill"):
    """Even islands of black or white with a sharp edge all round; the repair fills them in.

    Attributes
    ----------
    level
        An island's pixels are at most this far from black or from white.
    smallest, largest
        Area of an island as a share of the film's.
    solidity
        Least share of its convex hull that an island fills: letters fill less.
    step
        Grey levels by which the surroundings differ from the island.
    surrounded
        Beyond this share of the ring round it that differs so much, an island is a patch.
    """

    level: int
    smallest: float
    largest: float
    solidity: float
    step: int
    surrounded: float

    def _islands(self, film: Film) -> list[tuple[float, Mask]]:
        """Return the islands of patch-like form: the share of their ring that differs; their mask."""
        islands = []
        for extreme, far in (
            (film <= self.level, film >= self.level + self.step),
            (film >= 255 - self.level, film <= 255 - self.level - self.step),
        ):
            count, labels, boxes, _ = cv2.connectedComponentsWithStats(
                extreme.astype(np.uint8), connectivity=4
            )
            for island in range(1, count):
                x, y, width, height, area = (int(v) for v in boxes[island])
                if not self.smallest <= area / film.size <= self.largest:
                    continue
                if area < 0.7 * self.solidity * width * height:
                    continue
                # At the film's edge, air and collimation look like patches.
                if x == 0 or y == 0 or x + width == film.shape[1] or y + height == film.shape[0]:
                    continue
                above, before = max(0, y - 4), max(0, x - 4)
                window = np.s_[above : y + height + 4, before : x + width + 4]
                mask = (labels[window] == island).astype(np.uint8)
                outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                hull = cv2.fillConvexPoly(np.zeros_like(mask), cv2.convexHull(outline[0]), 1)
                if area < self.solidity * float(hull.sum()):
                    continue
                square = np.ones((3, 3), np.uint8)
                ring = cv2.dilate(mask, square, iterations=3) - cv2.dilate(mask, square)
                differs = float(far[window][ring > 0].mean()) if ring.any() else 0.0
                whole = np.zeros(film.shape, bool)
                whole[window] = hull > 0
                islands.append((differs, whole))
        return islands

    def detect(self, film: Film) -> Finding:
        """Find the island that stands out most."""
        most = max((share for share, _ in self._islands(film)), default=0.0)
        return Finding.beyond(most, self.surrounded, 0.1)

    def mask(self, film: Film) -> Mask:
        """Mark the patches, with the pixel or two round them that resizing has mixed."""
        marked = np.zeros(film.shape, np.uint8)
        for share, island in self._islands(film):
            if share > self.surrounded:
                marked |= island.astype(np.uint8)
        return cv2.dilate(marked, np.ones((3, 3), np.uint8), iterations=2) > 0

    def repair(self, film: Film) -> Film:
        """Fill the patches smoothly from their edges (Telea 2004); nothing is invented in them."""
        marked = self.mask(film).astype(np.uint8)
        return np.asarray(cv2.inpaint(film, marked, 3, cv2.INPAINT_TELEA), np.uint8)


_TALLEST = 64
"""Pixels; what is taller is a marker of lead, or no letter."""

_STROKE = 13
"""Pixels; a letter's strokes are thinner."""

_MOST = 1000
"""So many islands of one brightness are grain, not letters."""

Box = NDArray[np.int64]


@dataclass(frozen=True)
class PrintedLines(Step, defect="burnt_in_text"):
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

    def detect(self, film: Film) -> Finding:
        """Find the longest line on a film as decoded."""
        return Finding.beyond(float(len(self.longest(film))), self.letters)

    def longest(self, film: Film) -> Box:
        """Return the letters of the longest line: (N, 4) x, y, width and height in the film as looked at."""
        height, width = film.shape
        factor = self.side / max(film.shape)
        if factor < 1:
            # Of a very thin film one pixel is left; of any other the factor is one for both sides.
            across, down = max(factor, 1 / width), max(factor, 1 / height)
            film = np.asarray(
                cv2.resize(film, None, fx=across, fy=down, interpolation=cv2.INTER_AREA), np.uint8
            )
        square = np.ones((_STROKE, _STROKE), np.uint8)
        lines = [np.empty((0, 4), np.int64)]
        for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            strokes = np.asarray(cv2.morphologyEx(film, kind, square)) >= self.contrast
            lines += self._lines(film if kind == cv2.MORPH_TOPHAT else 255 - film, strokes)
        return max(lines, key=len)

    def _lines(self, film: Film, strokes: Mask) -> list[Box]:
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
        film: Film,
        strokes: Mask,
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
