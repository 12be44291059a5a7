"""A classifier: a backbone, a standardisation of films and a head, the evidence map among them.

An evidence map scores a disease at each place, and its film's score is pooled from the places: the map is the
explanation.
"""

import difflib
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrlens.errors import CxrlensError
from cxrlens.lungs.fields import NETWORK, SIDE
from cxrlens.models.backbones import Backbone, Standardisation, build_backbone
from cxrlens.recipes.recipe import Model


def feed_forward(channels: int, width: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build the 2023 study's head: a dense layer with ReLU, dropout, one score a class.

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
    """Build the 2023 study's SVM: one linear score a class, a_k(x) = w_k x, without bias.

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


RARE = -2.0
"""Evidence that an untrained map starts from: a lesion covers little of a film."""


def soft_maximum(evidence: Tensor, sharpness: float) -> Tensor:
    """Pool maps (N, D, h, w) to (N, D) by log-sum-exp, between mean and maximum (Pinheiro 2015).

    It is log(mean(exp(r e))) / r with r = `sharpness`, so a map of one value everywhere gives that value: the
    mean of the map for r towards 0, its maximum for r towards infinity.
    """
    places = evidence.shape[2] * evidence.shape[3]
    pooled = torch.logsumexp(evidence.flatten(2) * sharpness, dim=2)
    return (pooled - math.log(places)) / sharpness


def two_depths(backbone: Backbone) -> tuple[int, int]:
    """Choose two of a backbone's stages: the last, and the last one before it with a finer grid.

    Raises
    ------
    CxrlensError
        If all its stages have one grid, as a plain vision transformer's, or it does not tell its stages.
    """
    stages = list(getattr(backbone.network, "feature_info", ()))
    grids = [int(stage["reduction"]) for stage in stages]
    finer = [place for place, grid in enumerate(grids) if grid < grids[-1]]
    if not finer or not hasattr(backbone.network, "forward_intermediates"):
        raise CxrlensError(
            f"model.head: evidence-map needs a backbone with stages on two grids, and {backbone.name} has "
            "none; tf_efficientnet_lite0, convnext_tiny and resnet18 have"
        )
    return finer[-1], len(stages) - 1


FINER = 4
"""Lungs are told apart on a grid so many times finer than that of the mixed features."""


class EvidenceHead(nn.Module):
    """From features at two depths to maps of evidence and to scores.

    Parameters
    ----------
    fine, deep
        Channels of the two depths.
    width
        Channels that both are brought to.
    diseases
        Maps that go out.
    sharpness
        Of the soft maximum that pools them.
    """

    def __init__(self, fine: int, deep: int, width: int, diseases: int, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.width = width
        self.fine = nn.Conv2d(fine, width, 1)
        self.deep = nn.Conv2d(deep, width, 1)
        self.mix = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.evidence = nn.Conv2d(width, diseases, 1)
        nn.init.constant_(self.evidence.bias, RARE)  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.zeros(1 + diseases))

    def mixed(self, fine: Tensor, deep: Tensor) -> Tensor:
        """Bring both depths together, on the grid of the finer one."""
        coarse = functional.interpolate(
            self.deep(deep).float(), size=fine.shape[2:], mode="bilinear", align_corners=False
        )
        sides = self.fine(fine)
        y: Tensor = self.mix(sides + coarse.to(sides.dtype))
        return y

    def evidence_of(self, mixed: Tensor) -> Tensor:
        """Make maps (N, D, h, w) of mixed features; lungs may follow these, see `EvidenceClassifier`."""
        evidence: Tensor = self.evidence(mixed[:, : self.width]).float()
        if mixed.shape[1] == self.width:
            return evidence
        lungs = functional.pixel_shuffle(mixed[:, self.width :].float().detach(), FINER)
        finer = functional.interpolate(
            evidence, scale_factor=FINER, mode="bilinear", align_corners=False
        )
        return finer + functional.logsigmoid(lungs)

    def pooled(self, evidence: Tensor) -> Tensor:
        """Scores (N, 1 + D) of maps (N, D, h, w): the first class, normal, has a constant one."""
        scores = soft_maximum(evidence, self.sharpness)
        return torch.cat([torch.zeros_like(scores[:, :1]), scores], dim=1) + self.bias


FAINT = 0.14
"""Added to a film's own deviation; of standardised greys what the network learnt with of grey levels."""


class LungNetwork(nn.Module):
    """`cxrlens.lungs`'s U-Net (Ronneberger 2015) without its answer for the whole film; it never learns.

    Its weights come out of the package's ``lungs.onnx`` and are kept with those of the network that it is
    a part of.
    """

    def __init__(self) -> None:
        super().__init__()
        import onnx  # only such maps need it

        for weights in onnx.load(NETWORK).graph.initializer:
            part, _, leaf = weights.name.rpartition(".")
            if part and part.split(".")[0] not in ("squeeze", "judge"):
                values = torch.from_numpy(onnx.numpy_helper.to_array(weights).copy())
                name = f"{part}.{leaf.removeprefix('weight_')}".replace(".", "_")
                self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        """Find the lungs (N, 1, 128, 128), before the sigmoid, in standardised greys (N, 1, S, S)."""
        x = functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        spread = x.std((2, 3), correction=0, keepdim=True)
        x = (x - x.mean((2, 3), keepdim=True)) / (spread + FAINT)
        x = functional.relu(self._convolved(x, "stem", stride=2, padding=1))
        kept = []
        for depth in range(5):
            x = self._twice(functional.max_pool2d(x, 2) if depth else x, f"down_{depth}")
            kept.append(x)
        for depth, near in enumerate(kept[-2::-1]):
            x = torch.cat([functional.interpolate(x, scale_factor=2.0), near], dim=1)
            x = self._twice(x, f"up_{depth}")
        return functional.pixel_shuffle(self._convolved(x, "draw"), 2)[:, :1]

    def _convolved(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return functional.conv2d(x, weight, bias, stride, padding)

    def _twice(self, x: Tensor, name: str) -> Tensor:
        for layer in ("0", "3"):
            x = functional.relu(self._convolved(x, f"{name}_{layer}", padding=1))
        return x


class EvidenceClassifier(FilmClassifier):
    """Films in, one score a class out, and the map of evidence that the scores were pooled from.

    Its feature maps for Grad-CAM are the mixed ones. Where it counts in the lungs alone, these are followed
    by `FINER`² more, which hold the lungs on a finer grid, then the map's own. A place whose mirror image is
    lung counts by half at least: a lung may be white with disease.

    Parameters
    ----------
    backbone
        Loses the layers after its last stage, which nothing would use.
    classes
        The first is "nothing found" and has no map.
    width
        Channels of the mixed features.
    sharpness
        Of the soft maximum.
    standardise
        See `FilmClassifier`.
    counts
        ``film``, or ``lungs`` for where it counts when it is asked; in training it counts everywhere.

    Raises
    ------
    CxrlensError
        See `two_depths`.
    """

    head: EvidenceHead
    brings_map = True

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        width: int,
        sharpness: float = 2.0,
        standardise: str = "weights",
        counts: str = "film",
    ) -> None:
        self.depths = two_depths(backbone)
        network: Any = backbone.network
        fine, deep = (int(network.feature_info[depth]["num_chs"]) for depth in self.depths)
        network.prune_intermediate_layers(list(self.depths), prune_norm=True, prune_head=True)
        head = EvidenceHead(fine, deep, width, classes - 1, sharpness)
        super().__init__(backbone, head, standardise)
        self.lungs = LungNetwork() if counts == "lungs" else None

    def features(self, x: Tensor) -> Tensor:
        """Mixed features (N, width, h, w), and lungs, of standardised films (N, channels, S, S)."""
        return self._with_lungs(self.head.mixed(*self._stages(x)), x)

    def _with_lungs(self, mixed: Tensor, x: Tensor) -> Tensor:
        if self.lungs is None or self.training:
            return mixed
        size = [FINER * side for side in mixed.shape[2:]]
        lungs = functional.interpolate(
            self.lungs(x[:, :1]), size, mode="bilinear", align_corners=False
        )
        lungs = torch.maximum(lungs, lungs.flip(-1).clamp(max=0.0))
        return torch.cat([mixed, functional.pixel_unshuffle(lungs, FINER).to(mixed.dtype)], dim=1)

    def _stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.backbone.network
        fine, deep = network.forward_intermediates(
            x, indices=list(self.depths), intermediates_only=True
        )
        return fine, deep

    def scores(self, maps: Tensor) -> Tensor:
        """Scores before softmax (N, classes) of mixed features."""
        return self.head.pooled(self.head.evidence_of(maps))

    def answer(self, x: Tensor) -> Outputs:
        """Answer standardised films (N, channels, S, S), with the map."""
        fine, deep = self._stages(x)
        evidence = self.head.evidence_of(self._with_lungs(self.head.mixed(fine, deep), x))
        return Outputs(self.head.pooled(evidence), evidence, deep.mean((2, 3)))


def build_model(settings: Model, classes: int) -> FilmClassifier:
    """Make a classifier: a backbone with its weights, its first layers frozen, and a new head.

    Parameters
    ----------
    settings
        A recipe's model part.
    classes
        Scores that go out.

    Raises
    ------
    CxrlensError
        If the backbone or its weights cannot be had, it has no layer to freeze up to, or its stages carry
        no evidence map.
    """
    backbone = build_backbone(
        settings.backbone, settings.weights, settings.blocks, settings.dropout
    )
    if settings.frozen:
        freeze(backbone, settings.frozen)
    if settings.head == "evidence-map":
        return EvidenceClassifier(
            backbone,
            classes,
            settings.width,
            settings.sharpness,
            settings.standardise,
            settings.counts,
        )
    if settings.head == "svm":
        head: nn.Module = linear_svm(backbone.channels, classes)
    else:
        head = feed_forward(backbone.channels, settings.width, classes, settings.dropout)
    return FilmClassifier(backbone, head, settings.standardise)
