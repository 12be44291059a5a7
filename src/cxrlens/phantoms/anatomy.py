"""A chest drawn: shapes in body coordinates on a square of pixels, and the organs made of them.

Body coordinates do not know the film: x runs from −1 to 1 between the inner chest walls (negative is the
patient's right, the left of the picture), y from 0 at the apices down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.radiographs.grey import Film

Points = NDArray[np.float64]
Field = NDArray[np.float32]

_SHIFT = 4  # fractional bits of the fixed-point coordinates that OpenCV draws with
_NATIVE_SIDE = 224.0  # softness and pen widths are given in pixels of a film of this side


_T = np.linspace(0.0, 1.0, 6, endpoint=False)[:, None]
_WEIGHTS = np.hstack(
    [
        -0.5 * _T + _T**2 - 0.5 * _T**3,
        1 - 2.5 * _T**2 + 1.5 * _T**3,
        0.5 * _T + 2 * _T**2 - 1.5 * _T**3,
        -0.5 * _T**2 + 0.5 * _T**3,
    ]
)
"""Weights of four points in turn on the way from the second to the third."""


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


def unit(sheet: Film) -> Field:
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
        column = m[0, 0] * x + m[0, 1] * y + origin[0]
        return np.stack([column, m[1, 0] * x + m[1, 1] * y + origin[1]], axis=-1)

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

    def blank(self) -> Film:
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
        sheet: Film | None = None,
    ) -> Film:
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
        fixed = self._fixed(lines) if isinstance(lines, np.ndarray) else map(self._fixed, lines)
        cv2.polylines(sheet, list(fixed), False, grey, pen, cv2.LINE_AA, _SHIFT)
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


RIBS = 11


class Body:
    """A patient's lasting proportions, drawn: one in five a child, otherwise a grown-up of any age.

    In body units unless said otherwise.

    Attributes
    ----------
    age
        Years.
    sex
        "F" or "M".
    heart
        Cardiothoracic ratio on a PA film.
    squareness
        Exponent of the chest's cross-section; smaller is boxier.
    narrow
        How much narrower than 1 the chest is at the height of the arm pits.
    rib_drop, rib_gap, rib_width
        Fall of the fifth rib from spine to front, distance of two ribs at the spine, a rib's width.
    shoulder
        x of the shoulder joint.
    flesh
        Thickness of the soft tissue beside the ribs.
    breast
        Size of the breast shadows, 0 for none.
    bone
        Brightness of bones, about 1.
    knob
        Prominence of the aortic knob.
    slant
        0 for a heart with a bulging left border, 0.3 for a slim one.
    cartilage
        Calcification of the ribs' cartilage, 0 to 1.
    branches
        Seed of the lungs' vessels.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        child = rng.random() < 0.2
        self.age = int(rng.integers(1, 13)) if child else int(np.clip(rng.normal(48, 19), 14, 92))
        self.sex = "F" if rng.random() < 0.47 else "M"
        stout = rng.normal()
        heart = rng.normal(0.53 if self.age < 6 else 0.46, 0.035) + 0.0006 * max(self.age - 50, 0)
        self.heart = float(np.clip(heart + 0.012 * stout, 0.38, 0.62))
        self.squareness = rng.uniform(0.62, 0.9)
        self.narrow = rng.uniform(0.06, 0.2)
        self.rib_drop = rng.uniform(0.26, 0.36) if child else rng.uniform(0.30, 0.50)
        self.rib_gap = rng.uniform(0.1, 0.118)
        self.rib_width = rng.uniform(0.042, 0.058)
        self.shoulder = rng.uniform(1.12, 1.25) if child else rng.uniform(1.25, 1.5)
        self.flesh = float(np.clip(0.14 + 0.06 * stout + rng.normal(0, 0.02), 0.06, 0.4))
        grown_woman = self.sex == "F" and self.age > 14
        self.breast = float(np.clip(rng.normal(0.9, 0.35), 0.2, 1.6)) if grown_woman else 0.0
        self.bone = rng.uniform(0.75, 1.25)
        self.knob = float(np.clip(0.4 + 0.012 * (self.age - 30) + rng.normal(0, 0.25), 0, 1.3))
        self.slant = rng.uniform(0.0, 0.3)
        self.cartilage = float(np.clip(rng.normal(0.012 * (self.age - 40), 0.25), 0, 1))
        self.branches = int(rng.integers(2**31))


def _wall(body: Body) -> Points:
    """Points of the left lateral chest wall, from the apex downwards."""
    n = body.narrow
    return np.array(
        [
            (0.43, 0.0),
            (0.60, 0.028),
            (0.735 - 0.3 * n, 0.10),
            (0.86 - 0.7 * n, 0.22),
            (0.955 - 0.85 * n, 0.40),
            (0.995 - 0.5 * n, 0.60),
            (1.0, 0.82),
            (0.985, 1.0),
            (0.95, 1.15),
            (0.90, 1.4),
        ]
    )


def chest_half_width(body: Body, y: Points) -> Points:
    """Return the x of the lateral chest wall at heights `y`, in body units."""
    wall = _wall(body)
    return np.interp(y, wall[:, 1], wall[:, 0])


