"""From attenuation to the grey of a phantom film, with what lies on the film and not in the body."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.phantom.canvas import Canvas, Field, rounded, unit
from cxrlens.collections.phantom.exposure import Exposure

_BELLY = 0.95  # attenuation that a well exposed film shows as white
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def develop(canvas: Canvas, e: Exposure, attenuation: Field) -> NDArray[np.uint8]:
    """Expose and develop a film.

    Parameters
    ----------
    canvas
        The film and the place of the body on it.
    e
        Response curve, unevenness, blur, edge enhancement, grain, leads, marker, shutters.
    attenuation
        (side, side) float32, 0 where nothing is in the beam.

    Returns
    -------
    NDArray[np.uint8]
        (side, side), bright where little passed.
    """
    rng = np.random.default_rng(e.seed)
    attenuation = attenuation + _leads(canvas, e, rng)
    grey = _response(canvas, e, attenuation, rng)
    if e.crisp > 0:
        grey += np.float32(e.crisp) * (grey - canvas.softened(grey, 6.0))
    side = canvas.side
    coarse = rng.standard_normal((side // 2, side // 2), dtype=np.float32)
    grain = 0.8 * canvas.enlarged(coarse)
    grain += np.float32(0.6) * rng.standard_normal((side, side), dtype=np.float32)
    grey += np.float32(e.grain) * grain
    film = np.clip(grey, 0, 255).astype(np.uint8)
    _print(canvas, e, film)
    film[~open_field(side, e)] = round(255 * e.shutter_grey)
    return film


def _response(canvas: Canvas, e: Exposure, attenuation: Field, rng: np.random.Generator) -> Field:
    """Grey of a sigmoid response in the logarithm of the exposure, with an uneven beam."""
    ramp = np.linspace(-1, 1, canvas.side, dtype=np.float32)
    veil = np.float32(e.uneven) * canvas.enlarged(rng.standard_normal((5, 5), dtype=np.float32))
    veil += np.float32(e.slope[0]) * ramp[None, :] + np.float32(e.slope[1]) * ramp[:, None]
    seen = np.maximum(canvas.softened(attenuation, e.blur) * (1 + veil), 0)
    dense = cv2.pow(seen * np.float32(1 / e.speed), e.steepness)
    full = (_BELLY / e.speed) ** e.steepness
    scale = 255 * (e.white - e.fog) * (1 + full) / full
    return np.asarray(255 * e.fog + np.float32(scale) * (dense / (1 + dense)), np.float32)


def _leads(canvas: Canvas, e: Exposure, rng: np.random.Generator) -> Field | np.float32:
    """Electrodes on the chest with wires that leave the film."""
    if not e.leads:
        return np.float32(0)
    sheet = canvas.blank()
    for _ in range(e.leads):
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(0.05, 0.75)
        way = [(x, y), (x * 1.3, y + 0.15), (x * 1.1 + rng.normal(0, 0.3), y + 0.5)]
        way += [
            (np.sign(x) * 1.4, rng.uniform(0.6, 1.2)),
            (np.sign(x) * 2.2, rng.uniform(0.3, 1.6)),
        ]
        canvas.stroke([rounded(way, closed=False)], 1.0, 0.55, sheet)
        column, row = canvas.pixels(np.array([x, y]))
        centre = (round(float(column) * 16), round(float(row) * 16))
        radius = float(rng.uniform(2.0, 4.0)) * canvas.scale
        pen = max(1, round(canvas.scale))
        cv2.circle(sheet, centre, round(radius * 16), 255, pen, cv2.LINE_AA, 4)
        cv2.circle(sheet, centre, round(radius * 6), 230, -1, cv2.LINE_AA, 4)
    return np.float32(0.2) * canvas.softened(unit(sheet), 0.5)


def _print(canvas: Canvas, e: Exposure, film: NDArray[np.uint8]) -> None:
    side, size = canvas.side, e.marker_size * canvas.scale
    column, row = round(e.marker_at[0] * side), round(e.marker_at[1] * side)
    pen = max(1, round(1.4 * canvas.scale))
    if e.marker:
        cv2.putText(film, e.marker, (column, row), _FONT, size, e.marker_grey, pen, cv2.LINE_AA)
        if e.marker_boxed:
            gap, reach = round(8 * size), round(29 * size)
            corners = (column - gap, row - reach), (column + round(27 * size), row + gap)
            cv2.rectangle(film, *corners, e.marker_grey, max(1, pen // 2), cv2.LINE_AA)
    if e.note:
        at = (min(column, round(0.8 * side)), row + round(0.05 * side))
        thin = max(1, round(canvas.scale))
        cv2.putText(film, e.note, at, _FONT, 0.27 * canvas.scale, e.marker_grey, thin, cv2.LINE_AA)


def open_field(side: int, e: Exposure) -> NDArray[np.bool_]:
    """Give what the collimator's shutters leave open, (side, side) bool."""
    top, bottom, left, right = (round(s * side) for s in e.shutter)
    field = np.zeros((side, side), np.bool_)
    field[top : side - bottom, left : side - right] = True
    return field
