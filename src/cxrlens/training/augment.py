"""Random changes to a batch of training films: drawn by one function, applied by another (SYSTEM §4)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cxrlens.radiographs.filters import clahe
from cxrlens.recipes.recipe import Augmentation

CLAHE_CLIP = 2.0
"""Clip limit of the equalisation, a usual mild one."""


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
    """

    shift: Tensor
    scale: Tensor
    rotation: Tensor
    brightness: Tensor
    contrast: Tensor
    clahe: Tensor


def draw(settings: Augmentation, films: int) -> Draw:
    """Draw the changes of a batch from PyTorch's generator on the CPU, evenly within the bounds."""

    def evenly(bound: float, *shape: int) -> Tensor:
        return (2 * torch.rand(films, *shape) - 1) * bound

    return Draw(
        shift=evenly(settings.shift, 2),
        scale=1 + evenly(settings.scale),
        rotation=evenly(settings.rotation),
        brightness=255 * evenly(settings.brightness),
        contrast=1 + evenly(settings.contrast),
        clahe=torch.rand(films) < settings.clahe,
    )


def augment(films: Tensor, changes: Draw) -> Tensor:
    """Apply drawn changes.

    Parameters
    ----------
    films
        (N, S, S) uint8.
    changes
        Of N films.

    Returns
    -------
    Tensor
        (N, S, S) float32 in [0, 255], on the films' device. What comes in from outside a film is
        the nearest pixel of its edge.
    """
    chosen = changes.clahe.nonzero().flatten().tolist()
    if chosen:
        films = films.clone()
        for place in chosen:
            film = films[place].cpu().numpy()
            films[place] = torch.from_numpy(clahe(film, CLAHE_CLIP)).to(films.device)
    x = films.to(torch.float32).unsqueeze(1)
    # The grid says for each pixel of the result where it comes from, so it holds the inverse map.
    angle = torch.deg2rad(-changes.rotation)
    cosine, sine = torch.cos(angle) / changes.scale, torch.sin(angle) / changes.scale
    inverse = torch.stack(
        [torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1
    )
    moved = -(inverse @ (2 * changes.shift)[:, :, None])
    grid = functional.affine_grid(
        torch.cat([inverse, moved], dim=2).to(x), list(x.shape), align_corners=False
    )
    x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False).squeeze(1)
    mean = x.mean((1, 2), keepdim=True)
    contrast = changes.contrast.to(x)[:, None, None]
    brightness = changes.brightness.to(x)[:, None, None]
    return ((x - mean) * contrast + mean + brightness).clamp(0, 255)
