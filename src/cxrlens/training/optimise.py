"""What moves the weights: the optimiser and its rate, as a recipe names them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from cxrlens.recipes.parts import Training

CLIMB = 0.15
"""Share of a training during which the rate of one cycle climbs."""


def build_optimiser(settings: Training, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimiser of the weights that learn.

    Weight decay is of matrices and kernels only: pulling biases and the scales of norms to zero helps
    nothing (Goyal 2017).
    """
    learning = [weight for weight in weights if weight.requires_grad]
    if settings.optimiser == "adam":
        return torch.optim.Adam(learning, lr=settings.learning_rate_low)
    groups = [
        {
            "params": [weight for weight in learning if weight.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [weight for weight in learning if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate_low
    )


def build_schedule(settings: Training, optimiser: torch.optim.Optimizer, steps: int) -> Any:
    """Make the rate's schedule, which is moved on after every step.

    Parameters
    ----------
    settings
        ``triangles`` is a triangular cyclical rate (Smith 2017), ``one-cycle`` climbs along a cosine to the
        highest rate and falls to nothing at the end of the last epoch (Smith 2018).
    optimiser
        Of the weights.
    steps
        Batches of an epoch.
    """
    if settings.schedule == "one-cycle":
        return OneCycleLR(
            optimiser,
            max_lr=settings.learning_rate_high,
            # Lightning moves the schedule on after the last step, too.
            total_steps=steps * settings.max_epochs + 1,
            pct_start=CLIMB,
            div_factor=settings.learning_rate_high / settings.learning_rate_low,
        )
    return CyclicLR(
        optimiser,
        base_lr=settings.learning_rate_low,
        max_lr=settings.learning_rate_high,
        step_size_up=max(1, round(steps * settings.cycle / 2)),
        cycle_momentum=False,
    )
