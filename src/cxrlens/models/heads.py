"""What stands on pooled features: from (N, C) to one score a class."""

from torch import nn


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
