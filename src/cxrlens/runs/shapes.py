"""What the files of a run hold: the shapes that they are held against when they are read back."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

LOSSES = ("train_loss", "validation_loss")
COURSE: dict[str, tuple[float, float]] = {
    "epoch": (0, 1e6),
    "train_accuracy": (0, 1),
    "validation_accuracy": (0, 1),
    "seconds": (0, 1e9),
}
"""Columns of a history, with what each can be; a loss may be no number."""


class Layout(BaseModel):
    """What versions.json, or a bundle's bundle.json, says in any version."""

    format: int
    cxrlens: str = Field("?", max_length=100)


class _Precision(BaseModel):
    model_config = ConfigDict(extra="allow")

    chosen: Literal["float32", "bfloat16", "bfloat16-split-depthwise"]


class Versions(BaseModel):
    """What versions.json of this version says, and whatever else was noted."""

    model_config = ConfigDict(extra="allow")

    format: int
    python: str = "?"
    cxrlens: str = Field(max_length=100)
    device: str = Field(pattern=r"^(cpu|cuda|mps)(:\d+)?$")
    chain: str = Field("", max_length=200)
    predicted: list[Literal["train", "validation", "test", "outside"]] = Field([], min_length=1)
    precision: _Precision | str | None = None
    weights: str = "unknown"
    seconds: float = Field(0, ge=0, allow_inf_nan=False)


_Share = Annotated[float, Field(ge=0, le=1)]


class _Of(BaseModel):
    """What is read of the metrics of one split, and whatever else was measured."""

    model_config = ConfigDict(extra="allow")

    films: int = Field(ge=0)
    patients: int = Field(ge=0)
    accuracy: _Share
    macro_f1: _Share
    macro_auc: _Share | None = None
    by_class: dict[str, dict[str, int | float | None]]


class _Intervals(BaseModel):
    model_config = ConfigDict(extra="allow")

    by_name: dict[str, dict[str, int | float | None] | None] = {}


class _OfSplit(_Of):
    intervals: _Intervals | None = None


class Metrics(RootModel[dict[str, _OfSplit]]):
    """By split."""
