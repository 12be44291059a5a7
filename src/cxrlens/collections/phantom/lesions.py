"""What disease adds to a phantom's lungs: opacities and lucencies with known places.

Pneumonia-like: one lobar or several patchy consolidations with soft, mottled edges and air-filled
bronchi, mostly low. Tuberculosis-like: small nodules, streaky infiltrates and walled cavities, mostly
high. All lie in body coordinates, so that they move with the patient.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.phantom.canvas import Canvas, Field, Points, moved, smoothstep, unit

Bell = tuple[float, float, float, float]
"""A soft hill in body coordinates: x and y of its top, half width, half height."""

_MASK_AT = 0.3  # share of full opacity that counts as lesion
_COARSE_SIDE = 56  # soft shapes are computed on a sheet of this side, then stretched over the film
_HALO = 16.0  # pixels of a 224 film over which an opacity's mean brightness is taken back


_SMALLEST = 0.006  # share of the film that visible lesions cover at least
_ATTEMPTS = 12


@dataclass(frozen=True)
class Lesions:
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
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class _Drawn:
    """Disease before heart and diaphragm hide a part of it; fields as in `Lesions`."""

    opacity: Field
    filled: Field
    extent: Field


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
        drawn = draw(rng, canvas)
        mask = drawn.extent * lungs > _MASK_AT
        if mask.mean() >= _SMALLEST:
            break
    opacity = drawn.opacity * lungs
    # A film's mean brightness says nothing of its class: lung around an opacity is a little darker.
    density = opacity - np.float32(0.8) * canvas.softened(opacity, _HALO) * lungs
    return Lesions(density, drawn.filled * lungs, mask)


def _mottle(rng: np.random.Generator, canvas: Canvas, grid: int) -> Field:
    coarse = rng.standard_normal((grid, grid), dtype=np.float32)
    return canvas.enlarged(coarse)


def _bells(canvas: Canvas, places: list[Bell]) -> Field:
    """Give the largest of several bells at every pixel."""
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
    return _Drawn(opacity, filled, filled)


def _bronchi(rng: np.random.Generator, places: list[Bell]) -> list[Points]:
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
    return _Drawn(opacity, np.float32(0.5) * haze, extent)


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
    """Give a cavity's attenuation (wall dense, inside lucent) and its whole extent."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    first, second = rng.uniform(0, 6, 2)
    wobble = 1 + 0.1 * np.sin(2 * turn + first) + 0.06 * np.sin(3 * turn + second)
    ring = np.stack([np.cos(turn), 0.62 * np.sin(turn)], axis=1) * wobble[:, None]
    radius, wall = rng.uniform(0.07, 0.14), rng.uniform(0.03, 0.05)
    off = rng.normal(0, 0.2 * wall, 2)
    outer = canvas.fill(moved(ring * (radius + wall), x, y), soft=1.1)
    inner = canvas.fill(moved(ring * radius, x + off[0], y + off[1]), soft=0.7)
    rough = 1 + np.float32(0.25) * _mottle(rng, canvas, 44)
    shell = np.float32(rng.uniform(0.13, 0.2)) * np.maximum(outer - inner, 0) * rough
    return shell - np.float32(0.04) * inner, outer
