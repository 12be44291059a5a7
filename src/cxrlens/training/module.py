"""The recipe's training as Lightning runs it: steps, optimiser, rate, and what is kept each epoch."""

import copy
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Callback
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from cxrlens.errors import RunError
from cxrlens.files import explained, moved_into_place, of_shape
from cxrlens.models.classifier import EvidenceClassifier, FilmClassifier, Outputs
from cxrlens.recipes.recipe import Augmentation, Recipe, Training
from cxrlens.runs.run import Run
from cxrlens.runs.saved import write_weights
from cxrlens.training.augment import (
    Batch,
    Draw,
    augment,
    draw,
    draw_mixing,
    draw_transplants,
    mixed,
    move,
    shade,
    transplanted,
)
from cxrlens.training.losses import LossFunction, map_loss, taught_loss, taught_map_loss

CLIMB = 0.15
"""Share of a training during which the rate of one cycle climbs."""


def build_optimiser(settings: Training, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimiser of the weights that learn.

    Weight decay is of matrices and kernels only: pulling biases and the scales of norms to zero helps
    nothing (Goyal 2017).
    """
    learning = [weight for weight in weights if weight.requires_grad]
    if settings.optimiser == "adam":
        return torch.optim.Adam(learning, lr=settings.learning_rate_low)
    groups = [
        {
            "params": [weight for weight in learning if weight.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [weight for weight in learning if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate_low
    )


def build_schedule(settings: Training, optimiser: torch.optim.Optimizer, steps: int) -> Any:
    """Make the rate's schedule, which is moved on after every step.

    Parameters
    ----------
    settings
        ``triangles`` is a triangular cyclical rate (Smith 2017), ``one-cycle`` climbs along a cosine to the
        highest rate and falls to nothing at the end of the last epoch (Smith 2018).
    optimiser
        Of the weights.
    steps
        Batches of an epoch.
    """
    if settings.schedule == "one-cycle":
        return OneCycleLR(
            optimiser,
            max_lr=settings.learning_rate_high,
            # Lightning moves the schedule on after the last step, too.
            total_steps=steps * settings.max_epochs + 1,
            pct_start=CLIMB,
            div_factor=settings.learning_rate_high / settings.learning_rate_low,
        )
    return CyclicLR(
        optimiser,
        base_lr=settings.learning_rate_low,
        max_lr=settings.learning_rate_high,
        step_size_up=max(1, round(steps * settings.cycle / 2)),
        cycle_momentum=False,
    )


FINER = 4
"""Boxes and masks are moved on a grid so many times finer than the map, of which they become shares."""


class TrainingModule(lightning.LightningModule):
    """A classifier, what lowers its loss, and a moving average of its weights if the recipe wants one.

    Parameters
    ----------
    model, loss, recipe
        What learns, and how.
    steps
        Batches of an epoch.
    teachers
        Networks whose mean it is taught, for a recipe with the key `distil`; they see each film as it was
        changed for the one that learns, and count everywhere in it, as it does.

    Attributes
    ----------
    model
        What learns.
    average
        What is validated and kept in its place, or None.
    """

    def __init__(
        self,
        model: FilmClassifier,
        loss: LossFunction,
        recipe: Recipe,
        steps: int,
        teachers: Sequence[FilmClassifier] = (),
    ) -> None:
        super().__init__()
        self.model = model
        # A list is none of the module's own parts: it is neither trained nor saved.
        self.teachers = [one.eval().requires_grad_(False) for one in teachers]
        for one in self.teachers:
            if isinstance(one, EvidenceClassifier):
                one.lungs = None
        self.distil = recipe.distil
        self.loss = loss
        self.settings = recipe.training
        self.margin = recipe.loss.margin
        self.map = recipe.map
        self.augmentation = recipe.augmentation
        self.steps = steps
        self.average: FilmClassifier | None = None
        if recipe.training.average:
            self.average = copy.deepcopy(model).requires_grad_(False)
        self.train_map_loss = MeanMetric()
        for part in ("train", "validation"):
            setattr(self, f"{part}_loss", MeanMetric())
            accuracy = MulticlassAccuracy(max(2, recipe.outputs), average="micro")
            setattr(self, f"{part}_accuracy", accuracy)

    @property
    def kept(self) -> FilmClassifier:
        """What is validated and kept."""
        return self.average or self.model

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One batch forward; its loss."""
        if self.augmentation and self.augmentation.transplant and batch.guided:
            drawn = draw_transplants(batch.labels, batch.guided.boxed, self.augmentation.transplant)
            batch = transplanted(batch, drawn)
        side = min(self.settings.side or batch.films.shape[-1], batch.films.shape[-1])
        changes = None
        films = batch.films
        if self.augmentation or side != films.shape[-1]:
            changes = draw(self.augmentation or Augmentation(), len(films))
            films = augment(films, changes, side)
        standardise = self.model.standardise
        grey = standardise.grey(films)
        if changes and self.augmentation and self.augmentation.shades:
            grey = shade(grey, changes, standardise.middle)
        if self.augmentation and self.augmentation.mix:
            grey = mixed(grey, draw_mixing(batch, self.augmentation.mix))
        x = standardise.channelled(grey)
        outputs = self.model.answer(x)
        loss = self._counted("train", outputs.scores, batch)
        if self.map and batch.guided and outputs.map is not None:
            loss = loss + self.map.weight * self._map_loss(outputs.map, batch, changes)
        if self.distil and self.teachers:
            loss = self.distil.labels * loss + self._taught_loss(outputs, x)
        if self.margin:
            weights: Tensor = self.model.head.weight  # type: ignore[assignment]
            loss = loss + self.margin / 2 * weights.square().sum()
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """One batch of validation films."""
        self._counted("validation", self.kept(batch.films).scores, batch)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average on."""
        self.averaged(self.global_step)

    def averaged(self, step: int) -> None:
        """Move the average on; in the first steps faster, since it starts from untrained weights."""
        if self.average is None:
            return
        decay = min(self.settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            own = self.model.state_dict()
            for key, value in self.average.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(own[key], 1 - decay)
                else:
                    value.copy_(own[key])

    def _counted(self, part: str, scores: Tensor, batch: Batch) -> Tensor:
        loss = self.loss(scores if batch.prior is None else scores + batch.prior, batch.labels)
        getattr(self, f"{part}_loss").update(loss.detach(), len(batch.films))
        # One score tells class 0, the target, from class 1, the rest: at 0 both are alike.
        choice = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] <= 0).long()
        getattr(self, f"{part}_accuracy").update(choice.detach(), batch.labels)
        return loss

    def _taught_loss(self, outputs: Outputs, x: Tensor) -> Tensor:
        assert self.distil is not None
        with torch.no_grad():
            answers = [one.to(x.device).answer(x) for one in self.teachers]
        loss = taught_loss(outputs.scores, torch.stack([of.scores for of in answers]).mean(0))
        maps = [of.map for of in answers if of.map is not None]
        if outputs.map is not None and maps:
            theirs = torch.stack(maps).mean(0)
            loss = loss + self.distil.places * taught_map_loss(outputs.map, theirs)
        return loss

    def _map_loss(self, evidence: Tensor, batch: Batch, changes: Draw | None) -> Tensor:
        assert self.map is not None
        assert batch.guided is not None
        pictures, boxed, masked = batch.guided
        grid = evidence.shape[-1]
        if changes:
            pictures = move(pictures, changes, FINER * grid, "zeros")
        boxes, lungs = functional.adaptive_avg_pool2d(pictures, grid).unbind(1)
        loss = map_loss(evidence, batch.labels, boxes, boxed, lungs, masked, self.map)
        self.train_map_loss.update(loss.detach(), len(batch.films))
        return loss

    def on_validation_epoch_end(self) -> None:
        """Hand the epoch's validation accuracy to early stopping."""
        self.log("validation_accuracy", self.validation_accuracy.compute())  # type: ignore[operator,union-attr]

    def take(self, part: str) -> dict[str, float]:
        """Loss and accuracy of a part since the last call."""
        values = {}
        for name in ("loss", "accuracy"):
            metric = getattr(self, f"{part}_{name}")
            values[f"{part}_{name}"] = float(metric.compute())
            metric.reset()
        if part == "train" and self.map:
            values["train_map_loss"] = float(self.train_map_loss.compute())
            self.train_map_loss.reset()
        return values

    def configure_optimizers(self) -> Any:
        """Make the recipe's optimiser and schedule."""
        optimiser = build_optimiser(self.settings, self.parameters())
        schedule = build_schedule(self.settings, optimiser, self.steps)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class KeepEpochs(Callback):
    """After each epoch: its row of the history, the weights to keep, and progress to resume from.

    Random numbers are seeded afresh at each epoch's start, from the recipe's seed and the epoch alone,
    so that a resumed run draws what an uninterrupted one would have drawn.
    """

    def __init__(self, run: Run, seed: int) -> None:
        self.run = run
        self.seed = seed
        self.began = 0.0

    @property
    def progress(self) -> Path:
        """Where the state to resume from lies."""
        return self.run.path / "progress" / "last.safetensors"

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the epoch's clock."""
        self.began = time.perf_counter()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Seed the epoch, once the loaders have drawn what they draw for themselves."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * 100_003 + trainer.current_epoch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write everything that the epoch gave; progress last, so that it never runs ahead."""
        history = self.run.history()
        if len(history):
            history = history[history["epoch"] < trainer.current_epoch]
        row = {
            "epoch": trainer.current_epoch,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **pl_module.take("train"),
            **pl_module.take("validation"),
            "seconds": round(time.perf_counter() - self.began, 2),
        }
        best = history["validation_accuracy"].max() if len(history) else -1.0
        if row["validation_accuracy"] > best or pl_module.settings.keep == "last":
            self._keep_weights(pl_module.kept)
        self.run.write_history(pd.concat([history, pd.DataFrame([row])], ignore_index=True))
        with explained(self.progress):
            trainer.save_checkpoint(self.progress)

    def _keep_weights(self, model: FilmClassifier) -> None:
        state = {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}
        write_weights(self.run.path / "weights.safetensors", state)


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
