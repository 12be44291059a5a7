"""Train with sources left out, and ask those sources: a plain network and one with an evidence map, side by side.

    python benchmarks/left_out.py [--runs runs/left-out] [--cache DIR] [--threads 2] [--only NAME ...] [--table]

Needs the shared radiographs beside the project. A queue that can be stopped and started again: a row that is
finished stays as it is, an interrupted one goes on after its last whole epoch. Each row is one JSON in
results/left_out/: after each epoch the AUC of each disease against the normal films of its own source, with
intervals by patient, for the films of left-out sources (all of them) and for those of a fifth of the patients
of the others, fixed by a hash, which no row trains on. Of NIH only the opacities that radiologists confirmed
on a second reading count as pneumonia. `--table` writes results/left_out.md of what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import LABELS, Collection, read_collection
from cxrlens.evaluation.against_normal import each_disease
from cxrlens.files import write_text
from cxrlens.models.classifier import FilmClassifier
from cxrlens.prediction.torch_network import load_classifier
from cxrlens.progress import Epoch
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs import Run
from cxrlens.training.fit import resume, train
from looks import looked
from real_films import CXR
from record import RESULTS, machine, markdown, stamp

PLACE = RESULTS / "left_out"
EPOCHS = 4
RECIPES: dict[str, tuple[str, ...]] = {
    "map": ("evidence-lite0",),
    "lungs": ("evidence-lungs", "model.counts=film", "augmentation.transplant=0"),
    "lesions": ("evidence-lungs", "model.counts=film"),
    "inside": ("evidence-lungs",),
    "bare": ("evidence-lungs", "augmentation.transplant=0"),
    "mixed": ("evidence-lungs", "augmentation.mix=0.3"),
    "fine": ("evidence-lungs", "training.side=224"),
    "coarse": ("evidence-lungs", "training.side=128"),
    "free": ("evidence-lungs",),
    "plain": ("lite0-ffn",),
    "long": ("lite0-ffn", "training.max_epochs=12"),
}
"""A recipe each, and what is set in it."""

ALSO = {
    "lungs": ", no transplants, counted everywhere",
    "lesions": ", counted everywhere",
    "bare": ", no transplants",
    "mixed": ", mixed",
    "fine": ", trained at 224 pixels",
    "coarse": ", trained at 128 pixels",
    "free": ", no non-commercial sets",
    "long": ", 12 epochs",
}
"""What tells a kind from another of its recipe, in the table."""

READ_AGAIN = ("lungs", "lesions", "inside", "bare", "mixed", "fine", "coarse", "free")
"""Kinds that are not trained on films whose label a second reading contradicts; the others came first."""

NONCOMMERCIAL = ("tbx11k",)
"""Sources whose films and boxes come under a licence that forbids commercial use; masks say so row by row."""

LEFT_OUT = (("shenzhen",), ("sakha",), ("nih", "qatar"))
LATER = (("mendeley",), ("kermany",))
RESAMPLES = 1000
HELD_GOAL = 0.949
"""Macro F1 without NIH, on films of the same sources, that an ordinary recipe is to reach."""


@dataclass(frozen=True)
class Row:
    """One training."""

    kind: str
    left_out: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """Say the row in a word."""
        return f"{self.kind}-without-{'-'.join(self.left_out) or 'nothing'}-seed{self.seed}"

    def recipe(self) -> Recipe:
        """Read its recipe, with what all rows share."""
        settings = (
            f"seed={self.seed}",
            f"training.max_epochs={EPOCHS}",
            "training.precision=bfloat16-split-depthwise",
        )
        name, *own = RECIPES[self.kind]
        return read_recipe(name, (*settings, *own))


QUEUE = [
    *(
        Row(kind, left_out, 0)
        for kind in ("inside", "bare", "mixed", "fine", "coarse", "lungs", "lesions")
        for left_out in LEFT_OUT
    ),
    *(Row("map", left_out, 0) for left_out in LEFT_OUT),
    *(Row("free", (*left_out, *NONCOMMERCIAL), seed) for seed in (0, 1) for left_out in LEFT_OUT),
    Row("plain", (), 0),
    Row("long", (), 0),
    *(Row("plain", left_out, 0) for left_out in LEFT_OUT),
    *(
        Row(kind, left_out, 1)
        for kind in ("inside", "lungs", "lesions", "mixed", "map", "plain")
        for left_out in LEFT_OUT
    ),
    *(
        Row(kind, left_out, seed)
        for seed in (0, 1)
        for kind in ("inside", "lungs", "lesions", "mixed", "map", "plain")
        for left_out in LATER
    ),
]
"""The goals first: the networks that bring a map, then the plain one, then all with another seed."""


def drawn(text: str) -> float:
    """Draw a number in [0, 1) that only the text decides."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def dealt(films: pd.DataFrame, left_out: tuple[str, ...]) -> pd.DataFrame:
    """Add the column split: a fifth of the patients is held; of these a fifth is met after each epoch, too."""
    held = films["patient"].map(lambda of: drawn(f"protocol:{of}") < 0.2)
    some = films["patient"].map(lambda of: drawn(f"some:{of}") < 0.2)
    split = np.where(~held, "train", np.where(some, "validation", "test"))
    split = np.where(films["source"].isin(left_out), "test", split)
    return films.assign(split=split)


