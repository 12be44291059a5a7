"""Whom a phantom film shows: a body's proportions, and the outlines of what lies in its chest.

All outlines are in body coordinates (see `canvas`), the patient's right at negative x. The ribs are
rings on an elliptic chest, each in a plane that falls towards the front: their projection gives the
lattice of nearly level posterior and steep anterior ribs of a frontal film.
"""

from dataclasses import dataclass

import numpy as np

from cxrlens.collections.phantom.canvas import Points, mirrored, rounded

RIBS = 11


@dataclass(frozen=True)
class Body:
    """A patient's lasting proportions, in body units unless said otherwise.

    Parameters
    ----------
    age
        Years.
    sex
        "F" or "M".
    heart
        Cardiothoracic ratio on a PA film.
    squareness
        Exponent of the chest's cross-section; smaller is boxier.
    dome
        How fast the chest widens below the apices (exponent).
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
    branches
        Seed of the lungs' vessels.
    """

    age: int
    sex: str
    heart: float
    squareness: float
    dome: float
    rib_drop: float
    rib_gap: float
    rib_width: float
    shoulder: float
    flesh: float
    breast: float
    bone: float
    knob: float
    branches: int


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a patient: one in five a child, otherwise a grown-up of any age."""
    child = rng.random() < 0.2
    age = int(rng.integers(1, 13)) if child else int(np.clip(rng.normal(48, 19), 14, 92))
    sex = "F" if rng.random() < 0.47 else "M"
    stout = rng.normal()
    grown_woman = sex == "F" and age > 14
    heart = rng.normal(0.53 if age < 6 else 0.46, 0.035) + 0.0006 * max(age - 50, 0)
    return Body(
        age=age,
        sex=sex,
        heart=float(np.clip(heart + 0.012 * stout, 0.38, 0.62)),
        squareness=float(rng.uniform(0.62, 0.9)),
        dome=float(rng.uniform(2.0, 2.9)),
        rib_drop=float(rng.uniform(0.26, 0.36) if child else rng.uniform(0.30, 0.50)),
        rib_gap=float(rng.uniform(0.098, 0.118)),
        rib_width=float(rng.uniform(0.038, 0.052)),
        shoulder=float(rng.uniform(1.12, 1.25) if child else rng.uniform(1.25, 1.5)),
        flesh=float(np.clip(0.14 + 0.06 * stout + rng.normal(0, 0.02), 0.06, 0.4)),
        breast=float(np.clip(rng.normal(0.9, 0.35), 0.2, 1.6)) if grown_woman else 0.0,
        bone=float(rng.uniform(0.75, 1.25)),
        knob=float(np.clip(0.4 + 0.012 * (age - 30) + rng.normal(0, 0.25), 0, 1.3)),
        branches=int(rng.integers(2**31)),
    )


def chest_half_width(body: Body, y: Points) -> Points:
    """Give the x of the inner chest wall at heights `y`; 0 at the apex, 1 from 0.85 downwards."""
    t = np.clip(1 - y / 0.85, 0, 1)
    widest = (1 - t**body.dome) ** (1 / 2.1)
    return np.asarray(widest * (1 - 0.06 * np.clip(y - 0.9, 0, 1)))


def cavity(body: Body) -> Points:
    """Outline of the right half of the chest's inside, down to well below the diaphragm."""
    y = np.concatenate([0.85 * (1 - np.cos(np.linspace(0, np.pi / 2, 24))), [1.0, 1.15, 1.35]])
    wall = np.stack([-chest_half_width(body, y), y], axis=1)
    return np.vstack([wall, [[0.0, 1.35], [0.0, 0.0]]])


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
        (0.42, -0.20 - 0.3 * raised),
        (0.75, -0.12 - 0.7 * raised),
        (s - 0.05, -0.09 - raised),
        (s + 0.17, 0.03 - raised),
        (s + 0.16, 0.20),
        (max(f, 1.08) + 0.04, 0.38),
        (f, 0.62),
        (f - 0.01, 0.95),
        (f, 1.6),
    ]
    right = rounded(half, closed=False)
    return np.vstack([right, mirrored(right)[::-1]])


def arm(body: Body, raised: float, spread: float) -> Points:
    """Outline of the left upper arm; `spread` is the x of the elbow minus that of the shoulder."""
    top = np.array([body.shoulder + 0.02, 0.06 - raised])
    elbow = np.array([body.shoulder + spread, 1.25 - 1.6 * max(spread - 0.5, 0)])
    along = (elbow - top) / np.linalg.norm(elbow - top)
    across = np.array([-along[1], along[0]])
    w = 0.17 + 0.4 * body.flesh
    corners = [top + across * w - along * 0.1, elbow + across * w * 0.9]
    corners += [elbow - across * w * 0.9, top - across * w * 0.9 - along * 0.05]
    return np.stack(corners)


