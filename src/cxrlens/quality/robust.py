"""Our chain: detectors that hold on films from elsewhere, each with a repair that was seen to help.

On the film as decoded: torn, noise, then borders. On the resized film: negative, patches, underexposed,
blurred. With the lungs: photographed, not a chest.
"""

from __future__ import annotations

from typing import Any

from cxrlens.quality.blur import BandRegression
from cxrlens.quality.borders import EvenBorders
from cxrlens.quality.chest import Bounds, ChestGate
from cxrlens.quality.exposure import DarkTone
from cxrlens.quality.negative import OddRegression
from cxrlens.quality.noise import GrainRegression
from cxrlens.quality.patches import SharpIslands
from cxrlens.quality.photographed import SeenByCamera
from cxrlens.quality.regression import Regression
from cxrlens.quality.step import LungStep, NativeStep, Step
from cxrlens.quality.thresholds import settings
from cxrlens.quality.torn import LossSeam


def steps() -> tuple[tuple[NativeStep, ...], tuple[Step, ...], tuple[LungStep, ...]]:
    """Give the steps before the resize, after it, and with the lungs: ``thresholds/robust.json``."""
    chosen = settings("robust")
    native = (
        LossSeam(**chosen["torn"]),
        GrainRegression(**_typed(chosen["noisy"])),
        EvenBorders(**chosen["padded"]),
    )
    square = (
        OddRegression(**_typed(chosen["negative"])),
        SharpIslands(**chosen["patched"]),
        DarkTone(**_typed(chosen["underexposed"])),
        BandRegression(**_typed(chosen["blurred"])),
    )
    gate = (
        SeenByCamera(**_typed(chosen["photographed"])),
        ChestGate(**_typed(chosen["not_a_chest"])),
    )
    return native, square, gate


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn JSON's lists into tuples and its regression into one, so that steps are immutable."""
    return {name: _made(name, value) for name, value in fields.items()}


def _made(name: str, value: Any) -> Any:
    if name == "regression":
        return Regression(**_typed(value))
    if name == "bounds":
        return tuple(Bounds(**bounds) for bounds in value)
    return _frozen(value)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
