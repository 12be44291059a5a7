"""The body of a phantom film: tissue by tissue a field of attenuation, and its disease."""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from cxrlens.phantoms import anatomy
from cxrlens.phantoms.anatomy import (
    Body,
    Canvas,
    Field,
    Points,
    mirrored,
    moved,
    ring,
    rounded,
    smoothstep,
    unit,
)
from cxrlens.phantoms.exposure import Exposure
from cxrlens.radiographs.grey import Mask


class Scene(NamedTuple):
    """A body without disease, (side, side) float32 fields.

    Parameters
    ----------
    body
        Attenuation of everything but the lungs' vessels.
    vessels
        Attenuation of the lungs' vessels and markings, which consolidation hides.
    lungs
        Lung seen beside heart and above diaphragm, in [0, 1].
    """

    body: Field
    vessels: Field
    lungs: Field


def draw_scene(canvas: Canvas, body: Body, e: Exposure) -> Scene:
    """Draw a healthy body as exposed."""
    rng = np.random.default_rng(body.branches + 1)
    chest = canvas.fill(anatomy.cavity(body), mirrored(anatomy.cavity(body)))
    below = canvas.fill(anatomy.abdomen(e.rise, e.bulge), soft=0.7)
    heart = canvas.fill(moved(anatomy.heart(body, e.enlarged, e.rise[0]), 0.6 * e.turned), soft=1.3)
    air = chest * (1 - below)
    lungs = air * (1 - heart)
    total = _flesh(canvas, body, e)
    # A little lung lies behind heart and diaphragm.
    gas = chest * (1 - np.float32(0.93) * below) * (1 - np.float32(0.9) * heart)
    total -= np.float32(e.lucency) * canvas.softened(
        gas * _chord(chest, 0.035 * canvas.side, 0.55), 0.6
    )
    _, y = canvas.body_xy
    thick = smoothstep(y, 0.0, 0.6) * (0.3 + 0.7 * _chord(heart, 0.12 * canvas.side))
    total += 0.13 * canvas.softened(heart * thick, 2.0) * (1 - below)
    total += _belly(canvas, body, e, below)
    total += _bones(canvas, body, e) * (1 - 0.45 * heart - 0.5 * below)
    total -= _airways(canvas, e)
    if body.breast > 0:
        total += _breasts(canvas, body)
    return Scene(total, _markings(canvas, body, rng) * lungs, lungs)


def _chord(mask: Field, reach: float, floor: float = 0.0) -> Field:
    """Thickness of a rounded body with this shadow.

    It is `floor` at the edge and 1 from `reach` pixels inwards.
    """
    far = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    t = 1 - np.minimum(far * np.float32(1 / reach), 1)
    thick = cv2.sqrt(np.maximum(1 - t * t, 0))
    return np.asarray(floor + (1 - floor) * thick, np.float32)


def _flesh(canvas: Canvas, body: Body, e: Exposure) -> Field:
    _, y = canvas.body_xy
    trunk = canvas.fill(anatomy.trunk(body, e.raised))
    arm = anatomy.arm(body, e.raised, e.spread)
    limb = canvas.fill(arm, mirrored(arm))
    total = 0.64 * canvas.softened(_chord(trunk, 0.2 * canvas.side), 1.0)
    total += 0.36 * canvas.softened(_chord(limb, 0.09 * canvas.side), 0.8) * (1 - 0.5 * trunk)
    total *= 0.92 + 0.1 * np.clip(y, -0.5, 1.5)
    return np.asarray(total, np.float32)


