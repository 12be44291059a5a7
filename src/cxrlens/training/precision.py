"""Which arithmetic is faster here, layer by layer: a short measurement, kept in the run.

On CPUs with bf16 instructions, bf16 autocast with channels-last activations trains 2 to 3 times faster
than float32; on others it is slower. Depthwise convolutions are the exception: most of their gradient in bf16
is many times slower than in float32, so a third choice takes it another way (`cxrlens.training.depthwise`).
Results differ within rounding, so a resumed run keeps the choice of its first start.
"""

import copy
import time
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cxrlens.training.depthwise import is_depthwise, split_gradients
from cxrlens.training.losses import LossFunction

DEPTHWISE = "bfloat16-split-depthwise"

PRECISIONS = ("float32", "bfloat16", DEPTHWISE)
"""By name: everything in float32, bf16 autocast, and the same with depthwise gradients in fast parts."""


def apply_precision(name: str, model: nn.Module) -> Literal["32-true", "bf16-mixed"]:
    """Prepare a model for a precision and give Lightning's name for it.

    Parameters
    ----------
    name
        One of `PRECISIONS`.
    model
        Its depthwise convolutions are changed in place where the precision says so; weights and their
        names stay as they are.
    """
    if name == DEPTHWISE:
        for layer in model.modules():
            if is_depthwise(layer):
                split_gradients(layer)
    return "32-true" if name == "float32" else "bf16-mixed"


def measure_precisions(
    model: nn.Module, films: Tensor, labels: Tensor, loss: LossFunction, repeats: int = 2
) -> dict[str, float]:
    """Time training steps in each of `PRECISIONS` that makes a difference to the model.

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
    for name in PRECISIONS:
        if name == DEPTHWISE and not any(is_depthwise(layer) for layer in model.modules()):
            continue
        trial = copy.deepcopy(model).train()
        apply_precision(name, trial)
        trained = [weight for weight in trial.parameters() if weight.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=1e-5)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=name != "float32"):
                value = loss(trial(films).scores, labels)
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
