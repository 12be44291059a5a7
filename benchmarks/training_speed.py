"""Films a second of training steps in each precision, as ratios, and whether the loss curves agree.

    python benchmarks/training_speed.py [--threads N]

Each backbone from ImageNet weights where they are at hand, all layers trained, 160 pixels, batch 48; precisions
in turn, several times. The curves: the first steps on drawn films from one start, and, for the size of the
noise, plain bfloat16 on another order of the films. Writes results/training_speed.{json,md}.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cxrlens.collections.collection import LABELS
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.phantoms import draw_phantom
from cxrlens.recipes.recipe import Loss, Model
from cxrlens.training.losses import build_loss
from cxrlens.training.precision import DEPTHWISE, apply_precision, measure_precisions
from record import keep_speed, machine, markdown, stamp

SIDE, BATCH, TURNS, STEPS = 160, 48, 3, 30

MODELS = {
    "EfficientNet-Lite0": Model(backbone="tf_efficientnet_lite0"),
    "EfficientNet-Lite0, first half frozen": Model(
        backbone="tf_efficientnet_lite0", frozen="blocks.3.1"
    ),
    "EfficientNetV2-B3": Model(backbone="tf_efficientnetv2_b3.in1k", weights="none"),
    "ConvNeXt-Tiny": Model(backbone="convnext_tiny.fb_in1k", weights="none"),
    "resnet": Model(backbone="resnet", weights="none", width=512),
}

LOSS = build_loss(Loss(), [1, 1, 1])


def speeds(model: FilmClassifier) -> dict[str, list[float]]:
    films = torch.randint(0, 256, (BATCH, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.arange(BATCH) % len(LABELS)
    turns = [measure_precisions(model, films, labels, LOSS, repeats=1) for _ in range(TURNS)]
    return {name: [turn[name] for turn in turns] for name in turns[0]}


def curve(
    model: FilmClassifier, films: Tensor, labels: Tensor, name: str, seed: int
) -> list[float]:
    torch.manual_seed(0)
    trial = copy.deepcopy(model).train()
    apply_precision(name, trial)
    optimiser = torch.optim.Adam(trial.parameters(), lr=1e-3)
    order = np.random.default_rng(seed).permutation(len(films))
    losses = []
    for step in range(STEPS):
        chosen = torch.from_numpy(order[np.arange(step * 16, step * 16 + 16) % len(films)])
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=name != "float32"):
            value = LOSS(trial(films[chosen]).scores, labels[chosen])
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    return losses


def curves() -> dict[str, list[float]]:
    drawn = [draw_phantom(seed, LABELS[seed % 3], side=SIDE).film for seed in range(160)]
    films = torch.from_numpy(np.stack(drawn))
    labels = torch.arange(len(films)) % 3
    torch.manual_seed(0)
    model = build_model(MODELS["EfficientNet-Lite0"], 3)
    found = {
        name: curve(model, films, labels, name, 0) for name in ("float32", "bfloat16", DEPTHWISE)
    }
    return {**found, "bfloat16, another order": curve(model, films, labels, "bfloat16", 1)}


def ratio(of: list[float], to: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(of, to, strict=True))
    return f"{np.median(ratios):.2f}× ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def page(content: dict[str, Any]) -> str:
    rows = []
    for name, found in content["speeds"].items():
        layered = found.get(DEPTHWISE)
        rows.append(
            {
                "network": name,
                "float32, films/s": f"{max(found['float32']):.1f}",
                "bfloat16, films/s": f"{max(found['bfloat16']):.1f}",
                "depthwise gradient split, films/s": f"{max(layered):.1f}" if layered else "–",
                "against plain bfloat16": ratio(layered, found["bfloat16"]) if layered else "–",
            }
        )
    losses = content["curves"]
    last = {name: float(np.mean(values[-10:])) for name, values in losses.items()}
    apart = {
        name: float(np.mean(np.abs(np.subtract(values, losses["bfloat16"]))))
        for name, values in losses.items()
        if name != "bfloat16"
    }
    said = "; ".join(
        f"{name}: {last[name]:.3f}"
        + (f", {apart[name]:.3f} apart from plain bfloat16" if name in apart else "")
        for name in losses
    )
    return (
        f"Written by `benchmarks/training_speed.py` with {content['threads']} threads on "
        f"{stamp(content['machine'])}. {SIDE} pixels, batch {BATCH}, channels-last, all layers trained unless said; "
        "the best of three turns, the ratio of the same turn (median, least–most).\n\n"
        + markdown(pd.DataFrame(rows))
        + f"\n\nLoss curves of EfficientNet-Lite0 over {STEPS} steps of 16 drawn films, mean of the last ten steps, and the "
        f"mean distance step by step: {said}.\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    content: dict[str, Any] = {"threads": arguments.threads, "speeds": {}}
    for name, part in MODELS.items():
        torch.manual_seed(0)
        content["speeds"][name] = speeds(build_model(part, len(LABELS)))
        print(name, content["speeds"][name], flush=True)
    content["curves"] = curves()
    keep_speed("training_speed", content, page({**content, "machine": machine()}))
