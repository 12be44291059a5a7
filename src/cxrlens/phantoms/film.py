"""One phantom film: from attenuation to grey, and what lies on it and not in the body."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.phantoms.anatomy import draw_body
from cxrlens.phantoms.body import draw_lesions, draw_scene
from cxrlens.phantoms.canvas import Canvas, Field, rounded, unit
from cxrlens.phantoms.exposure import SOURCES, Exposure, draw_exposure

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


LABELS = ("normal", "pneumonia", "tuberculosis")
SIDES = (64, 1024)


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph and what is known of it.

    Parameters
    ----------
    film
        (side, side) uint8, bright where little passed.
    label
        "normal", "pneumonia" or "tuberculosis".
    lesion_mask, lung_mask
        (side, side) bool; lungs as far as heart, diaphragm and shutters leave them to
        be seen.
    view
        "PA" or "AP".
    age, sex
        Years; "F" or "M".
    source
        The drawn hospital, "phantom-a" or "phantom-b".
    seed
        What it was drawn with.
    """

    film: NDArray[np.uint8]
    label: str
    lesion_mask: NDArray[np.bool_]
    lung_mask: NDArray[np.bool_]
    view: str
    age: int
    sex: str
    source: str
    seed: int


def draw_phantom(
    seed: int,
    label: str,
    side: int = 224,
    *,
    patient: int | None = None,
    source: str | None = None,
) -> Phantom:
    """Draw one chest radiograph.

    Parameters
    ----------
    seed
        Of the exposure and the lesions, 0 or more. The same arguments give the same film.
    label
        "normal", "pneumonia" or "tuberculosis". It changes the lesions and nothing else.
    side
        Pixels along an edge, 64 to 1024. The same seed shows the same scene at every side.
    patient
        Seed of the patient, for follow-up films of one person; `seed` if not given.
    source
        "phantom-a" or "phantom-b"; drawn from `seed` if not given.

    Returns
    -------
    Phantom
        The film with its masks.

    Raises
    ------
    ValueError
        If the seed, the label, the side or the source is none of the above.

    Examples
    --------
    >>> phantom = draw_phantom(7, "tuberculosis", side=96)
    >>> phantom.film.shape, phantom.view, bool(phantom.lesion_mask.any())
    ((96, 96), 'PA', True)
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be 0 or more")
    if label not in LABELS:
        raise ValueError(f"label is {label!r}: choose one of {', '.join(LABELS)}")
    if not SIDES[0] <= side <= SIDES[1]:
        raise ValueError(f"side is {side}: choose {SIDES[0]} to {SIDES[1]}")
    if source is not None and source not in SOURCES:
        raise ValueError(f"source is {source!r}: choose one of {', '.join(SOURCES)}")
    person = np.random.default_rng(
        np.random.SeedSequence([1, seed if patient is None else patient])
    )
    taking = np.random.default_rng(np.random.SeedSequence([2, seed]))
    illness = np.random.default_rng(np.random.SeedSequence([3, seed]))
    body = draw_body(person)
    exposure = draw_exposure(taking, body.age, source)
    canvas = Canvas(side, exposure.centre, exposure.half_width, exposure.height, exposure.tilt)
    scene = draw_scene(canvas, body, exposure)
    lesions = draw_lesions(illness, label, canvas, scene.lungs)
    attenuation = (
        scene.body + scene.vessels * (1 - np.float32(0.7) * lesions.filled) + lesions.density
    )
    film = develop(canvas, exposure, attenuation)
    seen = open_field(side, exposure)
    return Phantom(
        film=film,
        label=label,
        lesion_mask=lesions.mask & seen,
        lung_mask=(scene.lungs > 0.5) & seen,
        view=exposure.view,
        age=body.age,
        sex=body.sex,
        source=exposure.source,
        seed=seed,
    )
