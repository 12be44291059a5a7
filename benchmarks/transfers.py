"""Does a score travel: a class against normal films, trained on one source, measured on another.

    python benchmarks/transfers.py [--runs runs]

Needs the shared radiographs beside the project. Tuberculosis against normal, qatar and mendeley; pneumonia against
normal, kermany and nih; each way. The network is the best row's; beside it a ridge on 16 x 16 thumbnails of the
same films. Writes results/transfers.{json,md}.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import Collection, read_collection
from cxrlens.evaluation.measured import Interval, Metrics
from cxrlens.evaluation.tables import estimate
from cxrlens.files import write_text
from cxrlens.main_job import evaluate, evaluate_on, go_on, train
from cxrlens.quality.chain import Chain
from cxrlens.runs import Run
from real_films import CXR, say
from record import RESULTS, keep, kept, markdown, stamp

WAYS = (
    ("tuberculosis", "qatar", "mendeley"),
    ("tuberculosis", "mendeley", "qatar"),
    ("pneumonia", "kermany", "nih"),
    ("pneumonia", "nih", "kermany"),
)

SETTINGS = (
    "model.backbone=tf_efficientnet_lite0",
    "model.frozen=blocks.3.1",
    "one_vs_all=false",
    "quality=none",
    "side=160",
    "training.max_epochs=4",
    "training.cycle=4",
)


def films_of(films: pd.DataFrame, source: str, target: str) -> pd.DataFrame:
    return films[(films["source"] == source) & films["label"].isin(["normal", target])]


def finished(films: pd.DataFrame, source: str, target: str, folder: Path) -> Run:
    out = folder / "transfers" / f"{target}-{source}"
    if (out / "predictions-test.csv").exists():
        return Run(out)
    if (out / "versions.json").exists():
        return go_on(out, progress=say)
    own = Collection(films_of(films, source, target).reset_index(drop=True))
    changes = (*SETTINGS, f"target={target}", f"name=lite0-{target}-{source}")
    return train("effnet-one-vs-all", own, out, settings=changes, progress=say)


def ridge(known: pd.DataFrame, other: pd.DataFrame, target: str) -> tuple[float, float]:
    """AUC of a ridge on thumbnails, on the test films of its own source and on the other source."""
    pixels, labels = {}, {}
    parts = {
        "train": known[known["split"] != "test"],
        "own": known[known["split"] == "test"],
        "other": other,
    }
    for name, part in parts.items():
        cached = cache_films(part["image"].tolist(), Chain.named("none", 160))
        small = [
            cv2.resize(cached.pixels[row], (16, 16), interpolation=cv2.INTER_AREA)
            for row in cached.rows
        ]
        pixels[name] = np.stack(small).reshape(len(part), -1) / 255.0
        labels[name] = (part["label"] == target).to_numpy()
    model = RidgeClassifier(alpha=1.0).fit(pixels["train"], labels["train"])
    own, far = (
        float(roc_auc_score(labels[name], model.decision_function(pixels[name])))
        for name in ("own", "other")
    )
    return own, far


def auc(metrics: Metrics, target: str) -> dict[str, Any]:
    interval = metrics.interval(f"{target}.auc")
    return {
        "auc": metrics.by_class[target].auc,
        "interval": interval.model_dump() if interval else None,
        "films": metrics.films,
    }


def said(found: dict[str, Any]) -> str:
    interval = Interval.model_validate(found["interval"]) if found["interval"] else None
    return estimate(found["auc"], interval)


def verdict(entry: dict[str, Any]) -> str:
    """Say in a sentence whether a score travels; lost is what falls below half of the way to chance."""
    own, there = entry["own"]["auc"], entry["there"]["auc"]
    way = f"{entry['target']}, {entry['source']} → {entry['other']}"
    interval = entry["there"]["interval"]
    if interval and interval["high"] < 0.5:
        said = "does not transfer: there it ranks films the wrong way round"
    elif interval and interval["low"] <= 0.5:
        said = "does not transfer: there it cannot be told from chance"
    elif there - 0.5 < (own - 0.5) / 2:
        said = "does not transfer: more than half of what lay above chance is lost"
    else:
        said = "transfers in part" if own - there > 0.01 else "transfers"
    return f"{way}: AUC {own:.3f} {said} ({there:.3f})."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    folder = parser.parse_args().runs
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    films = read_collection(CXR / "collection.csv").films
    content, rows = [], []
    for target, source, other in WAYS:
        run = finished(films, source, target, folder)
        far = films_of(films, other, target).reset_index(drop=True)
        there = evaluate_on(run.path, Collection(far), run.path / f"on-{other}", force=True).metrics
        thumbnails = ridge(run.collection().films, far, target)
        entry = {
            "target": target,
            "source": source,
            "other": other,
            "own": auc(evaluate(run)["test"], target),
            "there": auc(there, target),
            "ridge": thumbnails,
        }
        content.append(entry)
        rows.append(
            {
                "class against normal": target,
                "trained on": source,
                "its own test films, AUC": f"{said(entry['own'])}, {entry['own']['films']} films",
                "measured on": other,
                "AUC there": f"{said(entry['there'])}, {entry['there']['films']} films",
                "thumbnail ridge, own": f"{thumbnails[0]:.3f}",
                "thumbnail ridge, there": f"{thumbnails[1]:.3f}",
            }
        )
        print(rows[-1], flush=True)
    keep("transfers", {"settings": SETTINGS, "ways": content})
    verdicts = "\n".join(f"- {verdict(entry)}" for entry in content)
    write_text(
        RESULTS / "transfers.md",
        f"Written by `benchmarks/transfers.py` on {stamp(kept('transfers')['machine'])}: EfficientNet-Lite0 with ImageNet "
        "weights, first half frozen, 160 pixels, 4 epochs, binary focal loss.\n\n"
        + f"{markdown(pd.DataFrame(rows))}\n\n{verdicts}\n",
    )