def _belly(canvas: Canvas, body: Body, e: Exposure, below: Field) -> Field:
    x, y = canvas.body_xy
    within = 1 - smoothstep(np.abs(x), 0.8, 1.05)
    deep = smoothstep(y - np.float32(e.rise[0]), -0.05, 0.3)
    belly = below * within * (0.16 + 0.14 * deep)
    rng = np.random.default_rng(e.seed + 1)
    left = e.rise[1]
    gases = []
    if e.stomach > 0:
        size = 0.4 + 0.6 * e.stomach
        bubble = ring(9, 0.2, 0.1)
        bubble *= size * rng.uniform(0.85, 1.15, (9, 1))
        if rng.random() < 0.4:
            bubble[:, 1] = np.minimum(bubble[:, 1], 0.02)
        gases.append(moved(rounded(bubble), 0.45, left + 0.09 + 0.08 * size))
    for _ in range(int(rng.integers(0, 5))):
        loop = ring(9, 1.0, 0.6)
        loop *= rng.uniform(0.03, 0.09) * rng.uniform(0.7, 1.3, (9, 1))
        gases.append(moved(rounded(loop), rng.uniform(0.25, 0.8), left + rng.uniform(0.22, 0.45)))
    gas = canvas.fill(*gases, soft=0.9) * below
    return np.asarray(belly - 0.22 * gas, np.float32)


def _airways(canvas: Canvas, e: Exposure) -> Field:
    x = e.turned * 0.4
    trachea = rounded(
        [(x + 0.01, -0.7), (x, -0.2), (x - 0.005, 0.1), (x - 0.02, 0.3), (x - 0.015, 0.39)], False
    )
    right = rounded([(x - 0.02, 0.38), (x - 0.1, 0.44), (x - 0.17, 0.5)], False)
    left = rounded([(x - 0.01, 0.38), (x + 0.1, 0.455), (x + 0.19, 0.49)], False)
    sheet = canvas.stroke([trachea], 8.0)
    sheet = canvas.stroke([right, left], 5.0, 0.8, sheet)
    return 0.085 * canvas.softened(unit(sheet), 1.4)


def _breasts(canvas: Canvas, body: Body) -> Field:
    size = body.breast
    round_ = ring(30, 0.34 + 0.1 * size, 0.2 + 0.07 * size)
    round_[:, 1] *= np.where(round_[:, 1] < 0, 1.7, 1.0)
    one = moved(round_, 0.66, 0.66 + 0.1 * size)
    shape = canvas.fill(one, mirrored(one))
    return np.asarray(
        0.09 * size * canvas.softened(_chord(shape, 0.13 * canvas.side), 1.2), np.float32
    )


def _markings(canvas: Canvas, body: Body, rng: np.random.Generator) -> Field:
    """Vessels, hila and the fine net between them."""
    tree = canvas.blank()
    for width, strength, lines in anatomy.vessels(body):
        canvas.stroke(lines, width, strength, tree)
    branches = unit(tree)
    x, y = replace(canvas, side=56).body_xy  # smooth enough to be computed coarsely
    away = (np.abs(x) - np.float32(0.2)) ** 2 + (np.float32(1.4) * (y - np.float32(0.49))) ** 2
    near = canvas.enlarged(np.exp(-away * np.float32(1 / 0.18)))
    hilum = canvas.enlarged(np.exp(-away * np.float32(1 / 0.016)))
    net = canvas.enlarged(rng.standard_normal((80, 80), np.float32))
    net += 0.7 * canvas.enlarged(rng.standard_normal((36, 36), np.float32))
    fine = canvas.softened(branches, 0.6) + 0.8 * canvas.softened(branches, 2.5)
    markings = fine * (0.025 + 0.075 * near) + 0.10 * hilum + 0.008 * net
    return np.asarray(markings, np.float32)


