"""The recipe's training as Lightning runs it: steps, optimiser, rate, and what is kept each epoch."""

import time
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from cxrlens.models.classifier import FilmClassifier
from cxrlens.recipes.recipe import Recipe
from cxrlens.runs.run import Run
from cxrlens.training.augment import augment, draw
from cxrlens.training.losses import LossFunction
from cxrlens.writing import explained, moved_into_place


class TrainingModule(lightning.LightningModule):
    """A classifier, its loss, Adam, and a triangular cyclical learning rate (Smith 2017)."""

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
        self.augmentation = recipe.augmentation
        self.steps = steps
        for part in ("train", "validation"):
            setattr(self, f"{part}_loss", MeanMetric())
            accuracy = MulticlassAccuracy(max(2, recipe.outputs), average="micro")
            setattr(self, f"{part}_accuracy", accuracy)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """One batch forward; its loss."""
        films, labels = batch
        if self.augmentation:
            films = augment(films, draw(self.augmentation, len(films)))
        loss = self._step("train", (films, labels))
        if self.margin:
            weights: Tensor = self.model.head.weight  # type: ignore[assignment]
            loss = loss + self.margin / 2 * weights.square().sum()
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """One batch of validation films."""
        self._step("validation", batch)

    def _step(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        films, labels = batch
        scores = self.model(films).scores
        loss = self.loss(scores, labels)
        getattr(self, f"{part}_loss").update(loss.detach(), len(films))
        # One score tells class 0, the target, from class 1, the rest: at 0 both are alike.
        choice = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] <= 0).long()
        getattr(self, f"{part}_accuracy").update(choice.detach(), labels)
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
        return values

    def configure_optimizers(self) -> Any:
        """Adam; the rate climbs and falls in straight lines between its bounds."""
        optimiser = torch.optim.Adam(
            (p for p in self.parameters() if p.requires_grad), lr=self.settings.learning_rate_low
        )
        half = max(1, round(self.steps * self.settings.cycle / 2))
        schedule = CyclicLR(
            optimiser,
            base_lr=self.settings.learning_rate_low,
            max_lr=self.settings.learning_rate_high,
            step_size_up=half,
            cycle_momentum=False,
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class KeepEpochs(Callback):
    """After each epoch: its row of the history, the best weights so far, and progress to resume from.

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
        if row["validation_accuracy"] > best:
            self._keep_weights(pl_module.model)
        self.run.write_history(pd.concat([history, pd.DataFrame([row])], ignore_index=True))
        with explained(self.progress):
            trainer.save_checkpoint(self.progress)

    def _keep_weights(self, model: FilmClassifier) -> None:
        state = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in model.state_dict().items()
        }
        with moved_into_place(self.run.path / "weights.safetensors") as draft:
            draft.write_bytes(save(state))
