"""Lesions carried into normal films: what is ill is then the lesion, not the place that the film is from.

Most sources hold one class alone, so a network learns the source where it can. A box of a radiologist, with
the lesion in it, is laid into a normal film of another source, which from then on counts as ill and has that
box. As many normal films get a box full of another normal film and stay normal: the seam itself then says
nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cxrlens.training.augment import Guided
from cxrlens.training.films import Batch

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