def _bones(canvas: Canvas, body: Body, e: Exposure) -> Field:
    bones = _ribs(canvas, body, e) + _spine(canvas, body, e)
    collar = anatomy.clavicle(body, e.raised)
    along = np.gradient(collar, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across *= np.linspace(0.034, 0.024, len(collar))[:, None]
    outline = np.vstack([collar + across, (collar - across)[::-1]])
    both = [moved(outline, e.turned), moved(mirrored(outline), e.turned)]
    blade = anatomy.scapula(body, e.raised, e.inward)
    blades = [blade, mirrored(blade)]
    head, shaft = anatomy.humerus(body, e.raised, e.spread)
    bones += 0.10 * canvas.fill(*both, soft=0.7)
    bones += 0.035 * canvas.fill(*blades, soft=1.0)
    bones += 0.10 * canvas.fill(head, mirrored(head), shaft, mirrored(shaft), soft=0.9)
    rims = canvas.stroke([o for c in both for o in np.split(c, 2)], 1.0, 0.9)
    canvas.stroke(blades, 1.0, 0.5, rims)
    canvas.stroke([shaft[[0, 1]], shaft[[2, 3]]], 1.0, 0.8, rims)
    canvas.stroke([mirrored(shaft[[0, 1]]), mirrored(shaft[[2, 3]])], 1.0, 0.8, rims)
    bones += 0.055 * canvas.softened(unit(rims), 0.6)
    return np.asarray(body.bone * bones, np.float32)


def _ribs(canvas: Canvas, body: Body, e: Exposure) -> Field:
    x, _ = canvas.body_xy
    upper, lower, front_upper, front_lower = anatomy.rib_bands(body, e.turned)
    back = canvas.fill(np.concatenate([upper, lower[:, ::-1]], axis=1), soft=0.6)
    front = canvas.fill(np.concatenate([front_upper, front_lower[:, ::-1]], axis=1), soft=0.8)
    edges = canvas.stroke(upper, 1.0, 0.55)
    canvas.stroke(np.concatenate([front_upper[:, :-1], front_lower[:, :-1]]), 1.0, 0.45, edges)
    canvas.stroke(lower, 1.0, 1.0, edges)
    rim = canvas.softened(unit(edges), 0.55)
    lateral = np.abs(x)
    ribs = (0.07 * back + 0.04 * front + 0.06 * rim) * (0.8 + 0.8 * smoothstep(lateral, 0.7, 1.0))
    if body.cartilage > 0:
        ribs += _cartilage(canvas, body, (front_upper[:, -1] + front_lower[:, -1]) / 2)
    return np.asarray(ribs * smoothstep(lateral, 0.06, 0.16), np.float32)


def _cartilage(canvas: Canvas, body: Body, ends: Points) -> Field:
    """Calcified spots where the bony ribs end in front."""
    rng = np.random.default_rng(body.branches + 2)
    dot = ring(8, 1.0, 0.6) * 0.014
    towards = -np.sign(ends[:, None, :1]) * np.array([1.0, -0.3])
    away = rng.uniform(0.0, 0.12, (len(ends), 3, 1)) * towards
    at = (ends[:, None] + away + rng.normal(0, 0.012, (len(ends), 3, 2))).reshape(-1, 1, 2)
    spots = dot * rng.uniform(0.5, 1.4, (len(at), 1, 1)) + at
    return 0.07 * body.cartilage * canvas.fill(spots, soft=0.8)


def _spine(canvas: Canvas, body: Body, e: Exposure) -> Field:
    x, y = canvas.body_xy
    across = x + np.float32(e.turned)
    phase = (y + np.float32(0.105)) * np.float32(2 * np.pi / body.rib_gap)
    column = 1 - smoothstep(np.abs(across), 0.08, 0.15)
    disc = smoothstep(np.cos(phase), 0.5, 1.0)
    level = -0.105 + body.rib_gap * (np.arange(-4, anatomy.RIBS + 3) + 0.45)
    oval, drop = ring(10, 0.02, 0.02), ring(10, 0.014, 0.028)
    at = np.stack([np.full_like(level, -e.turned), level], axis=1)[:, None]
    pedicles = [moved(oval + at, s * 0.065) for s in (-1, 1)]
    bright = canvas.fill(*pedicles, moved(drop + at, -0.6 * e.turned, 0.03), soft=0.9)
    return np.asarray(0.10 * column * (1 - 0.35 * disc) + 0.05 * bright, np.float32)


Bell = tuple[float, float, float, float]
"""A soft hill in body coordinates: x and y of its top, half width, half height."""

_MASK_AT = 0.3  # share of full opacity that counts as lesion
_COARSE_SIDE = 56  # soft shapes are computed on a sheet of this side, then stretched over the film
_HALO = 16.0  # pixels of a 224 film over which an opacity's mean brightness is taken back


_SMALLEST = 0.006  # share of the film that visible lesions cover at least
_ATTEMPTS = 12


class Lesions(NamedTuple):
    """Disease in one film.

    Parameters
    ----------
    density
        Attenuation added, (side, side) float32; negative where tissue is lost (cavities).
    filled
        Share of the air replaced, (side, side) float32 in [0, 1]: vessels vanish there.
    mask
        (side, side) bool: where an eye would draw the lesions' border, cavities included.
    """

    density: Field
    filled: Field
    mask: Mask


_Drawn = tuple[Field, Field, Field]
"""Opacity, air filled and extent before heart and diaphragm hide a part of them; see `Lesions`."""


def draw_lesions(rng: np.random.Generator, label: str, canvas: Canvas, lungs: Field) -> Lesions:
    """Draw the lesions of a class.

    Parameters
    ----------
    rng
        Used for nothing else, so that the rest of the film does not depend on the label.
    label
        "normal", "pneumonia" or "tuberculosis".
    canvas
        Where the body lies.
    lungs
        Visible lung, (side, side) float32 in [0, 1].

    Returns
    -------
    Lesions
        Empty for a normal film. Otherwise lesions are drawn again, a few times, as long as heart and
        diaphragm hide nearly all of them.
    """
    if label == "normal":
        empty = np.zeros((canvas.side, canvas.side), np.float32)
        return Lesions(empty, empty, empty > 0)
    draw = _pneumonia if label == "pneumonia" else _tuberculosis
    for _ in range(_ATTEMPTS):
        opacity, filled, extent = draw(rng, canvas)
        mask = extent * lungs > _MASK_AT
        if mask.mean() >= _SMALLEST:
            break
    opacity = opacity * lungs
    # A film's mean brightness says nothing of its class: lung around an opacity is a little darker.
    density = opacity - np.float32(0.8) * canvas.softened(opacity, _HALO) * lungs
    return Lesions(density, filled * lungs, mask)


def _mottle(rng: np.random.Generator, canvas: Canvas, grid: int) -> Field:
    return canvas.enlarged(rng.standard_normal((grid, grid), np.float32))


def _bells(canvas: Canvas, places: list[Bell]) -> Field:
    """Return the largest of several bells at every pixel."""
    x, y = replace(canvas, side=_COARSE_SIDE).body_xy
    heights = [np.exp(-(((x - cx) / a) ** 2) - ((y - cy) / b) ** 2) for cx, cy, a, b in places]
    return canvas.enlarged(np.maximum.reduce(heights).astype(np.float32))


def _pneumonia(rng: np.random.Generator, canvas: Canvas) -> _Drawn:
    low, high = (0.60, 0.95) if rng.random() < 0.88 else (0.25, 0.55)
    side = float(rng.choice([-1.0, 1.0]))
    places: list[Bell] = []
    if rng.random() < 0.45:
        x, y = side * rng.uniform(0.4, 0.7), rng.uniform(low, high)
        places.append((x, y, rng.uniform(0.2, 0.3), rng.uniform(0.1, 0.17)))
    else:
        for flank in (side, -side)[: 1 + int(rng.random() < 0.45)]:
            x, y = flank * rng.uniform(0.4, 0.75), rng.uniform(low, high)
            for _ in range(int(rng.integers(2, 6))):
                size = rng.uniform(0.09, 0.19)
                at = rng.normal(0, (0.13, 0.075))
                places.append((x + at[0], y + at[1], size, rng.uniform(0.5, 0.8) * size))
    mottle = 0.6 * _mottle(rng, canvas, 22) + 0.4 * _mottle(rng, canvas, 44)
    filled = smoothstep(_bells(canvas, places) * (1 + np.float32(0.6) * mottle), 0.15, 1.2)
    air = canvas.softened(unit(canvas.stroke(_bronchi(rng, places), 1.0)), 0.9)
    opacity = np.float32(rng.uniform(0.20, 0.30)) * filled * (1 - np.float32(0.4) * air)
    return opacity, filled, filled


def _bronchi(rng: np.random.Generator, places: list[Bell]) -> list[Points]:
    """Return short forked lines that run outwards from the hilum through each consolidation."""
    lines = []
    t = np.linspace(-1, 1, 7)[:, None]
    for cx, cy, a, b in places:
        hilum = np.array([np.sign(cx) * 0.2, 0.48])
        centre = np.array([cx, cy])
        away = (centre - hilum) / max(float(np.linalg.norm(centre - hilum)), 1e-6)
        for turn in rng.normal(0, 0.45, 2 if a < 0.18 else 4):
            c, s = np.cos(turn), np.sin(turn)
            heading = np.array([c * away[0] - s * away[1], s * away[0] + c * away[1]])
            shift = rng.normal(0, 0.25, 2) * [a, b]
            lines.append(centre + shift + t * heading * [a, b])
    return lines


def _tuberculosis(rng: np.random.Generator, canvas: Canvas) -> _Drawn:
    low, high = (0.14, 0.34) if rng.random() < 0.9 else (0.45, 0.7)
    side = float(rng.choice([-1.0, 1.0]))
    centres = [(side * rng.uniform(0.35, 0.6), rng.uniform(low, high))]
    if rng.random() < 0.4:
        centres.append((-side * rng.uniform(0.35, 0.6), rng.uniform(0.14, 0.34)))
    spots = canvas.softened(_nodules(rng, canvas, centres), 0.7)
    streaks = canvas.softened(unit(canvas.stroke(_streaks(rng, centres), 1.0, 0.55)), 0.6)
    bells = _bells(canvas, [(x, y, 0.2, 0.12) for x, y in centres])
    haze = smoothstep(bells * (1 + np.float32(0.45) * _mottle(rng, canvas, 60)), 0.3, 1.2)
    opacity = np.float32(rng.uniform(0.17, 0.26)) * np.maximum(spots, streaks)
    opacity += np.float32(0.07) * haze
    extent = np.maximum(np.maximum(spots, streaks), np.float32(0.55) * haze)
    if rng.random() < 0.5:
        x, y = centres[0][0] + rng.normal(0, 0.05), centres[0][1] + rng.normal(0, 0.04)
        shell, whole = _cavity(rng, canvas, x, y)
        opacity, extent = opacity + shell, np.maximum(extent, whole)
    return opacity, np.float32(0.5) * haze, extent


def _nodules(rng: np.random.Generator, canvas: Canvas, centres: list[tuple[float, float]]) -> Field:
    sheet = canvas.blank()
    counts = [int(rng.integers(6, 16)) for _ in centres]
    where = np.vstack(
        [rng.normal(c, (0.13, 0.085), (n, 2)) for c, n in zip(centres, counts, strict=True)]
    )
    radii = rng.uniform(1.2, 3.4, len(where)) * canvas.scale
    greys = rng.uniform(0.5, 1.0, len(where))
    for (x, y), radius, grey in zip(canvas.pixels(where), radii, greys, strict=True):
        centre = (round(x * 16), round(y * 16))
        cv2.circle(sheet, centre, round(radius * 16), round(255 * grey), -1, cv2.LINE_AA, 4)
    return unit(sheet)


def _streaks(rng: np.random.Generator, centres: list[tuple[float, float]]) -> list[Points]:
    lines = []
    t = np.linspace(0, 1, 6)[:, None]
    for x, y in centres:
        for _ in range(int(rng.integers(4, 9))):
            start = np.array([x, y]) + rng.normal(0, [0.14, 0.09])
            end = start + (np.array([np.sign(x) * 0.22, 0.45]) - start) * rng.uniform(0.3, 0.6)
            bend = rng.normal(0, 0.03, 2)
            lines.append(start + t * (end - start) + bend * t * (1 - t) * 4)
    return lines


def _cavity(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Field, Field]:
    """Return a cavity's attenuation (wall dense, inside lucent) and its whole extent."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    first, second = rng.uniform(0, 6, 2)
    wobble = 1 + 0.1 * np.sin(2 * turn + first) + 0.06 * np.sin(3 * turn + second)
    border = ring(24, 1.0, 0.62) * wobble[:, None]
    radius, wall = rng.uniform(0.07, 0.14), rng.uniform(0.03, 0.05)
    off = rng.normal(0, 0.2 * wall, 2)
    outer = canvas.fill(moved(border * (radius + wall), x, y), soft=1.1)
    inner = canvas.fill(moved(border * radius, x + off[0], y + off[1]), soft=0.7)
    rough = 1 + np.float32(0.25) * _mottle(rng, canvas, 44)
    shell = np.float32(rng.uniform(0.13, 0.2)) * np.maximum(outer - inner, 0) * rough
    return shell - np.float32(0.04) * inner, outer
