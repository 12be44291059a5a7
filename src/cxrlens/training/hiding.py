"""Films of which only the lungs are left, and films whose lungs are gone, so that a network reads the lungs.

What is hidden is filled: with one grey, with grain, with another film of the batch, or with the film itself
so blurred that no lesion is left. A film without its lungs shows no disease: it counts as normal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cxrlens.training.films import Batch

FILLS = ("grey", "grain", "other", "blur")

COARSE = 20
"""Times that a blurred filling is coarser than the film."""


@dataclass(frozen=True)
class Hidden:
    """What is hidden of the N films of a batch, and what is put there.

    Attributes
    ----------
    outside
        (N,) bool: all but the lungs.
    lungs
        (N,) bool: the lungs; never of a film whose outside is hidden.
    fill
        (N,) int64, of `FILLS`.
    other
        (N,) int64, the film that ``other`` takes.
    grey
        (N,) above the film's mean, in deviations of the film.
    grain
        Seed of the grain.
    """

    outside: Tensor
    lungs: Tensor
    fill: Tensor
    other: Tensor
    grey: Tensor
    grain: int


def draw_hidden(masked: Tensor, outside: float, lungs: float) -> Hidden:
    """Draw from PyTorch's generator on the CPU.

    Parameters
    ----------
    masked
        (N,) bool, films whose lungs are known; nothing is hidden of others.
    outside, lungs
        Shares of the films.
    """
    films = len(masked)
    drawn = torch.rand(films)
    return Hidden(
        outside=(drawn < outside) & masked,
        lungs=(drawn >= outside) & (drawn < outside + lungs) & masked,
        fill=torch.randint(len(FILLS), (films,)),
        other=torch.randperm(films),
        grey=torch.randn(films) / 2,
        grain=int(torch.randint(2**31, ())),
    )


def hide(batch: Batch, hidden: Hidden) -> Batch:
    """Fill what is drawn to be hidden; a film without its lungs counts as normal, whatever its source.

    Parameters
    ----------
    batch
        With guiding pictures. It is not changed.
    hidden
        Of this batch.
    """
    chosen = (hidden.outside | hidden.lungs).nonzero().flatten()
    if batch.guided is None or not len(chosen):
        return batch
    films = batch.films.float()
    side = films.shape[-1]
    lungs = functional.interpolate(
        batch.guided.pictures[chosen, 1:], size=(side, side), mode="bilinear"
    )[:, 0]
    gone = hidden.lungs[chosen]
    kept = torch.where(gone[:, None, None], 1 - lungs, lungs)
    own = films[chosen]
    spread = own.std((1, 2), keepdim=True)
    grey = own.mean((1, 2), keepdim=True) + hidden.grey[chosen][:, None, None] * spread
    seeded = torch.Generator().manual_seed(hidden.grain)
    grain = torch.randn(own.shape, generator=seeded).to(own) / 2 * spread
    coarse = functional.avg_pool2d(own[:, None], COARSE, ceil_mode=True)
    blurred = functional.interpolate(coarse, size=(side, side), mode="bilinear")[:, 0]
    fills = torch.stack([grey.expand_as(own), grey + grain, films[hidden.other[chosen]], blurred])
    # Another film's lungs would show its disease, and a white lung is white when blurred, too.
    fill = torch.where(gone, hidden.fill[chosen] % 2, hidden.fill[chosen])
    filling = fills[fill, torch.arange(len(chosen))]
    changed = batch.films.clone()
    changed[chosen] = torch.lerp(filling, own, kept).round().clamp(0, 255).to(changed.dtype)
    labels, boxed, prior = batch.labels.clone(), batch.guided.boxed.clone(), batch.prior
    labels[hidden.lungs] = 0
    boxed[hidden.lungs] = False
    if prior is not None:
        prior = prior.clone()
        prior[hidden.lungs] = 0
    return Batch(changed, labels, prior, batch.guided._replace(boxed=boxed))
