"""Losses by the recipe's names (the 2023 study, section 6; ``docs/study.md``)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cxrlens.recipes.recipe import Loss, MapTeaching

LossFunction = Callable[[Tensor, Tensor], Tensor]

OUTSIDE = 0.1
"""A place of which less lies inside the lungs is outside."""


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weigh each class by N / count (the 2023 study's eq. 4)."""
    return torch.tensor([sum(counts) / count for count in counts], dtype=torch.float32)


def focal(scores: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None) -> Tensor:
    """Mean of -alpha (1 - p)^gamma log p over a batch (Lin et al. 2017; the 2023 study's eq. 5).

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
    return _weighted(loss, labels, alpha)


def binary_focal(
    scores: Tensor, labels: Tensor, gamma: float, alpha: Tensor | None = None
) -> Tensor:
    """Focal loss of one score a film, for a class against the rest.

    Parameters
    ----------
    scores
        (N, 1) before the sigmoid.
    labels
        (N,) int64: 0 the class itself, 1 the rest.
    gamma, alpha
        See `focal`; alpha has two entries.
    """
    score = scores.float()
    # The sigmoid of a score is the softmax of the pair (score, 0).
    return focal(torch.cat([score, torch.zeros_like(score)], dim=1), labels, gamma, alpha)


def weston_watkins(scores: Tensor, labels: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Mean of the sum over wrong classes y of max(0, 1 + a_y - a_t) (the 2023 study's eq. 6).

    The multi-class support vector machine of Weston and Watkins (1999). Shapes as in `focal`.
    """
    return _weighted(_margins(scores, labels).sum(dim=1), labels, alpha)


def crammer_singer(scores: Tensor, labels: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Mean of the largest max(0, 1 + a_y - a_t) over wrong classes y (Crammer and Singer 2001).

    It is Keras's ``CategoricalHinge``. Shapes as in `focal`.
    """
    return _weighted(_margins(scores, labels).amax(dim=1), labels, alpha)


def binary_ova(scores: Tensor, labels: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Mean of the sum over classes of binary hinges max(0, 1 - s a), s being 1 for the true class, else -1.

    One-versus-all hinges, as the 2023 study's section 7 words its SVM. Shapes as in `focal`.
    """
    signs = 2 * functional.one_hot(labels, scores.shape[1]).to(torch.float32) - 1
    return _weighted((1 - signs * scores.float()).clamp(min=0).sum(dim=1), labels, alpha)


def _margins(scores: Tensor, labels: Tensor) -> Tensor:
    scores = scores.float()
    true = scores.gather(1, labels[:, None])
    wrong = 1 - functional.one_hot(labels, scores.shape[1]).to(scores)
    return (1 + scores - true).clamp(min=0) * wrong


def _weighted(loss: Tensor, labels: Tensor, alpha: Tensor | None) -> Tensor:
    if alpha is not None:
        loss = loss * alpha.to(loss)[labels]
    return loss.mean()


def map_loss(
    evidence: Tensor,
    labels: Tensor,
    boxes: Tensor,
    boxed: Tensor,
    lungs: Tensor,
    masked: Tensor,
    settings: MapTeaching,
) -> Tensor:
    """Mean binary cross-entropy of the places of evidence maps that something is known of.

    Inside a film with boxes the map of its disease is taught lesion and no lesion: one film, one source,
    nothing to tell them apart by but the lesion. Normal films have none anywhere, and no film has one
    outside the lungs.

    Parameters
    ----------
    evidence
        (N, D, h, w) before the sigmoid, of the classes 1 to D; class 0 has no map.
    labels
        (N,) int64.
    boxes, lungs
        (N, h, w) in [0, 1]: the share of a place inside a box, and inside the lungs.
    boxed, masked
        (N,) bool: films with boxes, and with a lung mask.
    settings
        Weights of the three.

    Returns
    -------
    Tensor
        A scalar; 0 where nothing is known of any place.
    """
    target = torch.zeros_like(evidence)
    weight = torch.zeros_like(evidence)
    weight[labels == 0] = settings.normals
    for disease in range(evidence.shape[1]):
        taught = boxed & (labels == disease + 1)
        target[taught, disease] = boxes[taught].to(target)
        weight[taught, disease] = settings.boxes
    outside = (masked[:, None, None] & (lungs < OUTSIDE))[:, None].expand_as(weight)
    weight = torch.where(outside & (weight == 0), settings.lungs, weight)
    loss = functional.binary_cross_entropy_with_logits(
        evidence, target, reduction="none", pos_weight=evidence.new_tensor(settings.positive)
    )
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def taught_loss(scores: Tensor, taught: Tensor) -> Tensor:
    """Tell how far scores are from a teacher's: Kullback and Leibler's divergence (Hinton 2015).

    Parameters
    ----------
    scores, taught
        (N, classes) before softmax, the teacher's without a gradient.

    Returns
    -------
    Tensor
        Mean over the films.
    """
    own = functional.log_softmax(scores.float(), dim=1)
    theirs = functional.log_softmax(taught.float(), dim=1)
    return functional.kl_div(own, theirs, reduction="batchmean", log_target=True)


def taught_map_loss(evidence: Tensor, taught: Tensor) -> Tensor:
    """Tell how far maps of evidence are from a teacher's, place by place; 0 where they agree.

    Parameters
    ----------
    evidence, taught
        (N, D, h, w) before the sigmoid, the teacher's without a gradient.

    Returns
    -------
    Tensor
        Mean over films, diseases and places of the binary cross-entropy beyond the teacher's own entropy.
    """
    own, theirs = evidence.float(), taught.float()
    share = theirs.sigmoid()
    cross, least = (functional.binary_cross_entropy_with_logits(of, share) for of in (own, theirs))
    return cross - least


def build_loss(loss: Loss, counts: Sequence[int]) -> LossFunction:
    """Make the loss that a recipe names, without the margin term, which is of the head's weights.

    Parameters
    ----------
    loss
        The recipe's part.
    counts
        Training films of each class.
    """
    alpha = class_weights(counts) if loss.class_weights else None
    match loss.name:
        case "binary-focal":
            return lambda scores, labels: binary_focal(scores, labels, loss.gamma, alpha)
        case "weston-watkins":
            return lambda scores, labels: weston_watkins(scores, labels, alpha)
        case "crammer-singer":
            return lambda scores, labels: crammer_singer(scores, labels, alpha)
        case "binary-ova":
            return lambda scores, labels: binary_ova(scores, labels, alpha)
    gamma = loss.gamma if loss.name == "focal" else 0.0
    return lambda scores, labels: focal(scores, labels, gamma, alpha)
