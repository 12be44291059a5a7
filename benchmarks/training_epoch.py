"""An epoch of training as the 2023 study's users have it, against the same in Keras and in a loop of timm's.

    python3 -m venv others && others/bin/pip install -r benchmarks/against_others.txt -e '.[train]'
    OMP_NUM_THREADS=1 others/bin/python -m benchmarks training_epoch [--films FOLDER] [--count 192]

The study's `effnet-svm`: EfficientNetV2-B3, its first 80 layers frozen, 224 pixels, batches of 32, films repaired by
the study's chain and not moved; from drawn weights, which cost the same. The films are originals of 1 to 4 megapixels,
drawn ones unless a folder is given; where they are fewer than --count, each is there several times. Theirs reads, repairs
and shrinks every film in every epoch, as the study's generator did (`cv2.imread`, then our chain's own code on the
shrunk film); ours does so once, into the film cache, and is measured in an epoch that finds it filled. Epochs, steps on a
held batch, and the films' way to the network are measured apart, five times in turn after a first that does not
count. Speed is by processor time of all threads, which other work on the machine does not touch; the clock is noted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import LABELS, Collection
from cxrlens.models.classifier import build_model
from cxrlens.phantoms import write_phantoms
from cxrlens.quality.chain import Chain
from cxrlens.radiographs.read import find_films
from cxrlens.recipes.recipe import read_recipe
from cxrlens.training.films import Drawn, training_part
from cxrlens.training.fit import _quiet, cached_films
from cxrlens.training.module import TrainingModule
from cxrlens.training.precision import apply_precision, choose_precision
from record import keep_speed, kept, machine, markdown, middle, said, shared, stamp, timed

# After PyTorch: the other way round the process ends in a fault of its memory. And after cxrlens.models, which
# makes torchvision importable beside a CPU build.
os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
import keras
import lightning
import tensorflow
import timm
from lightning.pytorch.callbacks import Callback

REPEATS = 5
SIDES = (1024, 1448, 2048)
"""Of drawn films: one, two and four megapixels."""
DISTINCT = 16
"""Drawn films of each size."""
PARTS = ("epoch", "step", "films")
"""Of a side: a whole epoch, a step on a held batch, and an epoch's films on their way to the network."""

Side = dict[str, Callable[[], object]]


class Clock(Callback):
    """Processor and clock of an epoch, without Lightning's start."""

    def _now(self) -> np.ndarray:
        return np.array([time.process_time(), time.perf_counter()])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin."""
        self.began = self._now()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop."""
        self.took = self._now() - self.began


def ours(films: Collection, place: Path, batch: int) -> tuple[Side, Clock, dict[str, Any]]:
    recipe = read_recipe("effnet-svm", ("model.weights=none", f"training.batch={batch}", "training.max_epochs=1"))  # fmt: skip
    cached = cached_films(films, recipe, place, None)
    loss, loader = training_part(recipe, films, cached, Drawn())
    model = build_model(recipe.model, len(LABELS))
    held = next(iter(loader))
    chosen = choose_precision("auto", model, held.films, held.labels, loss)
    module = TrainingModule(model, loss, recipe, len(loader))
    precision = apply_precision(chosen["chosen"], model)
    optimiser = module.configure_optimizers()["optimizer"]
    clock = Clock()

    def epoch() -> None:
        with _quiet():
            lightning.Trainer(
                accelerator="cpu", devices=1, precision=precision, max_epochs=1, logger=False, callbacks=[clock],
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            ).fit(module, loader)  # fmt: skip

    def step() -> None:
        module.train()
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
            value = module.training_step(held, 0)
        value.backward()
        optimiser.step()

    return {"epoch": epoch, "step": step, "films": lambda: [one.films for one in loader]}, clock, chosen  # fmt: skip


