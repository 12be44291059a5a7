"""The residual network that the 2023 report trained from scratch (its section 4).

Two convolutions of 32 filters, then building blocks of 128, 256 and 512 filters, each followed by
two residual blocks with identity shortcuts (He et al. 2015). One grey input channel.
"""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """x + F(x), F being convolution, batch norm, ReLU, dropout, convolution, batch norm.

    Parameters
    ----------
    filters
        Channels of input and output.
    dropout
        Probability in [0, 1) with which an activation inside F is dropped in training.
    """

    def __init__(self, filters: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(filters, filters),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Dropout(dropout),
            _convolution(filters, filters),
            nn.BatchNorm2d(filters),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, filters, h, w) to the same shape."""
        y: Tensor = x + self.residual(x)
        return y


def building_block(inputs: int, filters: int, dropout: float) -> nn.Sequential:
    """Stack ReLU, a convolution that halves the side, batch norm, and two residual blocks."""
    return nn.Sequential(
        nn.ReLU(),
        _convolution(inputs, filters, stride=2),
        nn.BatchNorm2d(filters),
        ResidualBlock(filters, dropout),
        ResidualBlock(filters, dropout),
    )


class ResNet(nn.Module):
    """The report's feature extractor: (N, 1, S, S) to (N, blocks[-1], S / 32, S / 32).

    Parameters
    ----------
    blocks
        Filters of each building block. The report kept (128, 256, 512) and also tried (128,),
        (128, 256) and (64, 128, 256); the side shrinks by two for each block and by four before them.
    dropout
        Dropout inside the residual blocks.

    Notes
    -----
    The report gives neither kernels nor strides: 3 × 3, and both 32-filter layers and each building
    block's own convolution halve the side. A ReLU stands between the two 32-filter layers, which would
    otherwise be one linear map.
    """

    def __init__(self, blocks: Sequence[int] = (128, 256, 512), dropout: float = 0.1) -> None:
        super().__init__()
        widths = [32, *blocks]
        self.stem = nn.Sequential(
            _convolution(1, 32, stride=2, bias=True),
            nn.ReLU(),
            _convolution(32, 32, stride=2, bias=True),
        )
        self.blocks = nn.Sequential(
            *(building_block(a, b, dropout) for a, b in itertools.pairwise(widths))
        )
        self.channels = widths[-1]
        self.feature_info = [
            {"module": name, "num_chs": width, "reduction": 4 * 2**place}
            for place, (name, width) in enumerate(
                zip(["stem", *(f"blocks.{i}" for i in range(len(blocks)))], widths, strict=True)
            )
        ]

    def forward_intermediates(
        self, x: Tensor, indices: Sequence[int], intermediates_only: bool = True
    ) -> list[Tensor]:
        """Features of some of the stages of `feature_info`, as timm's networks give them."""
        found = [self.stem(x)]
        for block in self.blocks:
            found.append(block(found[-1]))
        return [found[index] for index in indices]

    def prune_intermediate_layers(self, indices: Sequence[int], prune_head: bool = True) -> None:
        """Keep everything: the last stage is the last layer."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Map standardised grey films (N, 1, S, S) to features (N, C, h, w)."""
        y: Tensor = self.blocks(self.stem(x))
        return y

    def forward_head(self, maps: Tensor, pre_logits: bool = True) -> Tensor:
        """Average features over the film, (N, C, h, w) to (N, C); `pre_logits` is timm's, and always true."""
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map standardised grey films to pooled features (N, C)."""
        return self.forward_head(self.forward_features(x))
