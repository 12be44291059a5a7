"""A bundle of a drawn run whose weights were shaken, which prediction's and serving's tests share."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cxrlens.runs.run import Run


def shaken(run: Run, folder: Path, seed: int = 0) -> Run:
    """Copy a run and shake its weights: fresh and hardly trained networks hide faults."""
    shutil.copytree(run.path, folder)
    for path in folder.rglob("weights.safetensors"):
        tensors = load_file(path)
        save_file(shake(tensors, seed), path)
    return Run(folder)


def shake(tensors: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """Move every weight, norms and their statistics too, by a share of itself and a little more."""
    draw = torch.Generator().manual_seed(seed)
    moved = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            moved[name] = tensor
            continue
        noise = torch.randn(tensor.shape, generator=draw)
        if name.endswith("running_var"):
            moved[name] = tensor * (1 + 0.3 * noise.abs()) + 0.1
        elif tensor.ndim == 1:
            moved[name] = tensor + 0.2 * noise
        else:
            # A head that tells the classes further apart shows differences more clearly.
            moved[name] = tensor * (1 + 0.2 * noise) * (4 if tensor.ndim == 2 else 1)
    return moved
