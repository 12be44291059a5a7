"""Weights on the disk: safetensors with a digest of their own, so that a flipped bit is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cxrlens.errors import RunError
from cxrlens.writing import moved_into_place

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