def contradicted(films: pd.DataFrame) -> pd.Series:
    """Find films of NIH whose label radiologists did not confirm when they read them again."""
    read = films["rsna_class"].fillna("")
    expected = films["label"].map({"normal": "Normal", "pneumonia": "Lung Opacity"})
    return (films["source"] == "nih") & (read != "") & (read != expected)


def free_masks(place: Path) -> Path:
    """Write the table of lung masks without those whose licence forbids commercial use."""
    masks = pd.read_csv(CXR / "lungs.csv")
    masks = masks[~masks["licence"].str.contains("NC", regex=False)]
    for column in ("image", "mask"):
        masks[column] = [str((CXR / path).resolve()) for path in masks[column]]
    write_text(place, masks.to_csv(index=False))
    return place


def scores_of(run: Run, cached: CachedFilms, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores (N, 3) of films by the weights that the run holds now."""
    return scores_by(load_classifier(run), cached, chosen)


def scores_by(
    model: FilmClassifier, cached: CachedFilms, chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scores (N, 3) of films by a network, in bfloat16 as in training."""
    model = model.eval().to(memory_format=torch.channels_last)
    rows = cached.rows[chosen]
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(rows), 64):
            films = torch.from_numpy(
                np.stack([cached.pixels[row] for row in rows[start : start + 64]])
            )
            parts.append(model(films).scores.float())
    return torch.cat(parts).double().numpy()


def auc_with_interval(of: Mapping[str, Any]) -> str:
    """Write one of `within_sources` for people."""
    return f"{of['auc']:.3f} ({of['low']:.3f}–{of['high']:.3f})"


def within_sources(
    films: pd.DataFrame, scores: NDArray[np.float64], left_out: tuple[str, ...]
) -> list[dict[str, Any]]:
    """AUC of each disease against the normal films of the same source, with intervals by patient."""
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    asked = films.assign(
        **dict(zip(LABELS, (odds / odds.sum(axis=1, keepdims=True)).T, strict=True))
    )
    unsure = (asked["source"] == "nih") & (asked["label"] == "pneumonia")
    asked = asked[~unsure | (asked["rsna_class"].fillna("") == "Lung Opacity")]
    asked = asked[["label", "patient", "source", *LABELS]].reset_index(drop=True)
    found = []
    for disease, judged in each_disease(asked, LABELS, resamples=RESAMPLES).items():
        for source, own in judged.within.items():
            if own.auc.value is not None:
                interval = own.auc.interval
                found.append(
                    {
                        "source": source,
                        "left_out": source in left_out,
                        "disease": "confirmed opacity" if source == "nih" else disease,
                        "auc": round(own.auc.value, 4),
                        "low": round(interval.low, 4) if interval else None,
                        "high": round(interval.high, 4) if interval else None,
                        "diseased": own.films,
                        "normal": own.normals,
                        "patients": own.patients,
                    }
                )
    return sorted(found, key=lambda of: of["source"])


def macro_f1(films: pd.DataFrame, scores: NDArray[np.float64], left_out: tuple[str, ...]) -> float:
    """Macro F1 of the highest score, on the held fifth of the sources trained on, without NIH."""
    own = ~films["source"].isin([*left_out, "nih"]).to_numpy(bool)
    called = np.array(LABELS)[scores.argmax(axis=1)][own]
    return round(float(f1_score(films.loc[own, "label"], called, average="macro")), 4)


