"""The house's lung network as a part of another: a map of evidence can count only where it sees lung."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrlens.lungs.fields import NETWORK, SIDE

FAINT = 0.14
"""Added to a film's own deviation; of standardised greys what the network learnt with of grey levels."""


class LungNetwork(nn.Module):
    """`cxrlens.lungs`'s U-Net (Ronneberger 2015) without its answer for the whole film; it never learns.

    Its weights come out of the package's ``lungs.onnx`` and are kept with those of the network that it is
    a part of.
    """

    def __init__(self) -> None:
        super().__init__()
        import onnx  # only such maps need it

        for weights in onnx.load(NETWORK).graph.initializer:
            part, _, leaf = weights.name.rpartition(".")
            if part and part.split(".")[0] not in ("squeeze", "judge"):
                values = torch.from_numpy(onnx.numpy_helper.to_array(weights).copy())
                name = f"{part}.{leaf.removeprefix('weight_')}".replace(".", "_")
                self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        """Find the lungs (N, 1, 128, 128), before the sigmoid, in standardised greys (N, 1, S, S)."""
        x = functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        spread = x.std((2, 3), correction=0, keepdim=True)
        x = (x - x.mean((2, 3), keepdim=True)) / (spread + FAINT)
        x = functional.relu(self._convolved(x, "stem", stride=2, padding=1))
        kept = []
        for depth in range(5):
            x = self._twice(functional.max_pool2d(x, 2) if depth else x, f"down_{depth}")
            kept.append(x)
        for depth, near in enumerate(kept[-2::-1]):
            x = torch.cat([functional.interpolate(x, scale_factor=2.0), near], dim=1)
            x = self._twice(x, f"up_{depth}")
        return functional.pixel_shuffle(self._convolved(x, "draw"), 2)[:, :1]

    def _convolved(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return functional.conv2d(x, weight, bias, stride, padding)

    def _twice(self, x: Tensor, name: str) -> Tensor:
        for layer in ("0", "3"):
            x = functional.relu(self._convolved(x, f"{name}_{layer}", padding=1))
        return x
