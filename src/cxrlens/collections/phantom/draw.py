"""One phantom film: tissue by tissue into attenuation, then onto film.

A film is the image of how much the body dims the beam. Each tissue adds to (air: takes from) one
float32 field of attenuation; a film's response curve turns it into grey, with grain, markers and
borders last. The label reaches only the lesions: the same seed gives the same film with or without.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.phantom.anatomy import draw_body
from cxrlens.collections.phantom.canvas import Canvas
from cxrlens.collections.phantom.develop import develop, open_field
from cxrlens.collections.phantom.exposure import SOURCES, draw_exposure
from cxrlens.collections.phantom.lesions import draw_lesions
from cxrlens.collections.phantom.tissue import draw_scene

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
