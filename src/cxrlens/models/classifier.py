"""One network over films: standardise, extract features, pool, score; and the first layers frozen."""

import difflib
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import Backbone, Standardisation


def feed_forward(channels: int, width: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build the report's head: a dense layer with ReLU, dropout, one score a class.

    Parameters
    ----------
    channels
        Features that come in.
    width
        Units of the hidden layer.
    classes
        Scores that go out; softmax is not applied here.
    dropout
        Probability in [0, 1) between the two layers.
    """
    return nn.Sequential(
        nn.Linear(channels, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes)
    )


def linear_svm(channels: int, classes: int) -> nn.Linear:
    """Build the report's SVM: one linear score a class, a_k(x) = w_k x, without bias.

    Parameters
    ----------
    channels
        Features that come in.
    classes
        Scores that go out; a hinge loss makes them an SVM's.
    """
    return nn.Linear(channels, classes, bias=False)


def freeze(backbone: Backbone, last: str) -> None:
    """Freeze every layer from the film up to and including one.

    Frozen weights get no gradient, and frozen layers stay in inference mode: a batch norm keeps its
    ImageNet statistics, as Keras does with layers that are not trainable.

    Parameters
    ----------
    backbone
        Changed in place.
    last
        The dotted name of a module of its network, e.g. ``blocks.3.1`` or
        ``stages.2.blocks.3.mlp.fc1``. Modules count in the order in which the network names them,
        which in timm's networks is the order in which a film meets them.

    Raises
    ------
    CxrlensError
        If the network has no module of that name.
    """
    modules = dict(backbone.network.named_modules())
    if not last or last not in modules:
        near = difflib.get_close_matches(last, [name for name in modules if name], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CxrlensError(f"model.frozen: {backbone.name} has no layer {last!r}{hint}")
    names = list(modules)
    boundary = max(place for place, name in enumerate(names) if _within(name, last))
    frozen = [
        name
        for name in names
        if name and max(p for p, other in enumerate(names) if _within(other, name)) <= boundary
    ]
    for name in frozen:
        for parameter in modules[name].parameters(recurse=False):
            parameter.requires_grad_(False)
    backbone.hold_still([modules[name] for name in frozen])


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


FLAT = 0.05
"""Added to a film's own deviation, on the scale [0, 1], so that an empty film is not blown up."""


class Standardise(nn.Module):
    """Scale uint8 grey films to what a backbone takes, with one or three channels.

    Parameters
    ----------
    standardisation
        What the backbone's weights expect.
    by
        ``weights`` scales every film by it. ``film`` takes each film's own mean and deviation, so that
        exposure and the hospital's habit of windowing do not reach the network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, standardisation: Standardisation, by: str = "weights") -> None:
        super().__init__()
        self.channels = len(standardisation.mean)
        self.by_film = by == "film"
        shape = (1, self.channels, 1, 1)
        for name, values in (("mean", standardisation.mean), ("std", standardisation.std)):
            self.register_buffer(name, torch.tensor(values).view(shape), persistent=False)

    def forward(self, films: Tensor) -> Tensor:
        """Map films (N, S, S), uint8 or float in [0, 255], to float32 (N, channels, S, S)."""
        return self.channelled(self.grey(films))

    def grey(self, films: Tensor) -> Tensor:
        """Map films (N, S, S) to float32 (N, 1, S, S) in [0, 1], or each of mean 0 and deviation 1."""
        x = films.to(torch.float32).div(255).unsqueeze(1)
        if not self.by_film:
            return x
        spread = x.std((2, 3), correction=0, keepdim=True)
        return (x - x.mean((2, 3), keepdim=True)) / (spread + FLAT)

    def channelled(self, grey: Tensor) -> Tensor:
        """Map what `grey` gives to the backbone's channels."""
        own = self.by_film
        x = grey.expand(-1, self.channels, -1, -1) if own else (grey - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    @property
    def middle(self) -> tuple[float, float]:
        """About the mean and the deviation of what `grey` gives."""
        return (0.0, 1.0) if self.by_film else (0.5, 0.25)


class Outputs(NamedTuple):
    """What every network answers to N films.

    Attributes
    ----------
    scores
        (N, classes) float, before softmax or sigmoid.
    map
        Evidence for each of D diseases, place by place: (N, D, h, w) float, before the sigmoid; None from a
        network that brings no map of its own.
    features
        (N, C) float, the backbone's last features, each pooled over the film.
    """

    scores: Tensor
    map: Tensor | None
    features: Tensor


class FilmClassifier(nn.Module):
    """Films in, one score a class out.

    Parameters
    ----------
    backbone
        Turns standardised films into feature maps and pools them.
    head
        Turns pooled features (N, C) into scores (N, classes).
    standardise
        ``weights`` or ``film``: see `Standardise`.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, standardise: str = "weights") -> None:
        super().__init__()
        self.standardise = Standardise(backbone.standardisation, standardise)
        self.backbone = backbone
        self.head = head

    brings_map = False
    """Whether its answers hold a map of their own."""

    def maps(self, films: Tensor) -> Tensor:
        """Last feature maps (N, C, h, w) of films (N, S, S) in [0, 255]."""
        return self.features(self.standardise(films))

    def features(self, x: Tensor) -> Tensor:
        """Last feature maps (N, C, h, w) of standardised films (N, channels, S, S)."""
        return self.backbone.maps(x)

    def scores(self, maps: Tensor) -> Tensor:
        """Scores before softmax (N, classes) of feature maps."""
        y: Tensor = self.head(self.backbone.pool(maps))
        return y

    def forward(self, films: Tensor) -> Outputs:
        """Answer films (N, S, S) in [0, 255]."""
        return self.answer(self.standardise(films))

    def answer(self, x: Tensor) -> Outputs:
        """Answer standardised films (N, channels, S, S)."""
        pooled = self.backbone.pool(self.features(x))
        return Outputs(self.head(pooled), None, pooled)
