"""Patches: spots and rectangles of black or white laid over a film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding


@dataclass(frozen=True)
class SharpIslands:
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

    defect: ClassVar[str] = "patched"
    repair_name: ClassVar[str] = "fill"

    def _islands(self, film: NDArray[np.uint8]) -> list[tuple[float, NDArray[np.bool_]]]:
        """Give the islands of patch-like form: the share of their ring that differs; their mask."""
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

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Find the island that stands out most."""
        most = max((share for share, _ in self._islands(film)), default=0.0)
        return Finding.beyond(most, self.surrounded, 0.1)

    def mask(self, film: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Mark the patches, with the pixel or two round them that resizing has mixed."""
        marked = np.zeros(film.shape, np.uint8)
        for share, island in self._islands(film):
            if share > self.surrounded:
                marked |= island.astype(np.uint8)
        return cv2.dilate(marked, np.ones((3, 3), np.uint8), iterations=2) > 0

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fill the patches smoothly from their edges (Telea 2004); nothing is invented in them."""
        marked = self.mask(film).astype(np.uint8)
        return np.asarray(cv2.inpaint(film, marked, 3, cv2.INPAINT_TELEA), dtype=np.uint8)
