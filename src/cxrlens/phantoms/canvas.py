"""Shapes in body coordinates, drawn onto a square of pixels.

Body coordinates do not know the film: x runs from −1 to 1 between the inner chest walls (negative is
the patient's right, the left of the picture), y from 0 at the lungs' apices to 1 at the domes of the
diaphragm. Everything in an anatomy is said in them; a `Canvas` knows where they lie on one film.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Field = NDArray[np.float32]

_SHIFT = 4  # fractional bits of the fixed-point coordinates that OpenCV draws with
_NATIVE_SIDE = 224.0  # softness and pen widths are given in pixels of a film of this side


def _spline_weights(steps: int) -> Points:
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    return np.hstack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ]
    )


_WEIGHTS = _spline_weights(6)


def rounded(corners: Sequence[tuple[float, float]] | Points, closed: bool = True) -> Points:
    """Draw a smooth line through some points (Catmull-Rom).

    Parameters
    ----------
    corners
        (N, 2) points.
    closed
        Whether the line returns to its first point.

    Returns
    -------
    Points
        (6 N, 2) points if closed, (6 (N − 1) + 1, 2) otherwise.
    """
    p = np.asarray(corners, dtype=np.float64)
    if closed:
        knots = np.stack([np.roll(p, k, axis=0) for k in (1, 0, -1, -2)])
        return np.asarray(np.einsum("sk,knd->nsd", _WEIGHTS, knots).reshape(-1, 2))
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    knots = np.stack([p[:-3], p[1:-2], p[2:-1], p[3:]])
    line = np.einsum("sk,knd->nsd", _WEIGHTS, knots).reshape(-1, 2)
    return np.vstack([line, p[-2]])


def ring(count: int, x: float = 1.0, y: float = 1.0) -> Points:
    """Return (count, 2) points evenly round an ellipse with half axes `x` and `y`."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x * np.cos(turn), y * np.sin(turn)], axis=1)


def mirrored(points: Points) -> Points:
    """Return the same points on the other side of the body."""
    return np.asarray(points * np.array([-1.0, 1.0]))


def moved(points: Points, x: float = 0.0, y: float = 0.0) -> Points:
    """Return the same points elsewhere."""
    return np.asarray(points + np.array([x, y]))


def unit(sheet: NDArray[np.uint8]) -> Field:
    """Return a drawn sheet as float32 in [0, 1]."""
    return np.asarray(sheet * np.float32(1 / 255), np.float32)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """Rise from 0 at `low` to 1 at `high`, smoothly; float32 in [0, 1]."""
    t = (values - np.float32(low)) * np.float32(1.0 / (high - low))
    np.clip(t, 0, 1, out=t)
    return np.asarray(t * t * (np.float32(3.0) - np.float32(2.0) * t), np.float32)


@dataclass(frozen=True)
class Canvas:
    """A square film and the place of the body on it.

    Parameters
    ----------
    side
        Pixels along an edge.
    centre
        Where body point (0, 0.5) lies, as fractions of the side (across, down).
    half_width, height
        Lengths of one body unit in x and in y, as fractions of the side.
    tilt
        Rotation of the body in the film's plane, radians.
    """

    side: int
    centre: tuple[float, float]
    half_width: float
    height: float
    tilt: float

    @property
    def scale(self) -> float:
        """Pixels of this film for one pixel of a film of side 224."""
        return self.side / _NATIVE_SIDE

    @cached_property
    def _matrix(self) -> Points:
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        turn = np.array([[c, -s], [s, c]])
        return turn @ np.diag([self.half_width, self.height]) * self.side

    def pixels(self, points: Points) -> Points:
        """Return (..., 2) body points as pixel coordinates (column, row)."""
        origin = np.array(self.centre) * self.side - 0.5
        m, x, y = self._matrix, points[..., 0], points[..., 1] - 0.5
        placed = np.empty(points.shape)
        placed[..., 0] = m[0, 0] * x + m[0, 1] * y + origin[0]
        placed[..., 1] = m[1, 0] * x + m[1, 1] * y + origin[1]
        return placed

    @cached_property
    def body_xy(self) -> tuple[Field, Field]:
        """The body coordinates of every pixel: two (side, side) float32 arrays."""
        inverse = np.linalg.inv(self._matrix)
        origin = np.array(self.centre) * self.side - 0.5
        line = np.arange(self.side)
        columns, rows = line - origin[0], line - origin[1]
        x = inverse[0, 0] * columns[None, :] + inverse[0, 1] * rows[:, None]
        y = inverse[1, 0] * columns[None, :] + inverse[1, 1] * rows[:, None] + 0.5
        return x.astype(np.float32), y.astype(np.float32)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.round(self.pixels(points) * (1 << _SHIFT)).astype(np.int32)

    def blank(self) -> NDArray[np.uint8]:
        """Return a black sheet, (side, side) uint8."""
        return np.zeros((self.side, self.side), np.uint8)

    def fill(self, *outlines: Points, soft: float = 0.0) -> Field:
        """Fill closed outlines.

        Parameters
        ----------
        outlines
            (N, 2) body points each, or (M, N, 2) for several at once.
        soft
            Standard deviation of a Gaussian over the edge, in pixels of a 224 film.

        Returns
        -------
        Field
            (side, side) float32 in [0, 1].
        """
        sheet = self.blank()
        for outline in outlines:
            fixed = self._fixed(outline)
            for shape in fixed if fixed.ndim == 3 else fixed[None]:
                cv2.fillPoly(sheet, [shape], 255, cv2.LINE_AA, _SHIFT)
        return self.softened(unit(sheet), soft)

    def stroke(
        self,
        lines: Sequence[Points] | Points,
        width: float = 1.0,
        strength: float = 1.0,
        sheet: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Draw open lines with a pen.

        Parameters
        ----------
        lines
            (N, 2) body points each; lines of equal length are drawn faster as one (M, N, 2) array.
        width
            Pen width in pixels of a 224 film.
        strength
            Grey of the line, in [0, 1] of 255.
        sheet
            What to draw upon; a new black sheet if not given.
        """
        sheet = self.blank() if sheet is None else sheet
        pen = max(1, round(width * self.scale))
        grey = round(255 * strength)
        whole = isinstance(lines, np.ndarray)
        fixed = (
            list(self._fixed(np.asarray(lines))) if whole else [self._fixed(line) for line in lines]
        )
        cv2.polylines(sheet, fixed, False, grey, pen, cv2.LINE_AA, _SHIFT)
        return sheet

    def softened(self, field: Field, soft: float) -> Field:
        """Blur a field by `soft` pixels of a 224 film; wide blurs are made on a smaller copy."""
        sigma = soft * self.scale
        if sigma < 0.3:
            return field
        if sigma < 5:
            return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
        shrink = 1 << int(np.log2(sigma / 1.6))
        small = max(8, self.side // shrink)
        less = cv2.resize(field, (small, small), interpolation=cv2.INTER_AREA)
        less = cv2.GaussianBlur(less, (0, 0), sigma * small / self.side)
        return self.enlarged(np.asarray(less, np.float32))

    def enlarged(self, coarse: Field) -> Field:
        """Stretch a coarse field over the film (cubic)."""
        size = (self.side, self.side)
        return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)
