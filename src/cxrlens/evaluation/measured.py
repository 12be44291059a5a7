"""What every kept figure is made of: a frozen model for JSON, an interval, a value with its interval."""

from pydantic import BaseModel, ConfigDict


class Measured(BaseModel):
    """Base of what ``metrics.json`` holds: nothing unknown, nothing infinite, nothing that is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(Measured):
    """An interval, and the share of resamples in which its quantity could be measured."""

    low: float
    high: float
    measured: float = 1.0


class Estimate(Measured):
    """A figure and its interval; None is what cannot be known."""

    value: float | None
    interval: Interval | None = None
