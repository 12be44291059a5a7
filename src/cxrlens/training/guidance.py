"""Boxes and lung masks as small pictures that travel with a batch and move as its films do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrlens.collections.outlines import SIDES, Boxes, Lungs
from cxrlens.errors import FilmError
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.read import read_radiograph

SIDE = 56
"""Pixels of the pictures' side: four for a place of the map of a film of 224 pixels."""

MARGIN = 5
"""Pixels of the square that lungs are widened by: lesions at the rim and drawing habits."""


class Guided(NamedTuple):
    """What is known of the places of N films.

    Attributes
    ----------
    pictures
        (N, 2, SIDE, SIDE) float32 in [0, 1]: inside boxes, and inside the lungs with a margin.
    boxed, masked
        (N,) bool: whether the film has boxes, and whether it has a lung mask.
    """

    pictures: Tensor
    boxed: Tensor
    masked: Tensor


@dataclass(frozen=True)
class Guidance:
    """The pictures of a set of films; most films have none.

    Attributes
    ----------
    boxes
        SIDE × SIDE uint8 by the film's place in the set, 255 inside a box.
    lungs
        The same of the lungs.
    """

    boxes: dict[int, NDArray[np.uint8]]
    lungs: dict[int, NDArray[np.uint8]]

    def of(self, places: Sequence[int]) -> Guided:
        """Give what is known of some of the films."""
        pictures = np.zeros((len(places), 2, SIDE, SIDE), np.uint8)
        for channel, known in enumerate((self.boxes, self.lungs)):
            for at, place in enumerate(places):
                if place in known:
                    pictures[at, channel] = known[place]
        return Guided(
            torch.from_numpy(pictures).float().div_(255),
            torch.tensor([place in self.boxes for place in places]),
            torch.tensor([place in self.lungs for place in places]),
        )


def draw_guidance(
    images: Sequence[str],
    repairs: Sequence[str],
    chain: Chain,
    boxes: Boxes | None,
    lungs: Lungs | None,
) -> Guidance:
    """Draw the pictures of a set of films.

    Parameters
    ----------
    images
        Paths of the films.
    repairs
        What the chain did to each: a film that was cropped, to its borders or its lungs, has its boxes and
        mask cropped alike.
    chain
        What the films went through.
    boxes, lungs
        Tables; rows of other films are passed over.

    Raises
    ------
    CollectionError
        If a mask cannot be read, is empty, or has other proportions than its film.
    """
    place_of = {image: place for place, image in enumerate(images)}
    found = Guidance({}, {})
    if boxes:
        for image, rows in boxes.table.groupby("image"):
            if (place := place_of.get(str(image))) is None:
                continue
            left, top, right, bottom = _seen(str(image), repairs[place], chain)
            sides = rows[list(SIDES)].to_numpy(float)
            sides = (sides - [left, top, left, top]) / ([right - left, bottom - top] * 2)
            found.boxes[place] = _boxed(sides.clip(0, 1))
    if lungs:
        for row, image in enumerate(lungs.table["image"]):
            if (place := place_of.get(image)) is None:
                continue
            try:
                shape = read_radiograph(image).shape
            except FilmError:
                continue  # A film that cannot be read trains nothing and is listed elsewhere.
            mask = lungs.mask(row, (shape[0], shape[1]))
            left, top, right, bottom = _seen(image, repairs[place], chain)
            height, width = mask.shape
            rows_, columns = (
                slice(int(low * size), int(np.ceil(high * size)))
                for low, high, size in ((top, bottom, height), (left, right, width))
            )
            picture = _widened(mask[rows_, columns])
            found.lungs[place] = np.maximum(picture, found.lungs.get(place, 0))
    return found


def _seen(image: str, repairs: str, chain: Chain) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what the chain left of a film, as fractions of it."""
    if "crop" not in repairs.split() and chain.lungs != "crop":
        return 0.0, 0.0, 1.0, 1.0
    film = read_radiograph(image)
    top, bottom, left, right = chain.examine(film).cropped
    height, width = film.shape
    return left / width, top / height, 1 - right / width, 1 - bottom / height


def _boxed(sides: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    for x0, y0, x1, y1 in sides * SIDE:
        # A box that is cropped away has no area left.
        if x1 > x0 and y1 > y0:
            picture[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = 255
    return picture


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    small = cv2.resize(mask.astype(np.uint8) * 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    wide = cv2.dilate(small, np.ones((MARGIN, MARGIN), np.uint8))
    return np.where(wide > 0, 255, 0).astype(np.uint8)
