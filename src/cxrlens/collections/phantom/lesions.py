"""What disease adds to a phantom's lungs: opacities and lucencies with known places.

Pneumonia-like: one lobar or several patchy consolidations with soft, mottled edges and air-filled
bronchi, mostly low. Tuberculosis-like: small nodules, streaky infiltrates and walled cavities, mostly
high. All lie in body coordinates, so that they move with the patient.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxrlens.collections.phantom.canvas import Canvas, Field, Points, smoothstep

_COARSE_SIDE = 56  # soft shapes are computed on a sheet of this side, then stretched over the film
_HALO = 16.0  # pixels of a 224 film over which an opacity's mean brightness is taken back


@dataclass(frozen=True)
class Lesions:
    """Disease in one film.

    Parameters
    ----------
    density
        Attenuation added, (side, side) float32; negative where tissue is lost (cavities).
    filled
        Share of the air replaced, (side, side) float32 in [0, 1]: vessels vanish there.
    outline
        Share of full opacity, (side, side) float32 in [0, 1], from which the mask is cut.
    """

    density: Field
    filled: Field
    outline: Field


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
    """
    if label == "pneumonia":
        opacity, filled = _pneumonia(rng, canvas)
    elif label == "tuberculosis":
        opacity, filled = _tuberculosis(rng, canvas)
    else:
        empty = np.zeros((canvas.side, canvas.side), np.float32)
        return Lesions(empty, empty, empty)
    opacity = opacity * lungs
    outline = np.clip(np.abs(opacity) / max(float(np.abs(opacity).max()), 1e-6), 0, 1)
    # A film's mean brightness says nothing of its class: lung around an opacity is a little darker.
    density = opacity - 0.8 * canvas.softened(opacity, _HALO) * lungs
    return Lesions(density, filled * lungs, outline)


def _mottle(rng: np.random.Generator, canvas: Canvas, grid: int) -> Field:
    coarse = rng.standard_normal((grid, grid), dtype=np.float32)
    return canvas.enlarged(coarse)


def _blobs(canvas: Canvas, places: list[tuple[float, float, float, float]]) -> Field:
    """Give the largest of several bells (x, y, half width, half height) at every pixel."""
    x, y = replace(canvas, side=_COARSE_SIDE).body_xy
    heights = [np.exp(-(((x - cx) / a) ** 2) - ((y - cy) / b) ** 2) for cx, cy, a, b in places]
    return canvas.enlarged(np.maximum.reduce(heights).astype(np.float32))


def _pneumonia(rng: np.random.Generator, canvas: Canvas) -> tuple[Field, Field]:
    mostly_low = rng.random() < 0.88
    side = float(rng.choice([-1.0, 1.0]))
    low, high = (0.60, 0.95) if mostly_low else (0.25, 0.55)
    places = []
    if rng.random() < 0.45:
        cy = rng.uniform(low, high)
        places.append(
            (side * rng.uniform(0.4, 0.7), cy, rng.uniform(0.2, 0.3), rng.uniform(0.1, 0.17))
        )
    else:
        for _ in range(int(rng.integers(3, 7))):
            s = side if rng.random() < 0.75 else -side
            size = rng.uniform(0.09, 0.17)
            places.append((s * rng.uniform(0.3, 0.85), rng.uniform(low, high), size, size * 0.7))
    shape = _blobs(canvas, places)
    mottle = 0.5 * _mottle(rng, canvas, 30) + 0.4 * _mottle(rng, canvas, 60)
    filled = smoothstep(shape + 0.32 * mottle * (shape > 0.05), 0.3, 0.95)
    bronchi = canvas.stroke(_bronchi(rng, places), 1.0)
    air = canvas.softened(bronchi.astype(np.float32) / 255, 0.6)
    strength = rng.uniform(0.15, 0.24)
    opacity = strength * filled * (1 - 0.6 * air)
    return opacity.astype(np.float32), filled


def _bronchi(
    rng: np.random.Generator, places: list[tuple[float, float, float, float]]
) -> list[Points]:
    """Give short forked lines that run outwards from the hilum through each consolidation."""
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


def _tuberculosis(rng: np.random.Generator, canvas: Canvas) -> tuple[Field, Field]:
    side = float(rng.choice([-1.0, 1.0]))
    mostly_high = rng.random() < 0.9
    cx, cy = (
        side * rng.uniform(0.35, 0.6),
        rng.uniform(0.14, 0.34) if mostly_high else rng.uniform(0.45, 0.7),
    )
    both = rng.random() < 0.4
    spots = canvas.blank().astype(np.float32)
    centres = [(cx, cy)] + (
        [(-side * rng.uniform(0.35, 0.6), rng.uniform(0.14, 0.34))] if both else []
    )
    for x0, y0 in centres:
        n = int(rng.integers(6, 16))
        where = np.stack([rng.normal(x0, 0.13, n), rng.normal(y0, 0.085, n)], axis=1)
        spots = np.maximum(spots, _nodules(rng, canvas, where))
    streaks = canvas.stroke(_streaks(rng, centres), 1.0, 0.55).astype(np.float32) / 255
    haze = smoothstep(
        _blobs(canvas, [(x, y, 0.2, 0.12) for x, y in centres]) + 0.3 * _mottle(rng, canvas, 60),
        0.35,
        1.2,
    )
    opacity = rng.uniform(0.16, 0.24) * np.maximum(
        canvas.softened(spots, 0.7), canvas.softened(streaks, 0.5)
    )
    opacity = opacity + 0.07 * haze
    if rng.random() < 0.5:
        opacity = opacity + _cavity(rng, canvas, cx + rng.normal(0, 0.05), cy + rng.normal(0, 0.04))
    return opacity.astype(np.float32), np.clip(0.5 * haze, 0, 1)


def _nodules(rng: np.random.Generator, canvas: Canvas, where: Points) -> Field:
    sheet = canvas.blank()
    radii = rng.uniform(1.2, 3.4, len(where)) * canvas.scale
    greys = rng.uniform(0.5, 1.0, len(where))
    for (x, y), radius, grey in zip(canvas.pixels(where), radii, greys, strict=True):
        centre = (round(x * 16), round(y * 16))
        cv2.circle(sheet, centre, round(radius * 16), round(255 * grey), -1, cv2.LINE_AA, 4)
    return sheet.astype(np.float32) * np.float32(1 / 255)


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


def _cavity(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> Field:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    wobble = (
        1 + 0.1 * np.sin(2 * turn + rng.uniform(0, 6)) + 0.06 * np.sin(3 * turn + rng.uniform(0, 6))
    )
    radius, wall = rng.uniform(0.09, 0.16), rng.uniform(0.02, 0.035)
    ring = np.stack([np.cos(turn), 0.62 * np.sin(turn)], axis=1) * wobble[:, None]
    at = np.array([x, y])
    outer = canvas.fill(at + ring * (radius + wall), soft=0.7)
    inner = canvas.fill(at + ring * radius, soft=0.6)
    return np.asarray(rng.uniform(0.14, 0.2) * (outer - inner) - 0.05 * inner, np.float32)
