"""The patient on a phantom film: a body's proportions, and the outlines of what lies in its chest.

All outlines are in body coordinates (see `canvas`), the patient's right at negative x. The ribs are
rings on an elliptic chest, each in a plane that falls towards the front: their projection gives the
lattice of nearly level posterior and steep anterior ribs of a frontal film.
"""

from dataclasses import dataclass

import numpy as np

from cxrlens.phantoms.canvas import Points, mirrored, ring, rounded

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

    age: int
    sex: str
    heart: float
    squareness: float
    narrow: float
    rib_drop: float
    rib_gap: float
    rib_width: float
    shoulder: float
    flesh: float
    breast: float
    bone: float
    knob: float
    slant: float
    cartilage: float
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
        narrow=float(rng.uniform(0.06, 0.2)),
        rib_drop=float(rng.uniform(0.26, 0.36) if child else rng.uniform(0.30, 0.50)),
        rib_gap=float(rng.uniform(0.1, 0.118)),
        rib_width=float(rng.uniform(0.042, 0.058)),
        shoulder=float(rng.uniform(1.12, 1.25) if child else rng.uniform(1.25, 1.5)),
        flesh=float(np.clip(0.14 + 0.06 * stout + rng.normal(0, 0.02), 0.06, 0.4)),
        breast=float(np.clip(rng.normal(0.9, 0.35), 0.2, 1.6)) if grown_woman else 0.0,
        bone=float(rng.uniform(0.75, 1.25)),
        knob=float(np.clip(0.4 + 0.012 * (age - 30) + rng.normal(0, 0.25), 0, 1.3)),
        slant=float(rng.uniform(0.0, 0.3)),
        cartilage=float(np.clip(rng.normal(0.012 * (age - 40), 0.25), 0, 1)),
        branches=int(rng.integers(2**31)),
    )


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
