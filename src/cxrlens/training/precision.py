"""Which arithmetic is faster here: a short measurement, kept in the run.

On CPUs with bf16 instructions, bf16 autocast with channels-last activations trains 2 to 3 times faster
than float32; on others it is slower. Results differ within rounding, so a resumed run keeps the choice
of its first start.
"""

import copy
import time
from typing import Any

import torch
from torch import Tensor, nn

from cxrlens.training.losses import LossFunction


def measure_precisions(
    model: nn.Module, films: Tensor, labels: Tensor, loss: LossFunction, repeats: int = 2
) -> dict[str, float]:
    """Time training steps in float32 and bfloat16.

    Parameters
    ----------
    model
        Left as it was; a copy is trained.
    films, labels
        One batch, on the device where training will run.
    loss
        Of scores and labels.
    repeats
        Timed steps, after one that is not counted; the fastest counts.

    Returns
    -------
    dict
        Films a second, by precision.
    """
    device = next(model.parameters()).device
    speeds = {}
    for name in ("float32", "bfloat16"):
        trial = copy.deepcopy(model).train()
        optimiser = torch.optim.Adam(trial.parameters(), lr=1e-5)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
                value = loss(trial(films), labels)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        speeds[name] = round(len(films) / min(seconds[1:]), 2)
    return speeds


def choose_precision(
    asked: str, model: nn.Module, films: Tensor, labels: Tensor, loss: LossFunction
) -> dict[str, Any]:
    """Settle the precision: what the recipe asks, or the faster one.

    Returns
    -------
    dict
        ``chosen``, and ``films_per_second`` by precision where it was measured.
    """
    if asked != "auto":
        return {"chosen": asked}
    speeds = measure_precisions(model, films, labels, loss)
    return {"chosen": max(speeds, key=lambda name: speeds[name]), "films_per_second": speeds}
