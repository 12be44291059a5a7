"""Random changes to a batch of training films, drawn once and applied to films, boxes and masks alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrlens.collections.collection import SIDES, Boxes, Lungs
from cxrlens.errors import FilmError
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.grey import clahe
from cxrlens.radiographs.read import read_radiograph
from cxrlens.recipes.recipe import Augmentation

CLAHE_CLIP = 2.0
"""Clip limit of the equalisation, a usual mild one."""

STEEPNESS = 1.2
"""Of the sigmoid on which a tone curve works: a standardised film lies mostly within it."""

GRAIN = 0.15
"""Deviation of the grain, in deviations of the film."""


@dataclass(frozen=True)
class Draw:
    """What was drawn for the N films of a batch; the same draw changes the same films alike.

    Attributes
    ----------
    shift
        (N, 2) of the side, to the right and down.
    scale
        (N,) factor, above 1 enlarges.
    rotation
        (N,) degrees, clockwise as the film is seen.
    brightness
        (N,) grey levels of [0, 255] to add.
    contrast
        (N,) factor of the distance from the film's mean.
    clahe
        (N,) bool.
    part
        (N, 2) share of width and height that is left of the film.
    place
        (N, 2) where the middle of that part lies: from the film's middle, in half sides.
    flip
        (N,) bool: left and right exchanged.
    tone
        (N,) exponent of the tone curve.
    gain, offset
        (N,) of the standardised film.
    blur, noise
        (N,) bool.
    grain
        Seed of the grain.
    """

    shift: Tensor
    scale: Tensor
    rotation: Tensor
    brightness: Tensor
    contrast: Tensor
    clahe: Tensor
    part: Tensor
    place: Tensor
    flip: Tensor
    tone: Tensor
    gain: Tensor
    offset: Tensor
    blur: Tensor
    noise: Tensor
    grain: int

    @property
    def inverse(self) -> Tensor:
        """(N, 2, 3): for a point of the result, in [-1, 1], where it comes from in the film."""
        angle = torch.deg2rad(-self.rotation)
        cosine, sine = torch.cos(angle) / self.scale, torch.sin(angle) / self.scale
        turn = torch.stack(
            [torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1
        )
        back = torch.cat([turn, -(turn @ (2 * self.shift)[:, :, None])], dim=2)
        part = self.part * torch.stack(
            [torch.where(self.flip, -1.0, 1.0), torch.ones(()).expand(len(self.flip))], dim=1
        )
        back = part[:, :, None] * back
        back[:, :, 2] += self.place
        return back


def draw(settings: Augmentation, films: int) -> Draw:
    """Draw the changes of a batch from PyTorch's generator on the CPU, evenly within the bounds."""

    def evenly(bound: float, *shape: int) -> Tensor:
        return (2 * torch.rand(films, *shape) - 1) * bound

    def at_times(share: float) -> Tensor:
        return torch.rand(films) < share

    shift, scale, rotation = (
        evenly(settings.shift, 2),
        1 + evenly(settings.scale),
        evenly(settings.rotation),
    )
    brightness, contrast = 255 * evenly(settings.brightness), 1 + evenly(settings.contrast)
    equalised = at_times(settings.clahe)
    width = 1 - (1 - settings.crop) * torch.rand(films)
    part = torch.stack([width, width * (1 + evenly(settings.stretch))], dim=1)
    # A little of what lies outside may be seen, but not a film that is mostly border.
    part = part.clamp(max=1.05)
    return Draw(
        shift=shift,
        scale=scale,
        rotation=rotation,
        brightness=brightness,
        contrast=contrast,
        clahe=equalised,
        part=part,
        place=evenly(1.0, 2) * (1 - part).clamp(min=0),
        flip=at_times(settings.flip),
        tone=torch.exp(evenly(settings.tone)),
        gain=1 + evenly(settings.gain),
        offset=evenly(settings.offset),
        blur=at_times(settings.blur),
        noise=at_times(settings.noise),
        grain=int(torch.randint(2**31, ())),
    )


def move(pictures: Tensor, changes: Draw, side: int, outside: str = "border") -> Tensor:
    """Shift, scale, turn, crop and flip pictures as drawn.

    Parameters
    ----------
    pictures
        (N, C, H, W) float: films, boxes or masks, on any grid.
    changes
        Of N films.
    side
        Of the result.
    outside
        What comes in from outside a film: ``border``, the nearest pixel of its edge, or ``zeros``.

    Returns
    -------
    Tensor
        (N, C, side, side) float.
    """
    shape = [*pictures.shape[:2], side, side]
    grid = functional.affine_grid(changes.inverse.to(pictures), shape, align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode=outside, align_corners=False)


