"""From a recipe's model part to a network."""

from cxrlens.models.backbones import build_backbone
from cxrlens.models.classifier import FilmClassifier
from cxrlens.models.heads import feed_forward


def build_model(
    backbone: str,
    weights: str,
    blocks: tuple[int, ...],
    width: int,
    dropout: float,
    classes: int,
) -> FilmClassifier:
    """Make a classifier: a backbone with its weights, and a feed-forward head with random ones.

    Parameters
    ----------
    backbone, weights, blocks
        See `cxrlens.models.backbones.build_backbone`.
    width
        Units of the head's hidden layer.
    dropout
        In the head, and in the residual blocks of ``resnet``.
    classes
        Scores that go out.

    Raises
    ------
    CxrlensError
        If the backbone or its weights cannot be had.
    """
    features = build_backbone(backbone, weights, blocks, dropout)
    return FilmClassifier(features, feed_forward(features.channels, width, classes, dropout))