def cavity(body: Body) -> Points:
    """Outline of the left half of the chest's inside, down to well below the diaphragm."""
    medial = [(0.02, 1.4), (0.02, 0.35), (0.13, 0.16), (0.22, 0.055), (0.32, 0.008)]
    return rounded(np.vstack([_wall(body), medial]))


def trunk(body: Body, raised: float) -> Points:
    """Outline of neck, shoulders and trunk without arms.

    Parameters
    ----------
    raised
        How far the shoulders are drawn up, in body units.
    """
    s, f = body.shoulder, 1 + body.flesh
    half = [
        (0.30, -0.70),
        (0.31, -0.36),
        (0.42, -0.22 - 0.3 * raised),
        (0.72, -0.13 - 0.7 * raised),
        (s - 0.12, -0.045 - raised),
        (s + 0.14, 0.06 - raised),
        (s + 0.17, 0.22),
        (max(f, 1.08) + 0.04, 0.38),
        (f, 0.62),
        (f - 0.01, 0.95),
        (f, 1.6),
    ]
    right = rounded(half, closed=False)
    return np.vstack([right, mirrored(right)[::-1]])


def _upper_arm(body: Body, top: float, spread: float) -> tuple[Points, Points, Points, Points]:
    """Return shoulder joint, elbow, and the directions along and across the arm."""
    joint = np.array([body.shoulder + 0.02, top])
    elbow = np.array([body.shoulder + spread, 1.75 - 2.0 * max(spread - 0.5, 0)])
    along = (elbow - joint) / np.linalg.norm(elbow - joint)
    return joint, elbow, along, np.array([-along[1], along[0]])


def arm(body: Body, raised: float, spread: float) -> Points:
    """Outline of the left upper arm; `spread` is the x of the elbow minus that of the shoulder."""
    top, elbow, along, across = _upper_arm(body, 0.06 - raised, spread)
    w = 0.17 + 0.4 * body.flesh
    corners = [top + across * w - along * 0.1, elbow + across * w * 0.9]
    corners += [elbow - across * w * 0.9, top - across * w * 0.9 - along * 0.05]
    return np.stack(corners)


def humerus(body: Body, raised: float, spread: float) -> tuple[Points, Points]:
    """Outlines of the left humeral head and shaft."""
    top, elbow, _, across = _upper_arm(body, 0.05 - raised, spread)
    head = top + ring(20, 0.12, 0.085)
    w = 0.055
    shaft = np.stack([top + across * w, elbow + across * w, elbow - across * w, top - across * w])
    return head, shaft


def clavicle(body: Body, raised: float) -> Points:
    """Centre line of the left clavicle, from the sternum outwards."""
    s = body.shoulder
    line = [
        (0.11, 0.155),
        (0.30, 0.125 - 0.1 * raised),
        (0.52, 0.065 - 0.45 * raised),
        (0.76, 0.012 - 0.8 * raised),
        (s - 0.22, 0.012 - raised),
        (s - 0.06, 0.03 - raised),
    ]
    return rounded(line, closed=False)


def scapula(body: Body, raised: float, inward: float) -> Points:
    """Outline of the left shoulder blade; `inward` moves its inner border over the lung."""
    s = body.shoulder
    return rounded(
        [
            (s - 0.08, 0.02 - raised),
            (s - 0.42 - inward, -0.02 - 0.8 * raised),
            (s - 0.46 - inward, 0.16 - 0.5 * raised),
            (s - 0.30 - inward * 0.8, 0.50 - 0.4 * raised),
            (s - 0.22 - inward * 0.6, 0.52 - 0.4 * raised),
            (s - 0.10, 0.17 - raised),
        ]
    )


def heart(body: Body, enlarged: float, low: float) -> Points:
    """Outline of heart and great vessels.

    Parameters
    ----------
    enlarged
        Factor of the heart's breadth: above 1 on AP films.
    low
        y of the heart's floor.
    """
    ratio = min(body.heart * enlarged, 0.68)
    right, left = 0.62 * ratio, 1.38 * ratio
    knob = 0.19 + 0.07 * body.knob
    return rounded(
        [
            (-0.17, -0.1),
            (-0.155, 0.2),
            (-0.16, 0.38),
            (-0.175, 0.5),
            (-0.88 * right, 0.62),
            (-right, 0.76),
            (-0.95 * right, 0.9),
            (-0.85 * right, low + 0.05),
            (0.0, low + 0.25),
            (0.85 * left, low + 0.16),
            (0.99 * left, low),
            (left * (0.99 - 0.35 * body.slant), low - 0.11),
            (left * (0.83 - 0.55 * body.slant), low - 0.26),
            (0.24 + 0.1 * ratio, 0.52),
            (0.205, 0.42),
            (0.19, 0.37),
            (knob, 0.31),
            (knob - 0.01, 0.25),
            (0.155, 0.17),
            (0.17, -0.1),
        ]
    )