def augment(films: Tensor, changes: Draw, side: int | None = None) -> Tensor:
    """Apply drawn changes, all but those of standardised films.

    Parameters
    ----------
    films
        (N, S, S) uint8.
    changes
        Of N films.
    side
        Of the result; None for the films' own.

    Returns
    -------
    Tensor
        (N, side, side) float32 in [0, 255], on the films' device. What comes in from outside a film is
        the nearest pixel of its edge.
    """
    chosen = changes.clahe.nonzero().flatten().tolist()
    if chosen:
        films = films.clone()
        for place in chosen:
            film = films[place].cpu().numpy()
            films[place] = torch.from_numpy(clahe(film, CLAHE_CLIP)).to(films.device)
    x = move(films.to(torch.float32).unsqueeze(1), changes, side or films.shape[-1]).squeeze(1)
    mean = x.mean((1, 2), keepdim=True)
    contrast = changes.contrast.to(x)[:, None, None]
    brightness = changes.brightness.to(x)[:, None, None]
    return ((x - mean) * contrast + mean + brightness).clamp(0, 255)


def shade(films: Tensor, changes: Draw, middle: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Change the greys of standardised films: tone curve, gain, offset, blur, grain.

    Parameters
    ----------
    films
        (N, 1, S, S) float32.
    changes
        Of N films.
    middle
        About the mean and the deviation of the films.

    Returns
    -------
    Tensor
        (N, 1, S, S) float32.
    """

    def each(values: Tensor) -> Tensor:
        return values.to(films)[:, None, None, None]

    x = (films - middle[0]) / middle[1]
    curve = torch.sigmoid(x * STEEPNESS).clamp(1e-4, 1 - 1e-4) ** each(changes.tone)
    x = torch.logit(curve) / STEEPNESS * each(changes.gain) + each(changes.offset)
    if changes.blur.any():
        chosen = changes.blur.to(x.device)
        coarse = functional.avg_pool2d(x[chosen], 2)
        x[chosen] = functional.interpolate(coarse, size=x.shape[2:], mode="bilinear")
    if changes.noise.any():
        chosen = changes.noise.to(x.device)
        seeded = torch.Generator().manual_seed(changes.grain)
        grain = torch.randn(x[chosen].shape, generator=seeded)
        x[chosen] = x[chosen] + GRAIN * grain.to(x)
    return x * middle[1] + middle[0]


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


class Batch(NamedTuple):
    """N films and what is known of them.

    Attributes
    ----------
    films
        (N, S, S) uint8.
    labels
        (N,) int64.
    prior
        (N, classes) float32 to add to the scores in training; None for nothing.
    guided
        What an evidence map is taught with beside the labels, or None.
    """

    films: Tensor
    labels: Tensor
    prior: Tensor | None = None
    guided: Guided | None = None


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


SOFT = 5
"""Pixels of the guiding pictures' grid over which a box's rim is faded; a ninth of the lungs' height."""

LEAST = 0.05
"""Of a film's deviation: a flat donor is not blown up."""


@dataclass(frozen=True)
class Transplants:
    """What is carried where, in one batch.

    Attributes
    ----------
    hosts
        (M,) int64, normal films that get something.
    donors
        (M,) int64, the films that it is taken from.
    shapes
        (M,) int64, the films whose boxes say which part; the donors themselves where a lesion is carried.
    ill
        (M,) bool, whether a lesion is.
    mirrored
        (M,) bool, left and right exchanged.
    """

    hosts: Tensor
    donors: Tensor
    shapes: Tensor
    ill: Tensor
    mirrored: Tensor


def draw_transplants(labels: Tensor, boxed: Tensor, share: float) -> Transplants:
    """Draw transplants from PyTorch's generator on the CPU.

    Parameters
    ----------
    labels
        (N,) int64, 0 for normal.
    boxed
        (N,) bool.
    share
        Of normal films that get a lesion; as many more get a part of a normal film. At most 0.5.
    """
    normal, shapes = (labels == 0).nonzero().flatten(), boxed.nonzero().flatten()
    count = round(share * len(normal)) if len(shapes) and len(normal) > 1 else 0
    hosts = normal[torch.randperm(len(normal))][: 2 * count]
    ill = torch.arange(len(hosts)) < count
    if not len(hosts):
        nothing = torch.zeros(0, dtype=torch.int64)
        return Transplants(nothing, nothing, nothing, nothing.bool(), nothing.bool())
    chosen = shapes[torch.randint(len(shapes), (len(hosts),))]
    others = normal[torch.randint(len(normal), (len(hosts),))]
    donors = torch.where(ill, chosen, others)
    return Transplants(hosts, donors, chosen, ill, torch.rand(len(hosts)) < 0.5)


def transplanted(batch: Batch, drawn: Transplants) -> Batch:
    """Lay parts of films into others, as drawn.

    A part is brought to the host's own mean and deviation, then shifted so that its rim has the host's
    greys, and faded out. What came of an ill donor has its label and boxes; all hosts lose what their source
    tells of their label, since it no longer holds.

    Parameters
    ----------
    batch
        With guiding pictures. It is not changed.
    drawn
        Of this batch.
    """
    if batch.guided is None or not len(drawn.hosts):
        return batch
    pictures, boxed, masked = batch.guided
    place = drawn.mirrored[:, None, None]
    boxes = pictures[drawn.shapes, 0]
    boxes = torch.where(place, boxes.flip(-1), boxes)
    hosts = batch.films[drawn.hosts].float()
    donors = batch.films[drawn.donors].float()
    donors = torch.where(place, donors.flip(-1), donors)
    of_hosts, of_donors = (
        (films.mean((1, 2), keepdim=True), films.std((1, 2), keepdim=True) + 255 * LEAST)
        for films in (hosts, donors)
    )
    donors = (donors - of_donors[0]) / of_donors[1] * of_hosts[1] + of_hosts[0]
    side = hosts.shape[-1]
    soft = functional.avg_pool2d(boxes[:, None], SOFT, 1, SOFT // 2, count_include_pad=False)
    alpha = functional.interpolate(soft, size=(side, side), mode="bilinear")[:, 0]
    # Half seen and half hidden: the rim, where both films should agree.
    rim = alpha * (1 - alpha)
    step = ((hosts - donors) * rim).sum((1, 2), keepdim=True) / rim.sum((1, 2), keepdim=True).clamp(
        min=1e-3
    )
    films = batch.films.clone()
    films[drawn.hosts] = (
        (hosts + alpha * (donors + step - hosts)).round().clamp(0, 255).to(films.dtype)
    )
    ill, ill_shapes = drawn.hosts[drawn.ill], drawn.shapes[drawn.ill]
    labels, pictures, boxed = batch.labels.clone(), pictures.clone(), boxed.clone()
    labels[ill] = batch.labels[ill_shapes]
    pictures[ill, 0] = boxes[drawn.ill]
    boxed[ill] = True
    prior = batch.prior
    if prior is not None:
        prior = prior.clone()
        prior[drawn.hosts] = 0
    return Batch(films, labels, prior, Guided(pictures, boxed, masked))


class Mixing(NamedTuple):
    """What is mixed into the N films of a batch.

    Attributes
    ----------
    other
        (N,) int64, a film of the same class for each.
    weight
        (N,) float32 in [0, 0.5] of that film; 0 leaves a film as it is.
    """

    other: Tensor
    weight: Tensor


def draw_mixing(batch: Batch, share: float) -> Mixing:
    """Draw which films are mixed, from PyTorch's generator on the CPU.

    Two films of one class, mostly of two sources, leave the class and blur the source (Zhang 2018, within
    classes). A film with boxes stays as it is: another's lesions would stand outside of them.

    Parameters
    ----------
    batch
        N films.
    share
        Of them that another is mixed into.
    """
    labels = batch.labels.cpu()
    other = torch.arange(len(labels))
    for label in range(int(labels.max()) + 1):
        own = torch.nonzero(labels == label)[:, 0]
        other[own] = own[torch.randperm(len(own))]
    chosen = torch.rand(len(labels)) < share
    if batch.guided is not None:
        chosen &= ~batch.guided.boxed.cpu()
    return Mixing(other, torch.rand(len(labels)) / 2 * chosen)


def mixed(films: Tensor, drawn: Mixing) -> Tensor:
    """Mix standardised films (N, 1, S, S) as drawn."""
    weight = drawn.weight.to(films)[:, None, None, None]
    return films.lerp(films[drawn.other.to(films.device)], weight)
