"""Films with lung masks for training and measuring the lung network: which, whose, how parted.

Two habits of drawing: `fields` are the lung fields alone (jsrt, shenzhen), `with_heart` holds the
heart's shadow too (covid_chestxray). A fifth of the patients is held out, always the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.phantoms.anatomy import Body, Canvas
from cxrlens.phantoms.body import draw_scene
from cxrlens.phantoms.exposure import Exposure, develop, open_field
from quality_films import CXR

Film = NDArray[np.uint8]
FREE = (
    "research use, cite van Ginneken 2006",
    "CC BY 3.0",
    "CC BY 4.0",
    "listed as authorized for everyone",
)
"""Terms under which nobody asks for non-commercial use; 344 of the 892 masks."""


@dataclass(frozen=True)
class Drawn:
    """A film, its lungs as drawn (bool), and by which habit."""

    name: str
    source: str
    film: Film
    mask: NDArray[np.bool_]
    with_heart: bool
    held: bool
    free: bool


def held_out(patient: str) -> bool:
    """Tell whether a patient belongs to the fifth that the first runs hold out."""
    return int(hashlib.sha256(f"lungs {patient}".encode()).hexdigest(), 16) % 5 == 0


def drawn_films() -> list[Drawn]:
    """Read the films with masks, 224 pixels a side."""
    table = pd.read_csv(CXR / "lungs.csv")
    known = pd.concat([pd.read_csv(CXR / name) for name in ("collection.csv", "others.csv")])
    patients = dict(zip(known["image"], known["patient"], strict=True))
    films = []
    for row in table.itertuples():
        image, mask = str(row.image), str(row.mask)
        source = image.split("/")[1] if image.startswith("images/") else "covid_chestxray"
        grey, drawn = (cv2.imread(str(CXR / name), cv2.IMREAD_GRAYSCALE) for name in (image, mask))
        films.append(
            Drawn(
                image,
                source,
                np.asarray(grey, np.uint8),
                np.asarray(drawn) > 127,
                source == "covid_chestxray",
                held_out(str(patients.get(image, image))),
                row.licence in FREE,
            )
        )
    return films


def undrawn_films(source: str, count: int, seed: int) -> list[Film]:
    """Read films without masks, evenly drawn from a source of the collection."""
    table = pd.read_csv(CXR / "collection.csv")
    rows = table[table["source"] == source]
    rows = rows.sample(min(count, len(rows)), random_state=seed)
    return [
        np.asarray(cv2.imread(str(CXR / image), cv2.IMREAD_GRAYSCALE), np.uint8)
        for image in rows["image"]
    ]


def phantom(
    seed: int, lacking: str = "", side: int = 224
) -> tuple[Film, NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw a phantom, with soft tissue in the place of the lungs in `lacking` ("left", "right", both).

    Returns
    -------
    tuple
        The film, the lungs that are there, the lungs that lack.
    """
    person = np.random.default_rng([71, seed])
    taking = np.random.default_rng([72, seed])
    body = Body(person)
    exposure = Exposure(taking, body.age)
    canvas = Canvas(side, exposure.centre, exposure.half_width, exposure.height, exposure.tilt)
    scene = draw_scene(canvas, body, exposure)
    x, _ = canvas.body_xy
    seen = open_field(side, exposure)
    gone = np.zeros_like(scene.lungs)
    for name, half in (("right", x < 0), ("left", x >= 0)):
        if name in lacking:
            gone += scene.lungs * half
    soft = np.asarray(cv2.GaussianBlur(gone, (0, 0), 0.012 * side), np.float32)
    filled = np.float32(exposure.lucency * taking.uniform(0.85, 1.15))
    attenuation = scene.body + scene.vessels * (1 - soft) + filled * soft
    film = develop(canvas, exposure, attenuation)
    lungs = (scene.lungs > 0.5) & seen
    return film, lungs & (gone <= 0.5), lungs & (gone > 0.5)
