"""One phantom film: tissue by tissue into attenuation, then onto film.

A film is the image of how much the body dims the beam. Each tissue adds to (air: takes from) one
float32 field of attenuation; a film's response curve turns it into grey, with grain, markers and
borders last. The label reaches only the lesions: the same seed gives the same film with or without.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.phantom import anatomy
from cxrlens.collections.phantom.anatomy import Body, draw_body
from cxrlens.collections.phantom.canvas import Canvas, Field, mirrored, smoothstep
from cxrlens.collections.phantom.exposure import Exposure, draw_exposure
from cxrlens.collections.phantom.lesions import draw_lesions

LABELS = ("normal", "pneumonia", "tuberculosis")
SIDES = (64, 1024)
_MASK_AT = 0.3  # share of full opacity that counts as lesion


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
        (side, side) bool; lungs as far as heart and diaphragm leave them to be seen.
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
        If the label, the side or the source is none of the above.
    """
    if label not in LABELS:
        raise ValueError(f"label is {label!r}: choose one of {', '.join(LABELS)}")
    if not SIDES[0] <= side <= SIDES[1]:
        raise ValueError(f"side is {side}: choose {SIDES[0]} to {SIDES[1]}")
    person = np.random.default_rng(
        np.random.SeedSequence([1, seed if patient is None else patient])
    )
    taking = np.random.default_rng(np.random.SeedSequence([2, seed]))
    illness = np.random.default_rng(np.random.SeedSequence([3, seed]))
    body = draw_body(person)
    exposure = draw_exposure(taking, body.age, source)
    canvas = Canvas(side, exposure.centre, exposure.half_width, exposure.height, exposure.tilt)
    attenuation, lungs, lesions = _attenuation(canvas, body, exposure, illness, label)
    film = _develop(canvas, exposure, attenuation)
    visible = lungs > 0.5
    return Phantom(
        film=film,
        label=label,
        lesion_mask=lesions > _MASK_AT,
        lung_mask=visible,
        view=exposure.view,
        age=body.age,
        sex=body.sex,
        source=exposure.source,
        seed=seed,
    )


def _chord(mask: Field, reach: float) -> Field:
    """Thickness of a rounded body with this shadow: 0 at its edge, 1 from `reach` pixels inwards."""
    far = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    t = 1 - np.minimum(far / np.float32(reach), 1)
    return np.sqrt(np.maximum(1 - t * t, 0)).astype(np.float32)


def _attenuation(
    canvas: Canvas, body: Body, e: Exposure, illness: np.random.Generator, label: str
) -> tuple[Field, Field, Field]:
    side = canvas.side
    x, y = canvas.body_xy
    # soft tissue
    trunk = canvas.fill(anatomy.trunk(body, e.raised))
    arms = [anatomy.arm(body, e.raised, e.spread)]
    arms.append(mirrored(arms[0]))
    limb = canvas.fill(*arms)
    reach = 0.17 * side
    total = 0.68 * canvas.softened(_chord(trunk, reach), 1.0)
    total += 0.36 * canvas.softened(_chord(limb, reach * 0.5), 0.8) * (1 - 0.5 * trunk)
    total *= 0.9 + 0.15 * np.clip(y, -0.5, 1.5)
    # lungs, before heart and abdomen hide them
    right = anatomy.cavity(body)
    chest = canvas.fill(right, mirrored(right))
    below = canvas.fill(anatomy.abdomen(e.rise, e.bulge), soft=0.7)
    heart = canvas.fill(anatomy.heart(body, e.enlarged, e.rise[0]), soft=1.2)
    air = chest * (1 - 0.97 * below)
    lungs = air * (1 - heart)
    total -= 0.40 * canvas.softened(air * (0.75 + 0.25 * _chord(chest, 0.06 * side)), 0.6)
    total += 0.16 * below
    core = _chord(heart, 0.1 * side)
    total += heart * (0.20 + 0.14 * core) * (1 - below)
    lesions = draw_lesions(illness, label, canvas, lungs)
    # vessels
    tree = np.zeros((side, side), np.float32)
    for width, strength, lines in anatomy.vessels(body):
        tree = np.maximum(tree, canvas.stroke(lines, width, strength).astype(np.float32) / 255)
    hila = canvas.softened(tree, 1.0) + 0.9 * canvas.softened(tree, 3.0)
    total += 0.10 * hila * lungs * (1 - 0.7 * lesions.filled)
    # bones
    total += _bones(canvas, body, e, x, y)
    # air in trachea and stomach
    windpipe = np.array([[-0.055, -0.7], [0.055, -0.7], [0.05, 0.36], [0.0, 0.4], [-0.05, 0.36]])
    total -= 0.13 * canvas.fill(windpipe + [e.turned * 0.4, 0.0], soft=1.0)
    if e.stomach > 0:
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        bubble = np.stack([0.2 * np.cos(turn), 0.09 * np.sin(turn)], axis=1) * (0.5 + e.stomach)
        bubble[:, 1] = np.minimum(bubble[:, 1], 0.03)
        total -= 0.2 * canvas.fill(bubble + [0.45, e.rise[1] + 0.13 + 0.06 * e.stomach], soft=1.2)
    if body.breast > 0:
        turn = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        ring = np.stack([0.42 * np.cos(turn), 0.26 * np.sin(turn)], axis=1) * (
            0.6 + 0.4 * body.breast
        )
        for sign in (-1, 1):
            shape = canvas.fill(ring * [1, 1] + [sign * 0.68, 0.72 + 0.1 * body.breast], soft=1.0)
            total += 0.10 * body.breast * _chord(shape, 0.12 * side)
    total += lesions.density
    return total, lungs, lesions.outline


