"""Depthwise gradients in parts are the gradients, whatever kernel, stride, padding and size."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional

from cxrlens.training.precision import (
    DEPTHWISE,
    _DepthwiseConvolution,
    apply_precision,
    is_depthwise,
    split_gradients,
)


@pytest.mark.parametrize(("kernel", "stride"), list(product((1, 2, 3, 5, 7), (1, 2, 3))))
def test_gradients_equal_those_of_float64(kernel: int, stride: int) -> None:
    for padding, side in product(range(min(kernel, 4)), (9, 10, 11)):
        torch.manual_seed(side)
        x = torch.randn(2, 6, side, side + 1).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(6, 1, kernel, kernel)
        x64, weight64 = x.double().requires_grad_(), weight.double().requires_grad_()
        x.requires_grad_()
        weight.requires_grad_()
        y = _DepthwiseConvolution.apply(x, weight, (stride, stride), (padding, padding))
        y64 = functional.conv2d(x64, weight64, None, stride, padding, 1, 6)
        assert y.detach().numpy() == pytest.approx(y64.detach().numpy(), abs=1e-4)
        falling = torch.randn_like(y)
        y.backward(falling)
        y64.backward(falling.double())
        for ours, theirs in ((x.grad, x64.grad), (weight.grad, weight64.grad)):
            assert ours is not None
            assert theirs is not None
            assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-3)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_learns_as_in_plain_bfloat16(bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 8, 20, 20).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=bias)
    split = nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=bias)
    split.load_state_dict(plain.state_dict())
    split_gradients(split)
    found = []
    for layer in (plain, split):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(own)
        assert y.dtype is torch.bfloat16
        y.float().square().sum().backward()
        found.append([y.float(), own.grad, *(weight.grad for weight in layer.parameters())])
    for one, other in zip(*found, strict=True):
        size = one.abs().max().item()
        assert other.detach().numpy() == pytest.approx(one.detach().numpy(), abs=0.02 * size)


def test_only_depthwise_layers_change_and_only_in_bfloat16() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2)
    )
    names = list(network.state_dict())
    assert [is_depthwise(layer) for layer in network] == [False, True, False]
    x = torch.randn(1, 4, 9, 9)
    before = network(x)
    assert apply_precision(DEPTHWISE, network) == "bf16-mixed"
    assert [type(layer).__name__ for layer in network] == ["Conv2d", "SplitConv2d", "Conv2d"]
    assert list(network.state_dict()) == names
    assert torch.equal(network(x), before)
