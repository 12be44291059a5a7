"""Drawings that are no frontal chest film, and films made into such, for fitting lungs and gate.

Each drawing takes a generator and gives a film of 224 pixels. Nothing here shows a patient: limbs,
skulls, bellies and slices are a few soft shapes, only so much that a network learns what two lung
fields are not. What the gate is tested on is drawn and packaged by others (`gate_pictures.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]
SIDE = 224


def _canvas(level: float) -> NDArray[np.float32]:
    return np.full((SIDE, SIDE), level, np.float32)


def _clouds(rng: np.random.Generator, coarse: float) -> NDArray[np.float32]:
    """Smooth noise with unit spread."""
    few = max(3, int(SIDE / coarse))
    small = rng.normal(size=(few, few)).astype(np.float32)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def _finished(picture: NDArray[np.float32], rng: np.random.Generator) -> Film:
    blur = float(rng.uniform(0.4, 2.0))
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    picture += rng.normal(0, rng.uniform(0.5, 6), picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _blob(
    picture: NDArray[np.float32],
    centre: tuple[float, float],
    axes: tuple[float, float],
    turn: float,
    add: float,
    soft: float,
) -> None:
    """Add a soft ellipse in place; lengths in pixels."""
    mask = np.zeros_like(picture)
    box = (int(max(1, axes[0])), int(max(1, axes[1])))
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), box, turn, 0, 360, 1.0, -1)
    picture += add * np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, soft)), np.float32)


def _bar(
    picture: NDArray[np.float32],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    width: float,
    add: float,
    soft: float = 1.5,
) -> None:
    """Add a soft, round-ended bar in place."""
    mask = np.zeros_like(picture)
    a, b = tuple(int(v) for v in start), tuple(int(v) for v in end)
    cv2.line(mask, a, b, 1.0, int(max(1, width)))
    picture += add * np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32)


def text(rng: np.random.Generator) -> Film:
    """A page, list or terminal: lines of letters, dark on light or the reverse."""
    picture = np.full((SIDE, SIDE), int(rng.integers(170, 256)), np.uint8)
    size = float(rng.uniform(0.25, 1.5))
    left = int(rng.integers(2, 60))
    for y in range(int(rng.integers(8, 50)), SIDE, int(26 * size) + int(rng.integers(2, 12))):
        if rng.random() < 0.12:
            continue
        words = "".join(rng.choice(list("abcdefghij klmno pqrstu vwxyz ABC 0123.,"), 60))
        words = words[: int(rng.integers(5, 60))]
        cv2.putText(
            picture,
            words,
            (left, y),
            int(rng.choice([0, 2, 3, 6])),
            size,
            int(rng.integers(0, 90)),
            1,
        )
    return picture if rng.random() < 0.7 else 255 - picture


def screen(rng: np.random.Generator) -> Film:
    """Windows, panels, buttons, plots: what a wrong screenshot shows."""
    picture = _canvas(float(rng.integers(0, 256))).astype(np.uint8)
    for _ in range(int(rng.integers(3, 22))):
        x, y = rng.integers(-20, SIDE, 2)
        w, h = rng.integers(8, 180, 2)
        grey = float(rng.integers(0, 256))
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), grey, -1)
        if rng.random() < 0.6:
            word = "".join(rng.choice(list("abcdefgh ijkl"), 12))
            cv2.putText(picture, word, (int(x) + 3, int(y) + 12), 0, 0.35, 255 - grey, 1)
    for _ in range(int(rng.integers(0, 4))):
        steps = np.cumsum(rng.normal(0, 6, 40)) + rng.uniform(40, 180)
        points = np.stack([np.linspace(10, 214, 40), steps], 1).astype(np.int32)
        cv2.polylines(picture, [points], False, float(rng.integers(0, 256)), 2)
    return picture


def shapes(rng: np.random.Generator) -> Film:
    """Random ellipses, polygons, waves and gradients; sometimes two dark ovals side by side."""
    picture = _canvas(float(rng.uniform(0, 255)))
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    picture += float(rng.uniform(0, 150)) * (np.cos(turn) * x + np.sin(turn) * y)
    kind = rng.integers(4)
    if kind == 0:
        picture += float(rng.uniform(20, 120)) * np.cos(np.hypot(x, y) * rng.uniform(4, 40))
    elif kind == 1:
        picture += float(rng.uniform(20, 120)) * np.cos(
            (np.cos(turn) * x - np.sin(turn) * y) * rng.uniform(4, 60)
        )
    for _ in range(int(rng.integers(1, 14))):
        _blob(
            picture,
            tuple(rng.uniform(0, SIDE, 2)),
            tuple(rng.uniform(4, 90, 2)),
            float(rng.uniform(0, 180)),
            float(rng.uniform(-160, 160)),
            float(rng.uniform(0.5, 20)),
        )
    return _finished(picture, rng)


def texture(rng: np.random.Generator) -> Film:
    """Clouds, grain, walls, tissue seen through a microscope: noise of one or several scales."""
    picture = _canvas(float(rng.uniform(40, 215)))
    for coarse in rng.choice([1.5, 3, 6, 12, 25, 50, 90], int(rng.integers(1, 5)), replace=False):
        picture += float(rng.uniform(5, 60)) * _clouds(rng, float(coarse))
    if rng.random() < 0.3:
        picture = np.abs(picture - picture.mean()) * 2
    return _finished(picture, rng)


def _bone(
    picture: NDArray[np.float32],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    width: float,
    add: float,
) -> None:
    """A tubular bone: bright rims, a duller marrow, broad ends."""
    _bar(picture, start, end, width, add)
    _bar(picture, start, end, width * 0.5, -0.35 * add)
    for tip in (start, end):
        _blob(picture, tuple(tip), (width * 0.8, width * 0.7), 0, 0.55 * add, 2.5)


def limb(rng: np.random.Generator) -> Film:
    """An arm, a leg, a joint: one or two sleeves of flesh with bones, on black or grey."""
    picture = _canvas(float(rng.uniform(0, 70)))
    flesh, bone = float(rng.uniform(40, 110)), float(rng.uniform(40, 110))
    turn = float(rng.normal(0, 0.5)) + (np.pi / 2 if rng.random() < 0.4 else 0)
    along = np.array([np.sin(turn), np.cos(turn)])
    across = np.array([along[1], -along[0]])
    sleeves = [0.0] if rng.random() < 0.7 else [-1.0, 1.0]
    for place in sleeves:
        spread = 55 if len(sleeves) == 2 else 0
        middle = np.array([SIDE / 2, SIDE / 2]) + place * spread * across + rng.normal(0, 10, 2)
        wide = float(rng.uniform(30, 75)) if len(sleeves) == 2 else float(rng.uniform(40, 130))
        bend = float(rng.choice([0, 0, rng.uniform(-1.2, 1.2)]))
        lower = np.array([np.sin(turn + bend), np.cos(turn + bend)])
        ends = (middle - 190 * along, middle + 190 * lower)
        for end in ends:
            _bar(picture, middle, end, wide, flesh / 2, 3)
        thick = wide * float(rng.uniform(0.18, 0.42))
        gap = thick * float(rng.uniform(0.3, 0.7))
        for way, end in zip((-along, lower), ends, strict=True):
            pair = [-0.55, 0.55] if rng.random() < 0.4 else [0.0]
            for off in pair:
                shift = off * thick * across
                _bone(
                    picture,
                    middle + gap * way + shift,
                    end + shift,
                    thick * (0.6 if off else 1),
                    bone,
                )
    return _finished(picture, rng)


def fingers(rng: np.random.Generator) -> Film:
    """A hand or a foot: rays of small bones from a palm."""
    picture = _canvas(float(rng.uniform(0, 60)))
    base = np.array([SIDE * rng.uniform(0.35, 0.65), SIDE * rng.uniform(0.6, 0.85)])
    flesh, bone = float(rng.uniform(40, 90)), float(rng.uniform(50, 110))
    scale = float(rng.uniform(0.6, 1.1))
    hands = [base] if rng.random() < 0.7 else [base - np.array([55, 0]), base + np.array([55, 0])]
    if len(hands) == 2:
        scale *= 0.6
    for palm in hands:
        _blob(picture, tuple(palm), (42 * scale, 52 * scale), 0, flesh, 4)
        _bar(picture, palm, palm + np.array([0, 160]), 50 * scale, flesh, 4)
        _bone(
            picture,
            palm + np.array([8 * scale, 30]),
            palm + np.array([10 * scale, 180]),
            16 * scale,
            bone,
        )
        _bone(
            picture,
            palm + np.array([-9 * scale, 32]),
            palm + np.array([-12 * scale, 180]),
            13 * scale,
            bone,
        )
        for turn in np.deg2rad(np.array([-52, -17, -4, 9, 23]) * rng.uniform(0.6, 1.2)):
            way = np.array([np.sin(turn), -np.cos(turn)])
            _bar(picture, palm, palm + 125 * scale * way, 19 * scale, flesh, 3)
            for a, b in ((28, 62), (67, 92), (96, 110), (113, 121)):
                _bone(picture, palm + a * scale * way, palm + b * scale * way, 8 * scale, bone)
    turned = np.rot90(picture, int(rng.integers(0, 4))) if rng.random() < 0.5 else picture
    return _finished(np.ascontiguousarray(turned), rng)


def skull(rng: np.random.Generator) -> Film:
    """A head, from the front or the side: a bright rim, teeth, orbits."""
    picture = _canvas(float(rng.uniform(0, 50)))
    centre = (SIDE / 2 + rng.normal(0, 12), SIDE * 0.44 + rng.normal(0, 8))
    axes = (float(rng.uniform(60, 95)), float(rng.uniform(70, 100)))
    _blob(picture, centre, axes, 0, float(rng.uniform(70, 110)), 3)
    _blob(picture, centre, (axes[0] - 7, axes[1] - 7), 0, float(rng.uniform(-55, -15)), 3)
    _blob(picture, (centre[0], centre[1] + axes[1]), (50, 40), 0, 60, 8)
    side = rng.random() < 0.5
    for sign in (-1, 1):
        away = 28 * sign if not side else 45 + 10 * sign
        _blob(
            picture, (centre[0] + away, centre[1] + 30), (17, 14), 0, float(rng.uniform(-60, 40)), 4
        )
    for tooth in range(8):
        _blob(
            picture,
            (centre[0] - 28 + 8 * tooth + (40 if side else 0), centre[1] + 82),
            (3, 6),
            0,
            60,
            1,
        )
    return _finished(picture, rng)


def belly(rng: np.random.Generator) -> Film:
    """Abdomen or pelvis: a grey trunk, spine, hip bones, dark gas here and there."""
    picture = _canvas(float(rng.uniform(5, 60)))
    _blob(
        picture,
        (SIDE / 2, SIDE / 2),
        (float(rng.uniform(85, 125)), 170),
        0,
        float(rng.uniform(70, 120)),
        8,
    )
    column = SIDE / 2 + float(rng.normal(0, 6))
    low = float(rng.uniform(0.45, 1.05)) * SIDE
    for place in range(12):
        y = 10 + place * 20
        if y < low:
            _blob(picture, (column, y), (17, 8), 0, float(rng.uniform(25, 60)), 2)
    for sign in (-1, 1):
        _blob(picture, (column + sign * 62, low), (46, 30), sign * -35, 55, 4)
        _blob(picture, (column + sign * 62, low + 4), (32, 18), sign * -35, -25, 4)
        if low < 170:
            _blob(picture, (column + sign * 68, low + 52), (18, 18), 0, 45, 3)
            _blob(picture, (column + sign * 24, low + 66), (16, 12), 0, -35, 3)
    for _ in range(int(rng.integers(0, 16))):
        spot = (rng.uniform(40, 184), rng.uniform(10, 200))
        _blob(
            picture,
            spot,
            tuple(rng.uniform(5, 22, 2)),
            float(rng.uniform(0, 180)),
            float(rng.uniform(-70, -15)),
            3,
        )
    return _finished(picture, rng)


def column(rng: np.random.Generator) -> Film:
    """A spine of neck or loin, from the front or the side: vertebrae one above the other."""
    picture = _canvas(float(rng.uniform(10, 90)))
    bend, wide = float(rng.uniform(-40, 40)), float(rng.uniform(14, 38))
    _bar(
        picture,
        np.array([SIDE / 2, -20.0]),
        np.array([SIDE / 2, 250.0]),
        float(rng.uniform(70, 200)),
        50,
        10,
    )
    step = wide * float(rng.uniform(0.9, 1.4))
    for place in range(int(SIDE / step) + 1):
        y = place * step
        x = SIDE / 2 + bend * np.sin(np.pi * y / SIDE)
        cv2.rectangle(
            picture,
            (int(x - wide), int(y)),
            (int(x + wide), int(y + step * 0.75)),
            float(picture[min(SIDE - 1, int(y)), int(np.clip(x, 0, 223))] + rng.uniform(25, 60)),
            -1,
        )
    return _finished(picture, rng)


def slice_ct(rng: np.random.Generator) -> Film:
    """A slice across the body: an oval on black, often two dark lungs, a vertebra behind."""
    picture = _canvas(float(rng.uniform(0, 25)))
    wide, tall = float(rng.uniform(75, 108)), float(rng.uniform(50, 85))
    middle = (SIDE / 2 + rng.normal(0, 5), SIDE / 2 + rng.normal(0, 8))
    _blob(picture, middle, (wide, tall), 0, float(rng.uniform(90, 170)), 1.5)
    _blob(picture, middle, (wide * 0.9, tall * 0.88), 0, float(rng.uniform(-15, 50)), 1.5)
    if rng.random() < 0.6:
        for sign in (-1, 1):
            spot = (middle[0] + sign * wide * 0.46, middle[1] + rng.normal(0, 3))
            _blob(picture, spot, (wide * 0.32, tall * rng.uniform(0.5, 0.7)), sign * 10, -140, 1.5)
    for _ in range(int(rng.integers(2, 10))):
        spot = (
            middle[0] + rng.uniform(-0.6, 0.6) * wide,
            middle[1] + rng.uniform(-0.6, 0.6) * tall,
        )
        _blob(
            picture,
            spot,
            tuple(rng.uniform(5, 28, 2)),
            float(rng.uniform(0, 180)),
            float(rng.uniform(-50, 40)),
            2,
        )
    _blob(picture, (middle[0], middle[1] + tall * 0.62), (13, 11), 0, 70, 1.5)
    _bar(
        picture,
        np.array([20.0, middle[1] + tall + 14]),
        np.array([204.0, middle[1] + tall + 14]),
        4,
        60,
    )
    return _finished(picture, rng)


def slice_mr(rng: np.random.Generator) -> Film:
    """A slice of a head or a trunk: bright rim, folded grey within, dark hollows, on black."""
    picture = _canvas(float(rng.uniform(0, 12)))
    wide, tall = float(rng.uniform(55, 98)), float(rng.uniform(70, 104))
    middle = (SIDE / 2 + rng.normal(0, 6), SIDE / 2 + rng.normal(0, 6))
    _blob(picture, middle, (wide, tall), 0, float(rng.uniform(120, 220)), 1)
    _blob(picture, middle, (wide - 6, tall - 6), 0, -120, 1)
    inside = np.zeros_like(picture)
    _blob(inside, middle, (wide - 12, tall - 12), 0, 1, 2)
    folds = _clouds(rng, float(rng.uniform(5, 14)))
    picture += inside * (float(rng.uniform(60, 130)) + 25 * folds)
    if rng.random() < 0.6:
        for sign in (-1, 1):
            spot = (middle[0] + sign * wide * 0.18, middle[1])
            _blob(
                picture,
                spot,
                (7, float(rng.uniform(12, 32))),
                sign * 12,
                float(rng.choice([-90, 70])),
                2,
            )
    return _finished(picture, rng)


def lateral(rng: np.random.Generator) -> Film:
    """A chest from the side, all drawn: one lung field, spine behind, heart low in front."""
    picture = _canvas(float(rng.uniform(10, 70)))
    sign = 1 if rng.random() < 0.5 else -1
    middle = SIDE / 2 + float(rng.normal(0, 10))
    _blob(
        picture,
        (middle, SIDE * 0.55),
        (float(rng.uniform(75, 105)), 150),
        0,
        float(rng.uniform(90, 140)),
        6,
    )
    _bar(
        picture,
        np.array([middle + sign * 60, 10.0]),
        np.array([middle + sign * 85, 240.0]),
        34,
        40,
        6,
    )
    lung = -float(rng.uniform(60, 110))
    _blob(
        picture,
        (middle + sign * 12, 105),
        (float(rng.uniform(50, 66)), float(rng.uniform(75, 95))),
        sign * 12,
        lung,
        5,
    )
    _blob(picture, (middle - sign * 22, 140), (38, 45), sign * -30, float(rng.uniform(30, 75)), 6)
    _blob(picture, (middle - sign * 10, 228), (100, 55), sign * 12, 60, 5)
    _bar(
        picture,
        np.array([middle - sign * 40, 10.0]),
        np.array([middle - sign * 66, 70.0]),
        40,
        25,
        8,
    )
    for place in range(9):
        y = 30 + 18 * place
        rim = np.array([middle + sign * 66, y]), np.array([middle - sign * 45, y + 45])
        _bar(picture, rim[0], rim[1], 6, float(rng.uniform(4, 14)), 1.5)
    return _finished(picture, rng)


DRAWINGS: dict[str, Callable[[np.random.Generator], Film]] = {
    "text": text,
    "screen": screen,
    "shapes": shapes,
    "texture": texture,
    "limb": limb,
    "fingers": fingers,
    "skull": skull,
    "belly": belly,
    "column": column,
    "slice_ct": slice_ct,
    "slice_mr": slice_mr,
    "lateral": lateral,
}
"""Every kind, by name."""


def merged(film: Film, rng: np.random.Generator) -> Film:
    """Lay a film's halves over one another and stretch them: what a lateral view superposes."""
    height, width = film.shape
    half = width // 2 + int(rng.integers(-width // 12, width // 12 + 1))
    depth = min(half, width - half)
    left = film[:, half - depth : half].astype(np.float32)
    right = film[:, half : half + depth][:, ::-1].astype(np.float32)
    share = float(rng.uniform(0.3, 0.7))
    both = share * left + (1 - share) * right
    # Air beside the chest on both sides, as beside a chest seen from the side.
    pad = int(rng.uniform(0.0, 0.5) * depth)
    edge = np.full((height, pad), float(rng.uniform(0, 60)), np.float32)
    front = both[:, ::-1] if rng.random() < 0.5 else both
    whole = np.asarray(cv2.resize(np.hstack([edge, front, edge]), (SIDE, SIDE)), np.float32)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    slope = float(rng.normal(0, 0.3))
    place = float(rng.uniform(0.55, 0.95)) * SIDE
    spine = np.exp(-(((x - place - slope * (y - 112)) / rng.uniform(10, 26)) ** 2))
    whole += float(rng.uniform(0, 70)) * spine
    if rng.random() < 0.5:
        whole = whole[:, ::-1]
    return np.clip(np.asarray(cv2.GaussianBlur(whole, (0, 0), 0.8)), 0, 255).astype(np.uint8)


