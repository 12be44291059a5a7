"""Which arithmetic is faster here, layer by layer: a short measurement, kept in the run."""

import copy
import time
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cxrlens.training.losses import LossFunction

_FAST = 3
"""Columns of a depthwise kernel up to which oneDNN's gradient is fast."""


def is_depthwise(layer: nn.Module) -> bool:
    """Tell a convolution that filters each channel by itself."""
    return (
        isinstance(layer, nn.Conv2d)
        and 1 < layer.groups == layer.in_channels == layer.out_channels
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
    )


def split_gradients(layer: nn.Module) -> None:
    """Let a depthwise convolution take its bfloat16 gradient in the fast way.

    Parameters
    ----------
    layer
        Changed in place, whatever pads its films; weights and their names stay as they are, and so does the
        arithmetic of what is not in bfloat16.
    """
    if not isinstance(layer, _Split):
        kind = type(layer)
        layer.__class__ = type(f"Split{kind.__name__}", (_Split, kind), {})


class _Split:
    """Mixed into a convolution's class: its call of `conv2d` goes by `_DepthwiseConvolution`."""

    def forward(self, x: Tensor) -> Tensor:
        with _Replacing():
            y: Tensor = super().forward(x)  # type: ignore[misc]
        return y


class _Replacing(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not torch.conv2d or kwargs or not torch.is_autocast_enabled("cpu"):
            return func(*args, **(kwargs or {}))
        x, weight, bias, stride, padding, *_ = args
        kind = torch.get_autocast_dtype("cpu")
        if x.device.type != "cpu" or kind is not torch.bfloat16:
            return func(*args)
        y = _DepthwiseConvolution.apply(  # type: ignore[no-untyped-call]
            x.to(kind), weight.to(kind), stride, padding
        )
        return y if bias is None else y + bias.to(kind)[:, None, None]


class _DepthwiseConvolution(torch.autograd.Function):
    """`conv2d` of (N, C, H, W) with (C, 1, K, L), channel by channel, without dilation."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (of_y,) = gradients
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _of_films(of_y, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(of_y, x, weight, ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


def _of_films(
    of_y: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    if stride == (1, 1):
        return _gradients(of_y, x, weight, stride, padding, (True, False))[0]
    sides = [side + 2 * pad for side, pad in zip(x.shape[-2:], padding, strict=True)]
    of_x = torch.empty((*x.shape[:2], *sides), dtype=of_y.dtype, memory_format=torch.channels_last)
    if any(
        size < step or (side - size) % step
        for side, size, step in zip(sides, weight.shape[-2:], stride, strict=True)
    ):
        of_x.zero_()
    for row, column in product(range(stride[0]), range(stride[1])):
        part = weight[:, :, row :: stride[0], column :: stride[1]].flip(2, 3)
        if not part.numel():
            continue
        reach = [size - 1 for size in part.shape[-2:]]
        found = torch.conv2d(of_y, part, None, 1, reach, 1, len(weight))
        rows = slice(row, row + stride[0] * found.shape[2], stride[0])
        columns = slice(column, column + stride[1] * found.shape[3], stride[1])
        of_x[:, :, rows, columns] = found
    return of_x[:, :, padding[0] : sides[0] - padding[0], padding[1] : sides[1] - padding[1]]


def _of_weight(
    of_y: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    columns = weight.shape[-1]
    if columns <= _FAST:
        return _gradients(of_y, x, weight, stride, padding, (False, True))[1]
    strips = []
    for left in range(0, columns, _FAST):
        strip = weight[..., left : left + _FAST]
        reach = (of_y.shape[-1] - 1) * stride[1] + strip.shape[-1]
        before = padding[1] - left
        seen = functional.pad(x, (before, reach - before - x.shape[-1]))
        strips.append(_gradients(of_y, seen, strip, stride, (padding[0], 0), (False, True))[1])
    return torch.cat(strips, -1)


def _gradients(
    of_y: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        *(of_y, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight)),
        (*wanted, False),
    )
    return of_x, of_weight


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
        Films a second, by precision; on the CPU as if no other work ran on its threads.
    """
    device = next(model.parameters()).device
    # What else a machine does must not choose, and the clock would let it.
    clock, threads = time.perf_counter, 1
    if device.type == "cpu":
        clock, threads = time.process_time, torch.get_num_threads()
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
            start = clock()
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=name != "float32"):
                value = loss(trial(films).scores, labels)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(clock() - start)
        # Windows counts processor time in ticks, and a small network needs less than one.
        speeds[name] = round(threads * len(films) / max(min(seconds[1:]), 1e-3), 2)
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