def _bones(canvas: Canvas, body: Body, e: Exposure, x: Field, y: Field) -> Field:
    up, down, front_up, front_down = anatomy.rib_bands(body, e.turned)
    back = canvas.fill(*np.concatenate([up, down[:, ::-1]], axis=1), soft=0.5)
    front = canvas.fill(*np.concatenate([front_up, front_down[:, ::-1]], axis=1), soft=0.6)
    edges = canvas.stroke([*up, *down], 1.0)
    edges = canvas.stroke([*front_up, *front_down], 1.0, 0.6, edges)
    rim = canvas.softened(edges.astype(np.float32) / 255, 0.5)
    grazing = 1 + 0.8 * smoothstep(np.abs(x), 0.75, 1.0)
    bones = (0.055 * back + 0.04 * front + 0.05 * rim) * grazing
    # spine
    gap = np.float32(body.rib_gap)
    phase = (y + np.float32(0.105)) / gap
    column = 1 - smoothstep(np.abs(x + np.float32(e.turned)), 0.085, 0.13)
    disc = smoothstep(np.cos(phase * np.float32(2 * np.pi)), 0.55, 0.95)
    bones += column * (0.13 - 0.05 * disc)
    # shoulder girdle
    collar = anatomy.clavicle(body, e.raised)
    along = np.gradient(collar, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * 0.028
    outline = np.vstack([collar + across, (collar - across)[::-1]])
    both = [outline + [e.turned, 0], mirrored(outline) + [e.turned, 0]]
    band = canvas.fill(*both, soft=0.5)
    rim = canvas.stroke([np.vstack([o, o[:1]]) for o in both], 1.0).astype(np.float32) / 255
    bones += 0.10 * band + 0.05 * canvas.softened(rim, 0.5)
    blade = anatomy.scapula(body, e.raised, e.inward)
    shape = canvas.fill(blade, mirrored(blade), soft=0.8)
    rim = canvas.stroke([blade, mirrored(blade)], 1.0).astype(np.float32) / 255
    bones += 0.045 * shape + 0.05 * canvas.softened(rim, 0.6)
    head, shaft = anatomy.humerus(body, e.raised, e.spread)
    shapes = [head, mirrored(head), shaft, mirrored(shaft)]
    bones += 0.13 * canvas.fill(*shapes, soft=0.9)
    return np.asarray(body.bone * bones, np.float32)


def _develop(canvas: Canvas, e: Exposure, attenuation: Field) -> NDArray[np.uint8]:
    """Turn attenuation into the grey of a film: response curve, fog, grain, markers, borders."""
    side = canvas.side
    rng = np.random.default_rng(e.seed)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    veil = e.slope[0] * ramp[None, :] + e.slope[1] * ramp[:, None]
    veil = veil + e.uneven * canvas.enlarged(rng.standard_normal((5, 5), dtype=np.float32))
    dim = np.maximum(canvas.softened(attenuation, e.blur) * (1 + veil), 0)
    dense = cv2.pow(dim / np.float32(e.speed), e.steepness)
    grey = 255 * (e.fog + (e.white - e.fog) * dense / (1 + dense))
    grain = rng.standard_normal((side, side), dtype=np.float32)
    grain = 0.6 * grain + 0.8 * canvas.enlarged(
        rng.standard_normal((side // 2, side // 2), dtype=np.float32)
    )
    grey += np.float32(e.grain) * grain
    film = np.clip(grey, 0, 255).astype(np.uint8)
    if e.marker:
        at = (round(e.marker_at[0] * side), round(e.marker_at[1] * side))
        size = e.marker_size * canvas.scale
        pen = max(1, round(1.4 * canvas.scale))
        cv2.putText(film, e.marker, at, cv2.FONT_HERSHEY_SIMPLEX, size, 245, pen, cv2.LINE_AA)
    top, bottom, left, right = (round(s * side) for s in e.shutter)
    dark = round(255 * e.shutter_grey)
    film[:top], film[side - bottom :] = dark, dark
    film[:, :left], film[:, side - right :] = dark, dark
    return film