class Generator(keras.utils.PyDataset):
    """The study's: batches of films that are read, shrunk and repaired when they are asked for."""

    def __init__(self, paths: list[str], labels: np.ndarray, batch: int) -> None:
        super().__init__()
        self.paths, self.labels, self.batch = paths, labels, batch
        self.chain = Chain.named("report")

    def __len__(self) -> int:
        return len(self.paths) // self.batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(index * self.batch, (index + 1) * self.batch)
        return np.stack([self.film(path) for path in self.paths[chosen]]), self.labels[chosen]

    def film(self, path: str) -> np.ndarray:
        """Read, shrink and repair a film, (S, S, 3) float32 in [0, 255]."""
        read = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(read, (self.chain.side, self.chain.side), interpolation=cv2.INTER_AREA)
        repaired = self.chain.examine(small).pixels
        return np.repeat(repaired[..., None], 3, 2).astype(np.float32)


def in_keras(generator: Generator, precision: str) -> Side:
    keras.mixed_precision.set_global_policy(precision)
    shape = (generator.chain.side, generator.chain.side, 3)
    b3 = keras.applications.EfficientNetV2B3(
        include_top=False, weights=None, pooling="avg", input_shape=shape
    )
    names = [layer.name for layer in b3.layers]
    for layer in b3.layers[: names.index("block4b_add") + 1]:
        layer.trainable = False
    model = keras.Sequential([b3, keras.layers.Dense(len(LABELS), dtype="float32")])
    by_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-5), by_logits)
    held = generator[0]
    return {
        "epoch": lambda: model.fit(generator, epochs=1, verbose=0),
        "step": lambda: model.train_on_batch(*held),
        "films": lambda: [generator[place] for place in range(len(generator))],
    }


def by_timm(generator: Generator) -> Side:
    model = timm.create_model("tf_efficientnetv2_b3", num_classes=len(LABELS)).train()
    model = model.to(memory_format=torch.channels_last)
    for part in (model.conv_stem, model.bn1, model.blocks[:3], model.blocks[3][:2]):
        part.requires_grad_(False).eval()
    adam = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-5)

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(generator.paths)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            film = torch.from_numpy(generator.film(generator.paths[index]))
            return film.permute(2, 0, 1) / 255, int(generator.labels[index])

    loader = torch.utils.data.DataLoader(Files(), generator.batch, shuffle=True)
    held = next(iter(loader))

    def step(films: torch.Tensor, labels: torch.Tensor) -> None:
        adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            value = torch.nn.functional.cross_entropy(
                model(films.contiguous(memory_format=torch.channels_last)), labels
            )
        value.backward()
        adam.step()

    return {
        "epoch": lambda: [step(*one) for one in loader],
        "step": lambda: step(*held),
        "films": lambda: list(loader),
    }


def measured(mine: Side, clock: Clock, others: dict[str, Side], films: dict[str, int]) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Milliseconds a film of each side's parts, all sides in turn; after each turn what is known by then."""
    rows: dict[str, list[np.ndarray]] = {}
    for turn in range(REPEATS + 1):
        for part in PARTS:
            for name, side in {"ours": mine, **others}.items():
                took = np.array(timed(side[part]))
                if name == "ours" and part == "epoch":
                    took = clock.took
                if turn:
                    rows.setdefault(f"{part} | {name}", []).append(1000 * took / films[part])
        print(turn, {name: np.round(many[-1], 1).tolist() for name, many in rows.items()}, flush=True)  # fmt: skip
        if turn:
            yield {name: np.array(many) for name, many in rows.items()}


def found_of(rows: dict[str, np.ndarray], precision: str) -> dict[str, Any]:
    found = {}
    for name, theirs in rows.items():
        part, _, side = name.partition(" | ")
        if side == "ours":
            continue
        own = rows[f"{part} | ours"]
        found[name] = {
            "part": part,
            "side": side,
            "ours_in": precision,
            "turns": len(own),
            "ours_ms": middle(own[:, 0].tolist()),
            "theirs_ms": middle(theirs[:, 0].tolist()),
            "times": middle((theirs / own)[:, 0].tolist()),
            "times_clock": middle((theirs / own)[:, 1].tolist()),
        }
    return found


