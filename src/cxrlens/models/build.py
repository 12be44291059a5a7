"""From a recipe's model part to a network."""

from typing import Protocol

from torch import nn

from cxrlens.models.backbones import build_backbone
from cxrlens.models.classifier import FilmClassifier
from cxrlens.models.evidence import EvidenceClassifier
from cxrlens.models.freezing import freeze
from cxrlens.models.heads import feed_forward, linear_svm


class ModelSettings(Protocol):
    """What a recipe says of its model; see `cxrlens.recipes.parts.Model`."""

    @property
    def backbone(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> str: ...  # noqa: D102
    @property
    def frozen(self) -> str: ...  # noqa: D102
    @property
    def blocks(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def head(self) -> str: ...  # noqa: D102
    @property
    def standardise(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def dropout(self) -> float: ...  # noqa: D102


def build_model(settings: ModelSettings, classes: int) -> FilmClassifier:
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
        return EvidenceClassifier(backbone, classes, settings.width, settings.standardise)
    if settings.head == "svm":
        head: nn.Module = linear_svm(backbone.channels, classes)
    else:
        head = feed_forward(backbone.channels, settings.width, classes, settings.dropout)
    return FilmClassifier(backbone, head, settings.standardise)
