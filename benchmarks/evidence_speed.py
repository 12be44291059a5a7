"""Films a second of whole training steps: augmentation, network, map, optimiser, averaged weights.

    python benchmarks/evidence_speed.py [--threads 2]

Steps of our two recipes as `cxrlens train` takes them, on drawn noise of 224 pixels cropped to 160, in turns. Beside
the films a second by the clock stand films a second of processor time, which other programs on the machine
disturb less, and the load that they made. Writes results/evidence_speed.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import pandas as pd
import torch

from cxrlens.files import write_text
from cxrlens.models.classifier import build_model
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.training.augment import SIDE, Batch, Guided
from cxrlens.training.losses import build_loss
from cxrlens.training.module import TrainingModule, build_optimiser
from cxrlens.training.precision import DEPTHWISE, apply_precision
from record import RESULTS, keep, kept, markdown, stamp

RECIPES = ("lite0-ffn", "evidence-lite0", "evidence-lungs")
TURNS, STEPS = 3, 4


class Trainer:
    """A training without Lightning's loop around it."""

    def __init__(self, recipe: Recipe) -> None:
        model = build_model(recipe.network, 3)
        self.module = TrainingModule(model, build_loss(recipe.loss, [1, 1, 1]), recipe, 100).train()
        apply_precision(DEPTHWISE, model)
        self.optimiser = build_optimiser(recipe.training, self.module.parameters())
        films = recipe.training.batch
        guided = Guided(
            torch.rand(films, 2, SIDE, SIDE),
            torch.arange(films) % 3 == 2,
            torch.arange(films) % 4 == 0,
        )
        self.batch = Batch(
            torch.randint(0, 256, (films, recipe.side, recipe.side), dtype=torch.uint8),
            torch.arange(films) % 3,
            torch.zeros(films, 3) if recipe.training.source_prior else None,
            guided if recipe.map else None,
        )

    def step(self) -> None:
        """Take one step, the average's too."""
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.module.training_step(self.batch, 0)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.module.averaged(1000)


def turn(trainer: Trainer) -> dict[str, float]:
    films = STEPS * len(trainer.batch.films)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        trainer.step()
    return {
        "by_clock": round(films / (time.perf_counter() - clock), 2),
        "by_processor": round(films / (time.process_time() - processor), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    trainers = {name: Trainer(read_recipe(name)) for name in RECIPES}
    for trainer in trainers.values():
        trainer.step()
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in RECIPES}
    for _ in range(TURNS):
        for name, trainer in trainers.items():
            turns[name].append(turn(trainer))
    content: dict[str, Any] = kept("evidence_speed") or {"threads": {}}
    content["threads"][str(threads)] = {
        "turns": turns,
        "load": round(os.getloadavg()[0], 1),
        "sides": {
            name: [read_recipe(name).side, read_recipe(name).training.side] for name in RECIPES
        },
    }
    keep("evidence_speed", content)
    rows = [
        {
            "threads": count,
            "recipe": name,
            "films/s by the clock": f"{statistics.median(of['by_clock'] for of in found):.1f}",
            "least–most": f"{min(of['by_clock'] for of in found):.1f}–{max(of['by_clock'] for of in found):.1f}",
            "films a second of processor time": f"{statistics.median(of['by_processor'] for of in found):.1f}",
            "load": measured["load"],
        }
        for count, measured in content["threads"].items()
        for name, found in measured["turns"].items()
    ]
    write_text(
        RESULTS / "evidence_speed.md",
        f"Written by `benchmarks/evidence_speed.py` on {stamp(kept('evidence_speed')['machine'])}, batch 48, films of 224 pixels "
        f"cropped to 160; three turns of {STEPS} steps; the load is all programs' on the machine, this one's with them.\n\n"
        f"{markdown(pd.DataFrame(rows))}\n",
    )
