"""Lung fields as found on a film, and what is made of them: mask, outline, crop, filled film."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.files import file_digest
from cxrlens.radiographs.grey import resize

Outline = tuple[tuple[tuple[float, float], ...], ...]
"""Polygons, each of points (x, y) as fractions of the film's width and height."""

_LEAST = 0.004
"""Of the film; smaller islands are no lung."""

_WEAK = 0.5
"""A lung smaller than this share of the other is taken for half hidden."""


@dataclass(frozen=True, slots=True)
class Lungs:
    """The lung fields of one film.

    Attributes
    ----------
    likely
        (side, side) uint8 over the film that was looked at, whatever its proportions: 0 for surely
        no lung, 255 for surely lung.
    chest
        Logit that the film is one whole, upright, frontal chest; above 0 it rather is.
    photographed
        Logit that it was photographed, from a light box or a screen.
    window
        Where the film that was looked at lies in the whole one: top, bottom, left and right, as
        fractions of height and width. Borders are cropped before one looks.
    proportion
        Breadth of the film that was looked at, over its height, before it was squashed to a square.
    """

    likely: NDArray[np.uint8]
    chest: float
    photographed: float
    window: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    proportion: float = 1.0

    def within(self, shape: tuple[int, int], cropped: tuple[int, int, int, int]) -> Lungs:
        """Return the same fields as part of a larger film.

        Parameters
        ----------
        shape
            (H, W) of the larger film.
        cropped
            Its pixels at the top, bottom, left and right that were not looked at.
        """
        (height, width), (top, bottom, left, right) = shape, cropped
        window = (top / height, 1 - bottom / height, left / width, 1 - right / width)
        return replace(self, window=window)

    @property
    def share(self) -> float:
        """Share of the film looked at that is lung, in [0, 1]."""
        return float(self.fields().mean())

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the lung fields of a film of this height and width.

        Parameters
        ----------
        shape
            (H, W) of the film.

        Returns
        -------
        (H, W) bool
            True where there is lung. All False if none was found.
        """
        height, width = shape
        top, bottom, left, right = self.window
        rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
        columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
        whole = np.zeros(shape, np.bool_)
        part = whole[rows, columns]
        # Without its islands, and smooth: likelihood is scaled, not the mask.
        alone = self.likely * cv2.dilate(self.fields().astype(np.uint8), np.ones((3, 3), np.uint8))
        size = (part.shape[1], part.shape[0])
        part[:] = cv2.resize(alone, size, interpolation=cv2.INTER_LINEAR) > 127
        return whole

    def outline(self) -> Outline:
        """Return the outline of each lung field, to be drawn over the film.

        Returns
        -------
        Outline
            A polygon each, (x, y) as fractions of width and height in [0, 1]; empty if there is no
            lung. The first is the one on the left of the film.

        Examples
        --------
        >>> likely = np.zeros((8, 8), np.uint8)
        >>> likely[2:6, 1:4] = 255
        >>> (polygon,) = Lungs(likely, 0.0, 0.0).outline()
        >>> [min(of) for of in zip(*polygon)], [max(of) for of in zip(*polygon)]
        ([0.125, 0.25], [0.5, 0.75])
        """
        # Four times finer, so that the polygon has no stairs.
        side = 4 * self.likely.shape[0]
        top, bottom, left, right = self.window
        fine = replace(self, window=(0.0, 1.0, 0.0, 1.0)).mask((side, side)).astype(np.uint8)
        found, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        polygons = []
        for points in found:
            few = cv2.approxPolyDP(points, 1.5, closed=True)[:, 0].astype(np.float64)
            if len(few) < 3:
                continue
            # A pixel's far edge belongs to the field.
            middle = few.mean(axis=0)
            few = (few + (few >= middle)) / side
            few = few * [right - left, bottom - top] + [left, top]
            polygons.append(tuple((float(x), float(y)) for x, y in few))
        return tuple(sorted(polygons, key=lambda polygon: min(polygon)[0]))

    def box(self, margin: float = 0.06) -> tuple[float, float, float, float] | None:
        """Return the box round both lungs, in the film that was looked at.

        A lung that is missing or half hidden is taken to lie where the other's mirror image does,
        so that a white lung is not cut away.

        Parameters
        ----------
        margin
            Added on each side, as a share of the box's larger side.

        Returns
        -------
        tuple or None
            Top, bottom, left, right as fractions of height and width; None if no lung was found.
        """
        fields = self.completed()
        if not fields.any():
            return None
        side = fields.shape[0]
        rows, columns = (np.flatnonzero(fields.any(axis=axis)) for axis in (1, 0))
        top, bottom = rows[0] / side, (rows[-1] + 1) / side
        left, right = columns[0] / side, (columns[-1] + 1) / side
        room = margin * max(bottom - top, right - left)
        ends = np.clip([top - room, bottom + room, left - room, right + room], 0, 1)
        top, bottom, left, right = ends.tolist()
        return top, bottom, left, right

    def crop(self, shape: tuple[int, int], margin: float = 0.06) -> tuple[int, int, int, int]:
        """Count the pixels of the film looked at that lie outside of the lungs' box.

        Parameters
        ----------
        shape
            (H, W) of that film.
        margin
            As of `box`.

        Returns
        -------
        tuple of int
            At the top, bottom, left and right; all 0 if no lung was found.
        """
        height, width = shape
        top, bottom, left, right = self.box(margin) or (0.0, 1.0, 0.0, 1.0)
        above, below = int(top * height), int((1 - bottom) * height)
        return above, below, int(left * width), int((1 - right) * width)

    def alone(self, film: NDArray[np.uint8], margin: float = 0.03) -> NDArray[np.uint8]:
        """Fill the film looked at, outside of its lungs, with the mean of what lies inside.

        Parameters
        ----------
        film
            (H, W) uint8, of any size.
        margin
            How far the kept fields reach beyond the lungs, as a share of the film's side.

        Returns
        -------
        (H, W) uint8
            A new array; a copy of the film if no lung was found.
        """
        fields = self.completed().astype(np.uint8)
        if not fields.any():
            return film.copy()
        reach = max(1, round(margin * len(fields)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        wide = cv2.dilate(fields, kernel) * np.float32(1)
        height, width = film.shape
        inside = cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        filled = film.copy()
        if inside.any():
            filled[~inside] = round(float(film[inside].mean()))
        return filled

    def completed(self) -> NDArray[np.bool_]:
        """Return the fields with the mirror image of a lung whose other is missing or half hidden.

        Returns
        -------
        (side, side) bool
        """
        mask = self.fields()
        count, parts, told, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        if count < 2:
            return mask
        areas = told[1:, cv2.CC_STAT_AREA]
        first = 1 + int(areas.argmax())
        left, _, wide, high, largest = (int(number) for number in told[first])
        if (areas >= _WEAK * largest).sum() > 1:
            return mask
        # One field as broad as both is both, grown together.
        if wide > 1.15 * high:
            return mask
        side = len(mask)
        gap = 0.08 * wide
        # The spine lies at the lung's inner edge, on the side where the film has more room.
        spine = left - gap if left + wide / 2 > side / 2 else left + wide + gap
        mirrored = np.zeros_like(mask)
        y, x = np.nonzero(parts == first)
        there = np.rint(2 * spine - x).astype(int)
        kept = (there >= 0) & (there < side)
        mirrored[y[kept], there[kept]] = True
        return mask | mirrored

    def fields(self) -> NDArray[np.bool_]:
        """Return the fields of the film looked at, without islands.

        Returns
        -------
        (side, side) bool
        """
        mask = self.likely > 127
        count, parts, told, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        if count < 2:
            return np.zeros_like(mask)
        areas = told[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        least = max(_LEAST * mask.size, 0.06 * areas.max())
        return np.asarray(np.isin(parts, np.flatnonzero(areas >= least)), np.bool_)


NETWORK = Path(__file__).parent / "lungs.onnx"
"""The network that comes with the package."""

SIDE = 128
"""Pixels of the side at which the network looks."""


def find_lungs(film: NDArray[np.uint8], network: Path = NETWORK) -> Lungs:
    """Find the lung fields of a film.

    Parameters
    ----------
    film
        (H, W) uint8 of any size and tone, a negative too. It is not changed.
    network
        Another network's file, as `benchmarks/train_lungs.py` writes it.

    Returns
    -------
    Lungs
        For each place of the film how likely it is lung; nothing where there is none.

    Raises
    ------
    CxrlensError
        If the network's file is missing or damaged.

    Examples
    --------
    >>> import numpy as np
    >>> find_lungs(np.zeros((30, 40), np.uint8)).share
    0.0
    """
    small = resize(film, SIDE)
    session = _session(network, os.getpid())
    lungs, film_as_a_whole = session.run(None, {"film": small[None, None].astype(np.float32)})
    likely = 255 / (1 + np.exp(-np.clip(lungs[0], -30, 30)))
    chest, photographed = (float(logit) for logit in film_as_a_whole[0])
    return Lungs(np.rint(likely).astype(np.uint8), chest, photographed)


@functools.cache
def network_digest() -> str:
    """Return a digest of the network that comes with the package; "" if its file is missing."""
    try:
        return file_digest(NETWORK)[:10]
    except OSError:
        return ""


@functools.lru_cache(maxsize=8)
def _session(network: Path, process: int) -> Any:
    """Load the network, once in each process: a session does not survive a fork."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    # Films are many and small: workers run side by side, one thread each.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            network.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except FileNotFoundError as error:
        raise CxrlensError(
            f"{network} is missing from the installation: install cxrlens again"
        ) from error
    # onnxruntime's faults have no common class below Exception, and a file can be anything.
    except Exception as error:
        raise CxrlensError(
            f"{network} is damaged, onnxruntime cannot read it: install cxrlens again"
        ) from error