def shuffled(film: Film, rng: np.random.Generator) -> Film:
    """Cut a film into tiles and lay them out anew: grey, grain and ribs of a chest, no chest."""
    count = int(rng.choice([2, 3, 4]))
    side = SIDE // count
    small = cv2.resize(film, (side * count, side * count))
    tiles = [
        small[y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(count)
        for x in range(count)
    ]
    order = rng.permutation(len(tiles))
    if (order == np.arange(len(tiles))).mean() > 0.5:
        order = np.roll(order, 1)
    rows = [np.hstack([tiles[i] for i in order[r * count : (r + 1) * count]]) for r in range(count)]
    return np.asarray(cv2.resize(np.vstack(rows), (SIDE, SIDE)), np.uint8)


def _backdrop(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """What lies round a film that is photographed: a wall, a table, a lit box, a monitor's rim."""
    kind = rng.random()
    level = float(rng.uniform(0, 255))
    if kind < 0.3:
        level = float(rng.choice([rng.uniform(0, 30), rng.uniform(215, 255)]))
    scene = _canvas(level)
    if kind > 0.3:
        scene += float(rng.uniform(2, 40)) * _clouds(rng, float(rng.choice([3, 12, 50])))
    if kind > 0.55:
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.integers(-30, SIDE, 2)
            w, h = rng.integers(20, 160, 2)
            cv2.rectangle(
                scene, (int(x), int(y)), (int(x + w), int(y + h)), float(rng.uniform(0, 255)), -1
            )
    return np.asarray(cv2.resize(scene, (width, height)), np.float32)


def photographed(
    film: Film, rng: np.random.Generator, masks: tuple[Film, ...] = ()
) -> tuple[Film, tuple[Film, ...]]:
    """Photograph a film from a box or a screen with a phone.

    Perspective, what lies round it, uneven light, a reflection, moiré, the phone's own curve and blur.

    Returns
    -------
    tuple
        The photograph, of the film's size, and the masks laid down alike.
    """
    height, width = film.shape
    size = np.array([width, height], np.float32)
    margin = float(np.exp(rng.uniform(np.log(0.015), np.log(0.16))))
    lean = float(rng.uniform(0.01, 0.09))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inner = (
        margin + (1 - 2 * margin) * corners + rng.normal(0, lean, (4, 2)).astype(np.float32) * 0.7
    )
    # Two sides lean together when a phone is not held straight.
    side = int(rng.integers(4))
    toward = 0.5 - (inner[side] + inner[(side + 1) % 4]) / 2
    inner[side] += 0.25 * lean * toward + lean * (inner[(side + 1) % 4] - inner[side])
    inner[(side + 1) % 4] -= lean * (inner[(side + 1) % 4] - inner[side])
    matrix = cv2.getPerspectiveTransform(corners * size, (inner * size).astype(np.float32))
    flat = film.astype(np.float32)
    low, high = sorted(rng.uniform([0, 170], [70, 255]))
    flat = low + flat * (high - low) / 255
    scene = _backdrop(rng, height, width)
    ones = np.ones((height, width), np.float32)
    inside = cv2.warpPerspective(ones, matrix, (width, height), flags=cv2.INTER_LINEAR)
    laid = cv2.warpPerspective(flat, matrix, (width, height), flags=cv2.INTER_LINEAR)
    picture = scene * (1 - inside) + laid * np.minimum(inside, 1)
    if rng.random() < 0.4:
        # The rim of a screen or of the box.
        quad = (inner * size).astype(np.int32)
        cv2.polylines(
            picture,
            [quad],
            True,
            float(rng.choice([8, 30, 245])),
            max(1, int(width * rng.uniform(0.005, 0.03))),
        )
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    light = 1 + float(rng.uniform(0.02, 0.3)) * (np.cos(turn) * x + np.sin(turn) * y)
    light -= float(rng.uniform(0, 0.25)) * (x * x + y * y) / 2
    picture = picture * light
    if rng.random() < 0.55:
        spot = rng.uniform(-0.9, 0.9, 2)
        wide = rng.uniform(0.08, 0.5, 2)
        glare = np.exp(-(((x - spot[0]) / wide[0]) ** 2) - ((y - spot[1]) / wide[1]) ** 2)
        picture += float(rng.uniform(20, 120)) * glare
    if rng.random() < 0.6:
        # Rows of the screen against rows of the sensor.
        way, often = rng.uniform(0, np.pi), rng.uniform(18, 160)
        bend = 0.3 * rng.normal() * x * y
        waves = np.sin(often * (np.cos(way) * x + np.sin(way) * y + bend))
        if rng.random() < 0.5:
            waves = waves * np.sin(
                often * rng.uniform(0.8, 1.2) * (-np.sin(way) * x + np.cos(way) * y)
            )
        picture += float(rng.uniform(2, 14)) * waves
    picture = np.asarray(
        cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.1)) * width / 224), np.float32
    )
    picture += rng.normal(0, float(rng.uniform(0.5, 7)), picture.shape).astype(np.float32)
    picture = 255 * (np.clip(picture, 0, 255) / 255) ** float(np.exp(rng.normal(0, 0.2)))
    moved = tuple(
        np.asarray(
            cv2.warpPerspective(mask, matrix, (width, height), flags=cv2.INTER_NEAREST), np.uint8
        )
        for mask in masks
    )
    return picture.astype(np.uint8), moved
