"""Losses by the recipe's names (SYSTEM §6)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cxrlens.recipes.recipe import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weigh each class by N / count (the report's eq. 4)."""
    return torch.tensor([sum(counts) / count for count in counts], dtype=torch.float32)


def focal(scores: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None) -> Tensor:
    """Mean of -alpha (1 - p)^gamma log p over a batch (Lin et al. 2017; the report's eq. 5).

    Parameters
    ----------
    scores
        (N, classes) before softmax.
    labels
        (N,) int64.
    gamma
        Focusing parameter; 0 gives weighted cross-entropy.
    alpha
        (classes,) weights; none counts every class alike.

    Returns
    -------
    Tensor
        A scalar. The mean is over films, not over weights, so that a batch's rare classes count more.
    """
    log_p = functional.log_softmax(scores.float(), dim=1).gather(1, labels[:, None]).squeeze(1)
    loss = -((1 - log_p.exp()) ** gamma) * log_p if gamma else -log_p
    if alpha is not None:
        loss = loss * alpha.to(loss)[labels]
    return loss.mean()


def build_loss(loss: Loss, counts: Sequence[int]) -> LossFunction:
    """Make the loss that a recipe names.

    Parameters
    ----------
    loss
        The recipe's part.
    counts
        Training films of each class.
    """
    alpha = class_weights(counts) if loss.class_weights else None
    gamma = loss.gamma if loss.name == "focal" else 0.0
    return lambda scores, labels: focal(scores, labels, gamma, alpha)
