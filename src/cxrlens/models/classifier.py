"""One network over films: standardise, extract features, pool, score."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cxrlens.models.backbones import Backbone, Standardisation


class Standardise(nn.Module):
    """Scale uint8 grey films to what the backbone's weights expect, with one or three channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, standardisation: Standardisation) -> None:
        super().__init__()
        self.channels = len(standardisation.mean)
        shape = (1, self.channels, 1, 1)
        for name, values in (("mean", standardisation.mean), ("std", standardisation.std)):
            self.register_buffer(name, torch.tensor(values).view(shape), persistent=False)

    def forward(self, films: Tensor) -> Tensor:
        """Map films (N, S, S), uint8 or float in [0, 255], to float32 (N, channels, S, S)."""
        x = films.to(torch.float32).div(255).unsqueeze(1)
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class Outputs(NamedTuple):
    """What every network answers to N films.

    Attributes
    ----------
    scores
        (N, classes) float, before softmax or sigmoid.
    map
        Evidence for each of D diseases, place by place: (N, D, h, w) float, before the sigmoid; None from a
        network that brings no map of its own.
    """

    scores: Tensor
    map: Tensor | None


class FilmClassifier(nn.Module):
    """Films in, one score a class out.

    Parameters
    ----------
    backbone
        Turns standardised films into feature maps and pools them.
    head
        Turns pooled features (N, C) into scores (N, classes).
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.standardise = Standardise(backbone.standardisation)
        self.backbone = backbone
        self.head = head

    brings_map = False
    """Whether its answers hold a map of their own."""

    def maps(self, films: Tensor) -> Tensor:
        """Last feature maps (N, C, h, w) of films (N, S, S) in [0, 255]."""
        return self.backbone.maps(self.standardise(films))

    def scores(self, maps: Tensor) -> Tensor:
        """Scores before softmax (N, classes) of feature maps."""
        y: Tensor = self.head(self.backbone.pool(maps))
        return y

    def forward(self, films: Tensor) -> Outputs:
        """Answer films (N, S, S) in [0, 255]."""
        return Outputs(self.scores(self.maps(films)), None)