WORDS = {
    "epoch": "an epoch, all of it",
    "step": "a training step",
    "films": "films to the network",
}


def write(content: dict[str, Any]) -> None:
    table = pd.DataFrame(
        {
            "what": WORDS[one["part"]],
            "against": one["side"],
            "ours, ms a film": said(one["ours_ms"], 2),
            "theirs, ms a film": said(one["theirs_ms"], 2),
            "times as fast": said(one["times"], 2),
            "by the clock": said(one["times_clock"], 2),
            "ours in": one["ours_in"],
            "turns": one["turns"],
        }
        for one in content["parts"].values()
    )
    text = (
        f"Written by `python -m benchmarks training_epoch`: the study's `effnet-svm` (EfficientNetV2-B3, first 80 layers "
        f"frozen, 224 pixels, batches of {content['batch']}) on {content['count']} {content['told']} of {content['megapixels'][0]:.1f} to "
        f"{content['megapixels'][1]:.1f} megapixels, {content['threads']} thread(s) on every side, sides in turn after a "
        "first that does not count, median (least–most), milliseconds of processor time. Theirs reads, shrinks and repairs every film in "
        f"every epoch, as the study's generator did; ours once, into the film cache ({content['cache_ms']:.0f} ms a film). "
        "Ours trains in the arithmetic that its own measurement before the first epoch finds fastest.\n\n"
        f"{markdown(table)}\n\n{stamp(machine())}; shared machine, {shared()}."
    )
    keep_speed("training_epoch", content, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=Path, help="a folder of films")
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="other sides whose name has this word")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    torch.set_num_threads(options.threads)
    tensorflow.config.threading.set_intra_op_parallelism_threads(options.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.films:
            given = find_films([options.films])
        else:
            given = []
            for side in SIDES:
                write_phantoms(place / str(side), DISTINCT, seed=side, side=side)
                given += find_films([place / str(side)])
        pixels = {path: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).size / 1e6 for path in given}
        # As many megapixels as a user's originals have.
        large = [path for path in given if pixels[path] >= 1]
        sizes = [pixels[path] for path in large]
        paths = [str(large[place % len(large)]) for place in range(options.count)]
        labels = np.arange(len(paths)) % len(LABELS)
        took = timed(
            lambda: cache_films([*map(str, large)], Chain.named("report"), place / "cache")
        )
        table = pd.DataFrame({"image": paths, "label": [LABELS[label] for label in labels]})
        collection = Collection(table.assign(split="train").astype("string"))
        mine, clock, precision = ours(collection, place / "cache", options.batch)
        generator = Generator(paths, labels, options.batch)
        others = {
            "Keras 3 on TensorFlow, float32, as the study": lambda: in_keras(generator, "float32"),
            "Keras 3 on TensorFlow, bfloat16": lambda: in_keras(generator, "mixed_bfloat16"),
            "PyTorch + timm, bfloat16, DataLoader": lambda: by_timm(generator),
        }
        others = {name: make() for name, make in others.items() if options.only in name}
        content = {
            "count": options.count,
            "distinct": len(large),
            "told": f"{'given' if options.films else 'drawn'} films ({len(large)} distinct ones)",
            "megapixels": [min(sizes), max(sizes)],
            "batch": options.batch,
            "threads": options.threads,
            "cache_ms": 1000 * took[0] / len(large),
            "precision": precision,
        }
        films = {"epoch": options.count, "step": options.batch, "films": options.count}
        parts = kept("training_epoch").get("parts", {}) if options.only else {}
        for rows in measured(mine, clock, others, films):
            # A run that is cut short leaves what it measured.
            write({**content, "parts": {**parts, **found_of(rows, precision["chosen"])}})


if __name__ == "__main__":
    main()
