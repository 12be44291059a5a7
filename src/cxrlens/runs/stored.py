"""Files of a run and of a bundle: their shapes, and weights with a digest of their own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, RootModel
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cxrlens.errors import CxrlensError, RunError
from cxrlens.files import moved_into_place, own_json

LOSSES = ("train_loss", "validation_loss")
COURSE: dict[str, tuple[float, float]] = {
    "epoch": (0, 1e6),
    "train_accuracy": (0, 1),
    "validation_accuracy": (0, 1),
    "seconds": (0, 1e9),
}
"""Columns of a history, with what each can be; a loss may be no number."""


class Layout(BaseModel):
    """The part of versions.json, or of bundle.json, that any version can read."""

    format: int
    cxrlens: str = Field("?", max_length=100)


def check_layout(
    path: Path, newest: int, fault: type[CxrlensError], copied: str, instead: str
) -> None:
    """Raise the `fault` if a file is damaged, or a later cxrlens wrote it in a layout of its own."""
    found = own_json(path, Layout, fault, copied)
    if not 0 < found.format <= newest:
        raise fault(
            f"{path.parent} was written by cxrlens {found.cxrlens} in a layout ({found.format}) that this "
            f"version does not know: use that version, or {instead}"
        )


class _Precision(BaseModel):
    model_config = ConfigDict(extra="allow")

    chosen: Literal["float32", "bfloat16", "bfloat16-split-depthwise"]


class Versions(BaseModel):
    """The versions.json of this version, and whatever else was noted."""

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


class _Intervals(BaseModel):
    model_config = ConfigDict(extra="allow")

    by_name: dict[str, dict[str, int | float | None] | None] = {}


class _OfSplit(BaseModel):
    """The metrics of one split that are read again, and whatever else was measured."""

    model_config = ConfigDict(extra="allow")

    films: int = Field(ge=0)
    patients: int = Field(ge=0)
    accuracy: _Share
    macro_f1: _Share
    macro_auc: _Share | None = None
    by_class: dict[str, dict[str, int | float | None]]
    intervals: _Intervals | None = None


class Metrics(RootModel[dict[str, _OfSplit]]):
    """By split."""


Tensors = Mapping[str, NDArray[Any]]

_SEAL = "sha256"
"""The key of the digest in the file's metadata."""


def write_weights(path: Path, tensors: Tensors) -> None:
    """Write tensors with their digest, beside `path` first and then moved into place.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    # safetensors writes the memory as it lies: transposed arrays would be scrambled.
    held = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with moved_into_place(path) as draft:
        draft.write_bytes(save(held, metadata={_SEAL: _digest(held)}))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read tensors and check them against their digest.

    Files of earlier versions have none: of those it is only known that their numbers are finite.

    Raises
    ------
    RunError
        If the file is broken, was changed since it was written, or holds what is no number.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        seal = (json.loads(data[8 : 8 + length]).get("__metadata__") or {}).get(_SEAL)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"{path} is broken: copy it again, or train again") from error
    if seal is not None and seal != _digest(tensors):
        raise RunError(
            f"{path} was changed since it was written (its digest differs): copy it again, or train again"
        )
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise RunError(
                f"{path} holds no finite number at {name}: copy it again, or train again"
            )
    return tensors


def _digest(tensors: Tensors) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()
