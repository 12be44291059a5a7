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
