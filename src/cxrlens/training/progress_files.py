"""Lightning's checkpoints without pickles: tensors in safetensors, everything else in JSON.

A checkpoint becomes one ``.safetensors`` file whose header carries the JSON. Tensors inside the nested
structure are replaced by their number; mappings are kept as pairs, because the optimiser's keys are
integers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.types import _PATH
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cxrlens.errors import RunError
from cxrlens.writing import moved_into_place


class SafetensorsCheckpoints(CheckpointIO):
    """Saves and loads training progress for Lightning; a file is whole or not there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint beside `path` and move it there."""
        tensors: dict[str, Tensor] = {}
        structure = json.dumps(_pack(checkpoint, tensors))
        with moved_into_place(Path(path)) as draft:
            draft.write_bytes(save(tensors, metadata={"structure": structure}))

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
            If it is none.
        """
        try:
            with safe_open(path, "pt") as file:
                structure = json.loads((file.metadata() or {})["structure"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RunError(f"{path} holds no training progress: train into a new folder") from error
        checkpoint: dict[str, Any] = _unpack(structure, tensors)
        return checkpoint

    def remove_checkpoint(self, path: _PATH) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


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
