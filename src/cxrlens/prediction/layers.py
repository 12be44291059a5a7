"""The small layers between pooled features and scores, forwards and backwards in NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import BundleError

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """``weight @ x + bias``, `weight` (outputs, inputs)."""

    weight: NDArray[np.float32]
    bias: Vector | None = None

    def forward(self, x: Vector) -> Vector:
        """Apply it to a vector."""
        y: Vector = self.weight @ x
        return y if self.bias is None else y + self.bias

    def backward(self, x: Vector, slope: Vector) -> Vector:
        """Turn the slope of a score over the output into that over the input `x`."""
        down: Vector = slope @ self.weight
        return down


@dataclass(frozen=True)
class Relu:
    """``max(x, 0)``."""

    def forward(self, x: Vector) -> Vector:
        """Apply it to a vector."""
        return np.maximum(x, np.float32(0))

    def backward(self, x: Vector, slope: Vector) -> Vector:
        """Turn the slope of a score over the output into that over the input `x`."""
        return np.where(x > 0, slope, np.float32(0))


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation over the vector (Ba et al. 2016), with a weight and a bias for each entry."""

    weight: Vector
    bias: Vector
    epsilon: float

    def forward(self, x: Vector) -> Vector:
        """Apply it to a vector."""
        even, _ = self._even(x)
        y: Vector = even * self.weight + self.bias
        return y

    def backward(self, x: Vector, slope: Vector) -> Vector:
        """Turn the slope of a score over the output into that over the input `x`."""
        even, spread = self._even(x)
        inner = slope * self.weight
        down: Vector = (inner - inner.mean() - even * (inner * even).mean()) / spread
        return down

    def _even(self, x: Vector) -> tuple[Vector, np.float32]:
        spread = np.sqrt(x.var() + np.float32(self.epsilon))
        return (x - x.mean()) / spread, spread


Layer = Linear | Relu | LayerNorm


def gradient(layers: Sequence[Layer], x: Vector, output: int) -> Vector:
    """Compute the slope of one output of a chain of layers over its input.

    Parameters
    ----------
    layers
        In the order in which they are applied.
    x
        (C,) float32, the input.
    output
        Index of the output.

    Returns
    -------
    ndarray of float32
        (C,).
    """
    inputs = []
    for layer in layers:
        inputs.append(x)
        x = layer.forward(x)
    slope = np.zeros(x.shape, np.float32)
    slope[output] = 1
    for layer, came_in in zip(reversed(layers), reversed(inputs), strict=True):
        slope = layer.backward(came_in, slope)
    return slope


def layers_to_json(
    layers: Sequence[Layer], prefix: str
) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.float32]]]:
    """Part layers into plain values and arrays, named after `prefix`; `layers_from_json` joins them."""
    plain: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[np.float32]] = {}
    for place, layer in enumerate(layers):
        values: dict[str, Any] = {"kind": _NAMES[type(layer)]}
        for key, value in vars(layer).items():
            if isinstance(value, np.ndarray):
                values[key] = f"{prefix}.{place}.{key}"
                tensors[values[key]] = value
            elif value is not None:
                values[key] = value
        plain.append(values)
    return plain, tensors


def layers_from_json(
    plain: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[Layer, ...]:
    """Read what `layers_to_json` gave.

    Raises
    ------
    BundleError
        If a kind is unknown or an array is missing.
    """
    kinds: dict[str, Any] = {name: kind for kind, name in _NAMES.items()}
    try:
        return tuple(
            kinds[values["kind"]](
                **{
                    key: tensors[value] if isinstance(value, str) else value
                    for key, value in values.items()
                    if key != "kind"
                }
            )
            for values in plain
        )
    except (KeyError, TypeError) as error:
        raise BundleError(f"the bundle's heads do not fit its description at {error}") from error


_NAMES: dict[type[Layer], str] = {Linear: "linear", Relu: "relu", LayerNorm: "layer-norm"}