def humerus(body: Body, raised: float, spread: float) -> tuple[Points, Points]:
    """Outlines of the left humeral head and shaft."""
    top = np.array([body.shoulder + 0.02, 0.05 - raised])
    elbow = np.array([body.shoulder + spread, 1.25 - 1.6 * max(spread - 0.5, 0)])
    along = (elbow - top) / np.linalg.norm(elbow - top)
    across = np.array([-along[1], along[0]])
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    head = top + np.stack([0.12 * np.cos(turn), 0.085 * np.sin(turn)], axis=1)
    w = 0.055
    shaft = np.stack([top + across * w, elbow + across * w, elbow - across * w, top - across * w])
    return head, shaft


def clavicle(body: Body, raised: float) -> Points:
    """Centre line of the left clavicle, from the sternum outwards."""
    s = body.shoulder
    line = [
        (0.11, 0.155),
        (0.30, 0.115 - 0.1 * raised),
        (0.55, 0.035 - 0.45 * raised),
        (0.80, -0.005 - 0.8 * raised),
        (s - 0.05, -0.02 - raised),
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
            (-0.15, 0.02),
            (-0.155, 0.2),
            (-0.17, 0.38),
            (-0.19, 0.5),
            (-0.88 * right, 0.62),
            (-right, 0.76),
            (-0.93 * right, 0.9),
            (-0.72 * right, low + 0.05),
            (0.2 * left, low + 0.12),
            (0.72 * left, low + 0.06),
            (0.98 * left, 0.92),
            (0.93 * left, 0.80),
            (0.72 * left, 0.64),
            (0.25 + 0.05 * ratio, 0.50),
            (0.205, 0.42),
            (0.19, 0.37),
            (knob, 0.31),
            (knob - 0.01, 0.25),
            (0.165, 0.18),
            (0.15, 0.02),
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
    r, l = rise
    return np.vstack(
        [
            rounded(
                [
                    (-1.35, r + bulge * 1.6),
                    (-1.02, r + bulge * 1.05),
                    (-0.86, r + bulge * 0.5),
                    (-0.66, r + bulge * 0.1),
                    (-0.45, r),
                    (-0.2, r + bulge * 0.18),
                    (0.0, (r + l) / 2 + bulge * 0.3),
                    (0.22, l + bulge * 0.2),
                    (0.45, l),
                    (0.68, l + bulge * 0.12),
                    (0.87, l + bulge * 0.52),
                    (1.02, l + bulge * 1.05),
                    (1.35, l + bulge * 1.6),
                ],
                closed=False,
            ),
            [[1.6, 2.2], [-1.6, 2.2]],
        ]
    )


def rib_bands(body: Body, turned: float) -> tuple[Points, Points, Points, Points]:
    """Give every rib as a band: (upper, lower) edges of the posterior, then of the anterior parts.

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
    reach = chest_half_width(body, start + 0.52 * drop + 0.03)
    halves = []
    for angles in (np.linspace(0.13, 1.72, 22), np.linspace(1.5, 2.62, 16)):
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


def vessels(body: Body) -> list[tuple[float, float, list[Points]]]:
    """Grow the pulmonary vessels of both lungs from the hila.

    Returns
    -------
    list
        (pen width in pixels of a 224 film, strength in [0, 1], lines), thick branches first.
    """
    rng = np.random.default_rng(body.branches)
    levels: list[tuple[float, float, list[Points]]] = []
    roots, headings, lengths = [], [], []
    for sign in (-1.0, 1.0):
        fan = np.linspace(-1.25, 1.45, 9) + rng.normal(0, 0.12, 9)
        roots.append(np.stack([sign * (0.2 + 0.05 * np.cos(fan)), 0.47 + 0.07 * fan], axis=1))
        headings.append(np.stack([sign * np.cos(fan), np.sin(fan)], axis=1))
        lengths.append(rng.uniform(0.2, 0.36, 9))
    root, heading, length = (np.concatenate(a) for a in (roots, headings, lengths))
    for width, strength in ((3.0, 1.0), (2.0, 0.8), (1.0, 0.75), (1.0, 0.45)):
        t = np.linspace(0, 1, 6)
        bend = rng.normal(0, 0.12, len(root))[:, None, None]
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)[:, None]
        run = length[:, None, None]
        line = root[:, None] + run * (t[:, None] * heading[:, None] + bend * t[:, None] ** 2 * side)
        levels.append((width, strength, list(line)))
        at = rng.integers(3, 6, (len(root), 2))
        at[:, 0] = 5
        rows = np.repeat(np.arange(len(root)), 2)
        root = line[rows, at.ravel()]
        angle = (
            rng.uniform(0.15, 0.6, at.shape) * rng.choice([-1, 1], (len(at), 1)) * [1, -1]
        ).ravel()
        c, s = np.cos(angle), np.sin(angle)
        h = heading[rows]
        heading = np.stack([c * h[:, 0] - s * h[:, 1], s * h[:, 0] + c * h[:, 1]], axis=1)
        length = length[rows] * rng.uniform(0.5, 0.85, len(rows))
    return levels
