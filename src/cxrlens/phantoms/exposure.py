"""How a phantom film is taken and developed: pose, projection, tube, screen, markers and borders.

Nothing here knows the label: whatever a film's label is, these draws are the same.
"""

import cv2
import numpy as np

from cxrlens.phantoms.anatomy import Canvas, Field, rounded, unit
from cxrlens.radiographs.grey import Film, Mask

SOURCES = ("phantom-a", "phantom-b")


class Exposure:
    """Everything of one exposure that is not the patient, drawn.

    Parameters
    ----------
    rng
        What it is drawn with.
    age
        Of the patient, in years.
    hospital
        One of `SOURCES`; either, if not given.

    Attributes
    ----------
    source, view
        The drawn hospital; "PA" or "AP".
    centre, half_width, height, tilt
        Place of the body on the film: see `canvas.Canvas`.
    turned, raised, spread, inward
        Rotation about the body's axis, height of the shoulders, distance of the elbows from the
        trunk, shoulder blades over the lungs; body units.
    rise, bulge, enlarged
        y of the right and the left dome, their height above the costophrenic angles, factor of the
        heart's breadth.
    lucency
        Attenuation that a full depth of lung takes away.
    steepness, speed, white, fog, crisp
        Response curve: its slope, the attenuation of its middle, grey of the belly and of the empty
        beam in [0, 1]; strength of edge enhancement.
    slope, uneven, blur, grain
        Unevenness of the beam (linear, random), blur in pixels of a 224 film, noise in grey values.
    stomach
        Size of the stomach's bubble, none if not positive.
    marker, marker_at, marker_size, marker_grey, marker_boxed, note, leads
        Letter on the film, its place as fractions of the side, its look; small print beside it;
        number of electrodes on the skin.
    shutter, shutter_grey
        Covered shares at top, bottom, left and right, and their grey in [0, 1].
    seed
        Of the grain and whatever else is not worth a name.
    """

    def __init__(self, rng: np.random.Generator, age: int, hospital: str | None = None) -> None:
        either = SOURCES[int(rng.integers(2))]
        self.source = hospital or either
        first = self.source == SOURCES[0]
        self.view = "AP" if rng.random() < (0.75 if age < 6 else 0.35) else "PA"
        lying = self.view == "AP"
        high = rng.uniform(0.92, 1.05) - (0.05 if lying else 0.0)
        self.half_width = rng.uniform(0.34, 0.43) if age >= 6 else rng.uniform(0.31, 0.41)
        shutter = rng.uniform(0.0, 0.06, 4) * (rng.random(4) < (0.35 if first else 0.2))
        left_marker = rng.random() < (0.7 if first else 0.25)
        across = rng.uniform(0.86, 0.95) if left_marker else rng.uniform(0.04, 0.11)
        shown = rng.random() < 0.7
        noted = rng.random() < (0.35 if lying else 0.0)
        wired = rng.random() < (0.3 if lying else 0.03)
        self.centre = rng.normal(0.5, 0.018), rng.normal(0.47, 0.03)
        self.height = rng.uniform(0.54, 0.72)
        self.tilt = rng.normal(0, 0.03)
        self.turned = rng.normal(0, 0.055 if lying else 0.035)
        self.raised = rng.uniform(-0.02, 0.07) + (0.05 if lying else 0.0)
        self.spread = rng.uniform(0.12, 0.6)
        self.inward = rng.uniform(-0.05, 0.12) + (0.14 if lying else 0.0)
        self.rise = high, high + rng.normal(0.045, 0.02)
        self.bulge = rng.uniform(0.12, 0.24)
        self.enlarged = rng.uniform(1.08, 1.22) if lying else rng.uniform(0.95, 1.05)
        self.lucency = rng.uniform(0.34, 0.44)
        self.steepness = rng.uniform(1.9, 3.0) if first else rng.uniform(1.6, 2.6)
        self.speed = float(np.exp(rng.normal(-0.55, 0.22)))
        self.white = rng.uniform(0.8, 1.08)
        self.fog = rng.uniform(0.0, 0.08)
        self.slope = rng.normal(0, 0.05), rng.normal(0, 0.05)
        self.uneven = rng.uniform(0.02, 0.07)
        self.crisp = max(rng.normal(0.5, 0.3) if first else rng.normal(0.15, 0.2), 0.0)
        self.blur = rng.uniform(0.25, 0.6) if first else rng.uniform(0.35, 0.8)
        self.grain = rng.uniform(1.0, 4.5)
        self.stomach = rng.uniform(-0.5, 1.0)
        self.marker = ("L" if left_marker else "R") if shown else ""
        self.marker_at = across, rng.uniform(0.06, 0.22)
        self.marker_size = rng.uniform(0.25, 0.5)
        self.marker_grey = int(rng.integers(150, 256))
        self.marker_boxed = rng.random() < (0.3 if first else 0.1)
        self.note = ("AP", "PORTABLE", "SUPINE")[int(rng.integers(3))] if noted else ""
        self.leads = int(rng.integers(1, 4)) if wired else 0
        self.shutter = shutter.tolist()
        self.shutter_grey = 0.0 if rng.random() < 0.8 else 1.0
        self.seed = int(rng.integers(2**31))


_BELLY = 0.95  # attenuation that a well exposed film shows as white
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def develop(canvas: Canvas, e: Exposure, attenuation: Field) -> Film:
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
    Film
        (side, side), bright where little passed.
    """
    rng = np.random.default_rng(e.seed)
    attenuation = attenuation + _leads(canvas, e, rng)
    grey = _response(canvas, e, attenuation, rng)
    if e.crisp > 0:
        grey += np.float32(e.crisp) * (grey - canvas.softened(grey, 6.0))
    side = canvas.side
    coarse = rng.standard_normal((side // 2, side // 2), np.float32)
    grain = 0.8 * canvas.enlarged(coarse)
    grain += np.float32(0.6) * rng.standard_normal((side, side), np.float32)
    grey += np.float32(e.grain) * grain
    film = np.clip(grey, 0, 255).astype(np.uint8)
    _print(canvas, e, film)
    film[~open_field(side, e)] = round(255 * e.shutter_grey)
    return film


def _response(canvas: Canvas, e: Exposure, attenuation: Field, rng: np.random.Generator) -> Field:
    """Grey of a sigmoid response in the logarithm of the exposure, with an uneven beam."""
    ramp = np.linspace(-1, 1, canvas.side, dtype=np.float32)
    veil = np.float32(e.uneven) * canvas.enlarged(rng.standard_normal((5, 5), np.float32))
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


def _print(canvas: Canvas, e: Exposure, film: Film) -> None:
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


def open_field(side: int, e: Exposure) -> Mask:
    """Return what the collimator's shutters leave open, (side, side) bool."""
    top, bottom, left, right = (round(s * side) for s in e.shutter)
    field = np.zeros((side, side), np.bool_)
    field[top : side - bottom, left : side - right] = True
    return field
