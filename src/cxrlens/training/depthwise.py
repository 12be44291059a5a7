"""Depthwise convolutions whose bfloat16 gradient is as fast as their forward pass.

On CPUs oneDNN has fast bfloat16 kernels for depthwise convolutions forward, for the gradient of the films
where the stride is 1, and for the gradient of weights that are at most three columns wide. The rest falls
back to reference code that is 10 to 100 times slower. So the rest is put in terms of what is fast: with a
stride of 2, the gradient of the films' even and odd rows and columns are four forward convolutions of the
output's gradient with the even and odd parts of the turned kernel; the gradient of wide weights is taken in
strips of three columns.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

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
