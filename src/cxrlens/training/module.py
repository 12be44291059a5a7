"""The recipe's training as Lightning runs it: steps, optimiser, rate, and what is kept each epoch."""

import copy
import time
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from cxrlens.models.classifier import FilmClassifier
from cxrlens.recipes.parts import Augmentation
from cxrlens.recipes.recipe import Recipe
from cxrlens.runs.run import Run
from cxrlens.runs.weights import write_weights
from cxrlens.training.augment import Draw, augment, draw, move, shade
from cxrlens.training.batches import Batch
from cxrlens.training.losses import LossFunction, map_loss
from cxrlens.training.optimise import build_optimiser, build_schedule
from cxrlens.writing import explained

FINER = 4
"""Boxes and masks are moved on a grid so many times finer than the map, of which they become shares."""


class TrainingModule(lightning.LightningModule):
    """A classifier, what lowers its loss, and a moving average of its weights if the recipe wants one.

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
    ) -> None:
        super().__init__()
        self.model = model
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
        outputs = self.model.answer(standardise.channelled(grey))
        loss = self._counted("train", outputs.scores, batch)
        if self.map and batch.guided and outputs.map is not None:
            loss = loss + self.map.weight * self._map_loss(outputs.map, batch, changes)
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