def measured(row: Row, runs: Path, cache: Path | None) -> None:
    """Train a row, or go on with it, and write its JSON after each epoch."""
    films = dealt(read_collection(CXR / "collection.csv").films, row.left_out)
    recipe = row.recipe()
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    cached = cache_films(films["image"].tolist(), chain, cache)
    asked = (films["split"] != "train").to_numpy(bool)
    of_asked = films[asked].reset_index(drop=True)
    place = PLACE / f"{row.name}.json"
    out = runs / row.name
    begun = json.loads(place.read_text()) if place.exists() else {"epochs": []}

    def keep(finished: bool) -> None:
        content = {
            "recipe": recipe.name,
            "left_out": row.left_out,
            "seed": row.seed,
            "side": recipe.side,
            "trained_at": recipe.training.side,
            "trained_on": int((films["split"] == "train").sum()),
            "finished": finished,
            "epochs": begun["epochs"],
            "machine": machine() | {"threads": torch.get_num_threads(), "shared": True},
        }
        write_text(place, json.dumps(content, indent=1) + "\n")

    def on_epoch(told: Epoch) -> None:
        epoch, history = told.number, told.row
        scores = scores_of(Run(out), cached, asked)
        begun["epochs"] = [of for of in begun["epochs"] if of["epoch"] < epoch]
        begun["epochs"].append(
            {
                "epoch": epoch,
                "seconds": history["seconds"],
                "train_loss": round(history["train_loss"], 4),
                "validation_accuracy": round(history["validation_accuracy"], 4),
                "held_macro_f1_without_nih": macro_f1(of_asked, scores, row.left_out),
                "within": within_sources(of_asked, scores, row.left_out),
            }
        )
        keep(False)
        seen = {of["source"]: of["auc"] for of in begun["epochs"][-1]["within"] if of["left_out"]}
        looked(f"{row.name}, epoch {epoch}", row.left_out, "left_out.py", seen)
        said = [
            f"{of['source']}{'*' if of['left_out'] else ''} {of['disease'][:2]} {of['auc']:.3f}"
            for of in begun["epochs"][-1]["within"]
        ]
        print(f"{time.strftime('%H:%M')} {row.name} epoch {epoch}:", *said, flush=True)

    if (out / "versions.json").exists():
        resume(out, cache=cache, on_epoch=on_epoch, predicted=("test",))
    else:
        tables = {}
        if recipe.map:
            free = row.kind == "free"
            masks = free_masks(runs / "free-masks.csv") if free else CXR / "lungs.csv"
            tables = {"boxes": CXR / "boxes.csv", "lungs": masks}
        taught = films
        if row.kind in READ_AGAIN:
            taught = films[~contradicted(films) | (films["split"] != "train")]
        kept = Collection(taught.reset_index(drop=True))
        train(recipe, kept, out, cache=cache, on_epoch=on_epoch, predicted=("test",), **tables)
    if len(begun["epochs"]) < recipe.training.max_epochs:  # trained elsewhere
        history = Run(out).history()
        on_epoch(Epoch(len(history), len(history), False, dict(history.iloc[-1]), 0.0))
    keep(True)


def table() -> None:
    """Write what the last epochs gave as Markdown, the networks side by side."""
    known = [(row, PLACE / f"{row.name}.json") for row in QUEUE]
    contents = {row: json.loads(place.read_text()) for row, place in known if place.exists()}
    if not contents:
        return
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    ends = []
    for row, content in contents.items():
        network = f"{content['recipe']}{ALSO.get(row.kind, '')}, seed {row.seed}"
        out = ", ".join(row.left_out) or "nothing"
        for epoch in content["epochs"][-1:]:
            for of in epoch["within"]:
                if not of["left_out"] and of["source"] != "kermany":
                    continue
                key = (
                    out,
                    of["source"] + ("" if of["left_out"] else " (held fifth)"),
                    of["disease"],
                    f"{of['diseased']} + {of['normal']}",
                    str(epoch["epoch"]),
                )
                cells.setdefault(key, {})[network] = auc_with_interval(of)
        if content["epochs"]:
            last = content["epochs"][-1]
            ends.append(
                {
                    "network": network,
                    "left out": out,
                    "trained at, asked at": f"{content['trained_at']}, {content['side']} pixels",
                    "epochs": f"{last['epoch']}"
                    + ("" if content["finished"] else ", not finished"),
                    "minutes": f"{sum(of['seconds'] for of in content['epochs']) / 60:.0f}",
                    "macro F1 of the held fifth": f"{last['held_macro_f1_without_nih']:.3f}",
                }
            )
    networks = sorted({network for found in cells.values() for network in found})
    heads = ("left out", "asked", "what", "diseased + normal", "epoch")
    rows = [
        dict(zip(heads, key, strict=True)) | {name: found.get(name, "–") for name in networks}
        for key, found in sorted(cells.items())
    ]
    facts = next(iter(contents.values()))["machine"]
    of_all = " ".join(
        f"With no source left out the ordinary `{end['network']}` has {end['macro F1 of the held fifth']} after "
        f"{end['epochs']} epochs; the aim is {HELD_GOAL}."
        for end in ends
        if end["left out"] == "nothing"
    )
    write_text(
        RESULTS / "left_out.md",
        f"Written by `benchmarks/left_out.py` on {stamp(facts)}, shared with other work. AUC of a disease against the normal "
        "films of its own source, with 95 % intervals by patient; at most 700 films of a source and class an epoch; of "
        "NIH, opacities that radiologists confirmed. A held fifth is of patients whom no training met. What stands here is of the last "
        "epoch; `benchmarks/results/left_out/` has every one.\n\n"
        f"{markdown(pd.DataFrame(rows))}\n\n"
        "Macro F1 is of the highest score, over the held fifth of all sources that were trained on but NIH; the "
        f"evidence map's arg max lacks the source's cue and wants an operating point. {of_all}\n\n"
        f"{markdown(pd.DataFrame(ends))}\n",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/left-out"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for row in [] if asked.table else QUEUE:
        place = PLACE / f"{row.name}.json"
        done = place.exists() and json.loads(place.read_text())["finished"]
        if not done and (asked.only is None or row.name in asked.only):
            measured(row, asked.runs, asked.cache)
    table()
