"""Our chain: detectors that hold on films from elsewhere, each with a repair that was seen to help.

On the film as decoded: torn, noise, then borders. On the resized film: negative, patches, underexposed,
blurred, not a chest.
"""

from __future__ import annotations

from typing import Any

from cxrlens.quality.blur import BandRegression
from cxrlens.quality.borders import EvenBorders
from cxrlens.quality.chest import ChestTemplate
from cxrlens.quality.exposure import DarkTone
from cxrlens.quality.negative import OddRegression
from cxrlens.quality.noise import GrainRegression
from cxrlens.quality.patches import SharpIslands
from cxrlens.quality.regression import Regression
from cxrlens.quality.step import NativeStep, Step
from cxrlens.quality.thresholds import settings
from cxrlens.quality.torn import LossSeam


def steps() -> tuple[tuple[NativeStep, ...], tuple[Step, ...]]:
    """Give the steps before and after the resize, as set in ``thresholds/robust.json``."""
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
        ChestTemplate(**_typed(chosen["not_a_chest"])),
    )
    return native, square


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn JSON's lists into tuples and its regression into one, so that steps are immutable."""
    return {
        name: Regression(**_typed(value)) if name == "regression" else _frozen(value)
        for name, value in fields.items()
    }


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
