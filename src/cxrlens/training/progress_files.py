"""Lightning's checkpoints without pickles: tensors in safetensors, everything else in JSON.

A checkpoint becomes one ``.safetensors`` file whose header carries the JSON. Tensors inside the nested
structure are replaced by their number; mappings are kept as pairs, because the optimiser's keys are
integers.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.types import _PATH
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cxrlens.errors import RunError
from cxrlens.own_files import of_shape
from cxrlens.writing import moved_into_place


class SafetensorsCheckpoints(CheckpointIO):
    """Saves and loads training progress for Lightning; a file is whole or not there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint beside `path` and move it there."""
        tensors: dict[str, Tensor] = {}
        structure = json.dumps(_pack(checkpoint, tensors))
        metadata = {"structure": structure, "sha256": _digest(structure, tensors)}
        with moved_into_place(Path(path)) as draft:
            draft.write_bytes(save(tensors, metadata=metadata))

    def load_checkpoint(
        self,
        path: _PATH,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint that `save_checkpoint` wrote.

        Raises
        ------
        RunError
            If it is none, or was changed since it was written.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                structure = metadata["structure"]
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            # Not json.loads, which has no bound on nesting.
            checkpoint = _unpack(from_json(structure), tensors)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise RunError(f"{path} holds no training progress: train into a new folder") from error
        # Files of earlier versions have no digest.
        if metadata.get("sha256", "") not in ("", _digest(structure, tensors)):
            raise RunError(
                f"{path} was changed since it was written (its digest differs): copy it again, or train "
                "into a new folder"
            )
        of_shape(checkpoint, _Checkpoint, str(path), RunError, "train into a new folder")
        whole: dict[str, Any] = checkpoint
        return whole

    def remove_checkpoint(self, path: _PATH) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class _Checkpoint(BaseModel):
    """What Lightning needs to go on, and whatever else it noted."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    epoch: int = Field(ge=0)
    global_step: int = Field(ge=0)
    state_dict: dict[str, Any]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, Any]
    callbacks: dict[str, Any]


def _digest(structure: str, tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = (
            value.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
        )
        return {"tensor": name}
    if isinstance(value, dict):
        return {"pairs": [[key, _pack(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(inner, tensors) for inner in value]}
    if isinstance(value, list):
        return [_pack(inner, tensors) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "tuple" in value:
            return tuple(_unpack(inner, tensors) for inner in value["tuple"])
        return {key: _unpack(inner, tensors) for key, inner in value["pairs"]}
    if isinstance(value, list):
        return [_unpack(inner, tensors) for inner in value]
    return value