def abdomen(rise: tuple[float, float], bulge: float) -> Points:
    """Outline of everything below the diaphragm.

    Parameters
    ----------
    rise
        y of the right and the left dome.
    bulge
        How much higher a dome stands than its costophrenic angle, in body units.
    """
    right, left = rise
    return np.vstack(
        [
            rounded(
                [
                    (-1.35, right + bulge * 1.6),
                    (-1.02, right + bulge * 1.05),
                    (-0.86, right + bulge * 0.5),
                    (-0.66, right + bulge * 0.1),
                    (-0.45, right),
                    (-0.2, right + bulge * 0.18),
                    (0.0, (right + left) / 2 + bulge * 0.3),
                    (0.22, left + bulge * 0.2),
                    (0.45, left),
                    (0.68, left + bulge * 0.12),
                    (0.87, left + bulge * 0.52),
                    (1.02, left + bulge * 1.05),
                    (1.35, left + bulge * 1.6),
                ],
                closed=False,
            ),
            [[1.6, 2.2], [-1.6, 2.2]],
        ]
    )


def rib_bands(body: Body, turned: float) -> tuple[Points, Points, Points, Points]:
    """Return every rib as a band: (upper, lower) edges of the posterior, then of the anterior parts.

    Parameters
    ----------
    turned
        Rotation about the long axis: the front moves by it to positive x, the back to negative.

    Returns
    -------
    tuple of Points
        Four arrays (2 RIBS, N, 2): the patient's right ribs first, then the left.
    """
    k = np.arange(RIBS, dtype=np.float64)
    start = -0.105 + body.rib_gap * k
    drop = body.rib_drop * (0.62 + 0.38 * np.minimum(k, 6) / 4.0)
    reach = chest_half_width(body, start + 0.52 * drop) + 0.012
    halves = []
    for angles in (np.linspace(0.03, 1.72, 24), np.linspace(1.5, 2.62, 16)):
        depth = np.cos(angles)
        x = reach[:, None] * np.sin(angles) ** body.squareness
        y = start[:, None] + drop[:, None] * (1 - depth) / 2
        y -= 0.012 * np.sin(np.clip(angles * 2.2, 0, np.pi))
        line = np.stack([x, y], axis=-1)
        along = np.gradient(line, axis=1)
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
        taper = 0.5 * body.rib_width * (1 - 0.25 * np.abs(depth))[:, None]
        upper, lower = line - across * taper, line + across * taper
        shift = np.stack([-turned * depth, np.zeros_like(depth)], axis=-1)
        halves += [np.concatenate([mirrored(e), e]) + shift for e in (upper, lower)]
    return halves[0], halves[1], halves[2], halves[3]


def vessels(body: Body) -> list[tuple[float, float, Points]]:
    """Grow the pulmonary vessels of both lungs from the hila.

    Returns
    -------
    list
        (pen width in pixels of a 224 film, strength in [0, 1], (M, N, 2) lines), faint ones first.
    """
    rng = np.random.default_rng(body.branches)
    roots, headings, lengths = [], [], []
    for sign in (-1.0, 1.0):
        fan = np.linspace(-1.25, 1.5, 9) + rng.normal(0, 0.13, 9)
        hilum = np.array([sign * 0.19, 0.485 + 0.02 * -sign])
        out = np.stack([sign * np.cos(fan), np.sin(fan)], axis=1)
        roots.append(hilum + out * [0.05, 0.07])
        headings.append(out)
        lengths.append(rng.uniform(0.22, 0.42, 9) * np.linspace(0.75, 1.1, 9))
    root, heading, length = (np.concatenate(a) for a in (roots, headings, lengths))
    isotropic = np.array([1.0, 0.62])  # a body unit is longer in y than in x
    t = np.linspace(0, 1, 7)[:, None]
    drawn: list[tuple[float, float, Points]] = []
    for thick, thin, strong, weak in (
        (2.6, 1.8, 1.0, 0.9),
        (1.6, 1.4, 0.85, 0.7),
        (1.0, 1.0, 0.75, 0.55),
        (1.0, 1.0, 0.45, 0.3),
    ):
        bend = rng.normal(0, 0.26, (len(root), 2))
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
        sway = bend[:, :1, None] * t**2 + bend[:, 1:, None] * t**3 * 0.6
        path = t * heading[:, None] + sway * side[:, None]
        line = root[:, None] + length[:, None, None] * isotropic * path
        drawn += [(thick, strong, line[:, :4]), (thin, weak, line[:, 3:])]
        end = path[:, -1] - path[:, -2]
        end /= np.linalg.norm(end, axis=1, keepdims=True)
        rows = np.repeat(np.arange(len(root)), 2)
        at = np.stack([np.full(len(root), 6), rng.integers(2, 6, len(root))], axis=1).ravel()
        angle = rng.uniform(0.15, 0.75, (len(root), 2)) * rng.choice([-1, 1], (len(root), 1))
        angle = (angle * [1, -1]).ravel()
        c, s = np.cos(angle), np.sin(angle)
        h = end[rows]
        root = line[rows, at]
        heading = np.stack([c * h[:, 0] - s * h[:, 1], s * h[:, 0] + c * h[:, 1]], axis=1)
        length = length[rows] * rng.uniform(0.5, 0.85, len(rows))
    return sorted(drawn, key=lambda level: level[1])
