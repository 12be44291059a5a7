"""Train every row of the report's Table 1 on the report-like set, and of ours on the one without NIH, in the order in which time is best spent.

    python benchmarks/report_rows.py [--runs runs] [--only NAME ...] [--threads 1]

Needs the shared radiographs beside the project. Rows that are finished are left as they are, interrupted
ones are resumed. No ImageNet weights of the report's own backbones can be had without a model hub: rows on
EfficientNet-Lite carry its name, rows of the report's backbones start from random weights and are marked.
Where time is short a row trains fewer epochs than the report's: `max_epochs` says how many.
`report_tables.py` makes tables of what lies there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cxrlens.main_job import go_on, train
from cxrlens.training.together import blend, distil
from real_films import TRIANGLE, films_of, say

LITE = (
    "model.backbone=tf_efficientnet_lite0",
    "model.frozen=blocks.3.1",
    "side=160",
)
NAMED = ("model.weights=none", "model.frozen=''", "side=64", "training.max_epochs=1")

MILD = {
    "shift": 0.05,
    "scale": 0.1,
    "rotation": 10,
    "brightness": 0.1,
    "contrast": 0.2,
    "clahe": 0.2,
}
"""The changes of films that the recipe convnext-augmented has."""

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lite0-svm": ("effnet-svm", (*LITE, "training.max_epochs=8")),
    "lite0-plain": ("convnext-plain", (*LITE, "training.max_epochs=8")),
    "lite0-one-vs-all": ("effnet-one-vs-all", (*LITE, "training.max_epochs=6", "training.cycle=6")),
    "lite0-focal": ("convnext-focal", (*LITE, "training.max_epochs=8")),
    "lite0-augmented": ("convnext-augmented", (*LITE, "training.max_epochs=8")),
    "resnet-cross-entropy": (
        "resnet-cross-entropy",
        ("side=160", "training.max_epochs=5", "training.cycle=5"),
    ),
    "resnet-focal": ("resnet-focal", ("side=160", "training.max_epochs=5", "training.cycle=5")),
    "lite0-svm-voting": ("effnet-svm-voting", (*LITE, "training.max_epochs=4", "training.cycle=4")),
    "resnet-voting": ("resnet-voting", ("side=160", "training.max_epochs=2", "training.cycle=2")),
}
"""Run folder: recipe, and what was changed in it."""

SECOND: dict[str, tuple[str, tuple[str, ...]]] = {
    "lite0-augmented-224": (
        "convnext-augmented",
        (
            "model.backbone=tf_efficientnet_lite0",
            "model.frozen=blocks.3.1",
            "quality=robust",
            "training.learning_rate_low=1e-4",
            "training.learning_rate_high=1e-3",
            "training.cycle=4",
            "training.max_epochs=12",
        ),
    ),
    "lite0-ffn-voting": (
        TRIANGLE,
        (
            "folds=5",
            "quality=robust",
            "side=160",
            "training.max_epochs=4",
            "training.cycle=4",
        ),
    ),
    "lite0-ffn-voting-224": (
        TRIANGLE,
        (
            "folds=5",
            "quality=robust",
            "training.max_epochs=5",
            "training.cycle=5",
            *(f"augmentation.{key}={value}" for key, value in MILD.items()),
        ),
    ),
}
"""A second round, set after the first was seen: the first rows know their training films by heart and do no better
for it, so these have ten times the rate and the robust chain; one has 224 pixels and changed films, one trains
all layers and lets five folds vote; the last, set after these two, has both."""

LONG = (
    "quality=robust",
    "training.max_epochs=12",
    "training.keep=best",
    "training.patience=12",
    "training.precision=bfloat16-split-depthwise",
)
MILDER = (
    "augmentation.crop=0.8",
    "augmentation.stretch=0.1",
    "augmentation.rotation=10",
    "augmentation.tone=0.4",
    "augmentation.gain=0.2",
    "augmentation.offset=0.2",
    "augmentation.blur=0.15",
    "augmentation.noise=0.15",
)
LARGER = (*LONG, *MILDER, "model.backbone=tf_efficientnet_lite2")
STUDY: dict[str, tuple[str, tuple[str, ...]]] = {
    "lite0-ffn-balanced": ("lite0-ffn", LONG),
    "lite2-ffn-milder-192": ("lite0-ffn", (*LARGER, "training.side=192")),
    "lite2-ffn-milder-192-seed1": ("lite0-ffn", (*LARGER, "training.side=192", "seed=1")),
    "lite2-ffn-milder-224": ("lite0-ffn", (*LARGER, "training.side=224")),
}
"""Rows on the set without NIH: the recipe that ships, with balance, changed films and one cycle, its epoch chosen by the
validation films; then, since its training films were not learnt to the end, with milder changes, more pixels and a larger
network."""

BOTH = ("lite2-ffn-milder-192", "lite2-ffn-milder-224")
TOGETHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lite2-ffn-milder-blend": (BOTH, ()),
    "lite2-ffn-milder-distilled": (
        BOTH,
        ("training.max_epochs=5", "training.learning_rate_high=5e-4"),
    ),
}
"""Rows that are made of other rows: the mean of their weights, or, where settings say how, taught what they say together."""

BASELINES: dict[str, tuple[str, tuple[str, ...]]] = {
    name: (name, ()) for name in ("thumbnail-ridge", "pca-svm", "hog-svm")
}

NAMED_ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    f"named-{recipe}": (recipe, NAMED)
    for recipe in (
        "effnet-svm",
        "convnext-plain",
        "convnext-focal",
        "convnext-augmented",
        "effnet-one-vs-all",
        "effnet-svm-voting",
    )
} | {
    f"named-{backbone.replace('_', '-')}": (
        "convnext-plain",
        (f"model.backbone={backbone}", *NAMED, "side=96"),
    )
    for backbone in ("resnet50", "inception_v3")
}
"""The report's own backbones from random weights, trained only far enough to show that each row works."""


def finish(name: str, folder: Path) -> None:
    out = folder / "rows" / name
    if (out / "predictions-test.csv").exists():
        return
    rows, how = TOGETHER.get(name, ((), ()))
    members = [folder / "rows" / of for of in rows]
    if members and not how:
        # Nothing is trained, so one that was interrupted begins anew.
        blend(members, out, force=True)
        return
    if (out / "versions.json").exists():
        go_on(out, progress=say)
        return
    if members:
        distil(members, out, settings=how)
        return
    recipe, settings = (ROWS | SECOND | STUDY | BASELINES | NAMED_ROWS)[name]
    changes = (f"name={name}", *settings)
    films = films_of("study-like" if name in STUDY else "report-like", folder)
    train(recipe, films, out, settings=changes, progress=say)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for row in arguments.only:
        finish(row, arguments.runs)
        print(f"{row}: finished", flush=True)
