"""A network that is its own explanation, and every network from a recipe's model part."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import Backbone, build_backbone
from cxrlens.models.classifier import FilmClassifier, Outputs, feed_forward, freeze, linear_svm
from cxrlens.recipes.recipe import Model

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

    def pooled(self, evidence: Tensor) -> Tensor:
        """Scores (N, 1 + D) of maps (N, D, h, w): the first class, normal, has a constant one."""
        scores = soft_maximum(evidence, self.sharpness)
        return torch.cat([torch.zeros_like(scores[:, :1]), scores], dim=1) + self.bias


class EvidenceClassifier(FilmClassifier):
    """Films in, one score a class out, and the map of evidence that the scores were pooled from.

    Its feature maps for Grad-CAM are the mixed ones.

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
    ) -> None:
        self.depths = two_depths(backbone)
        network: Any = backbone.network
        fine, deep = (int(network.feature_info[depth]["num_chs"]) for depth in self.depths)
        network.prune_intermediate_layers(list(self.depths), prune_head=True)
        head = EvidenceHead(fine, deep, width, classes - 1, sharpness)
        super().__init__(backbone, head, standardise)

    def features(self, x: Tensor) -> Tensor:
        """Mixed features (N, width, h, w) of standardised films (N, channels, S, S)."""
        return self.head.mixed(*self._stages(x))

    def _stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.backbone.network
        fine, deep = network.forward_intermediates(
            x, indices=list(self.depths), intermediates_only=True
        )
        return fine, deep

    def scores(self, maps: Tensor) -> Tensor:
        """Scores before softmax (N, classes) of mixed features."""
        return self.head.pooled(self.head.evidence(maps).float())

    def answer(self, x: Tensor) -> Outputs:
        """Answer standardised films (N, channels, S, S), with the map."""
        fine, deep = self._stages(x)
        evidence = self.head.evidence(self.head.mixed(fine, deep)).float()
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
            backbone, classes, settings.width, settings.sharpness, settings.standardise
        )
    if settings.head == "svm":
        head: nn.Module = linear_svm(backbone.channels, classes)
    else:
        head = feed_forward(backbone.channels, settings.width, classes, settings.dropout)
    return FilmClassifier(backbone, head, settings.standardise)
