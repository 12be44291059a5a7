"""The report's chain (SYSTEM.md §3): negative, underexposed, noisy, blurred, in this order."""

from __future__ import annotations

from cxrlens.quality.blur import QuietResponse
from cxrlens.quality.exposure import DarkMean
from cxrlens.quality.negative import CornerNegative
from cxrlens.quality.noise import ResponseVariance
from cxrlens.quality.step import Step
from cxrlens.quality.thresholds import settings


def steps() -> tuple[Step, ...]:
    """Give the report's steps with the calibrated settings of ``thresholds/report.json``."""
    chosen = settings("report")
    return (
        CornerNegative(**chosen["negative"]),
        DarkMean(**chosen["underexposed"]),
        ResponseVariance(**chosen["noisy"]),
        QuietResponse(**chosen["blurred"]),
    )
