"""Choose the settings of the report's chain on labelled damage and write them with their origin.

    python benchmarks/quality_calibrate.py [--cache FOLDER]

Films: the report-like set made from the training sources (see `quality_films`), read and resized
as the chain does. Each detector is calibrated on films that the steps before it have truly repaired
(negatives inverted by their truth). Writes src/cxrlens/quality/thresholds/report.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score, roc_curve

from cxrlens.files import write_text
from cxrlens.quality.detail import QuietResponse, ResponseVariance
from cxrlens.quality.exposure import DarkMean, bright_corner_share
from cxrlens.radiographs import read_radiograph, resize
from quality_films import TRAINING, report_like

OUT = Path(__file__).parents[1] / "src/cxrlens/quality/thresholds/report.json"
SIDE = 224

# "Tile size" read as OpenCV's number of tiles along a side, and as the side of a tile in pixels of
# 224: 2, 8, 28, 56 tiles are tiles of 112, 28, 8, 4 pixels.
VERY_HIGH_TILE = {"number of tiles": (28, 56), "side of a tile": (2,)}
SMALL_TILE = {"number of tiles": (2, 4), "side of a tile": (28, 56)}


def youden(truth: np.ndarray, values: np.ndarray) -> tuple[float, dict[str, float]]:
    """Choose the threshold with the best sensitivity minus false alarms (Youden 1950)."""
    false_alarms, sensitivity, thresholds = roc_curve(truth, values, drop_intermediate=False)
    best = int(np.argmax(sensitivity - false_alarms))
    # Half-way to the next lower value, so that the threshold does not lie on a film.
    below = values[values < thresholds[best]]
    threshold = (thresholds[best] + (below.max() if len(below) else thresholds[best])) / 2
    return float(threshold), {
        "auc": round(float(roc_auc_score(truth, values)), 4),
        "sensitivity": round(float(np.mean(values[truth] > threshold)), 4),
        "false_alarms": round(float(np.mean(values[~truth] > threshold)), 4),
        "positives": int(truth.sum()),
        "negatives": int((~truth).sum()),
    }


def step_of(values: np.ndarray) -> float:
    """Give a score's natural step: half the interquartile range, never 0."""
    low, high = np.percentile(values, [25, 75])
    return float(f"{max((high - low) / 2, 1e-3):.3g}")


def negative(films: list[np.ndarray], truth: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    tried = {}
    for pixels in (8, 12, 16, 22, 28, 36, 44, 56):
        shares = np.array([bright_corner_share(film, pixels / SIDE) for film in films])
        wrong = np.mean((shares > 0.5) != truth)
        tried[pixels] = (wrong, shares)
    best = min(tried, key=lambda pixels: tried[pixels][0])
    shares = tried[best][1]
    figures = {
        "auc": round(float(roc_auc_score(truth, shares)), 4),
        "sensitivity": round(float(np.mean(shares[truth] > 0.5)), 4),
        "false_alarms": round(float(np.mean(shares[~truth] > 0.5)), 4),
        "positives": int(truth.sum()),
        "negatives": int((~truth).sum()),
        "corner_pixels_tried": sorted(tried),
    }
    return {"corner": round(best / SIDE, 5), "share": 0.5, "scale": 0.1}, figures


def exposure(
    films: list[np.ndarray], table: pd.DataFrame, truth: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    means = np.array([film.mean() for film in films])
    _, figures = youden(truth, -means)
    figures["sensitivity"] = round(float(np.mean(means[truth] < 71)), 4)
    figures["false_alarms"] = round(float(np.mean(means[~truth] < 71)), 4)
    alone = table["noise"].isna() & table["blur_sigma_at_224"].isna() & table["padded"].isna()
    dark = list(np.flatnonzero(truth & alone.to_numpy()))
    clean = [resize(cv2.imread(str(path), 0), SIDE) for path in table["clean"].iloc[dark]]
    gains = {}
    for clip in (1.0, 2.0, 4.0, 8.0):
        for tiles in (2, 4, 8):
            step = DarkMean(71, 6, clip, tiles)
            gains[clip, tiles] = np.mean(
                [
                    structural_similarity(step.repair(films[i]), reference)
                    for i, reference in zip(dark, clean, strict=True)
                ]
            )
    best = max(gains, key=lambda key: gains[key])
    figures["ssim_before"] = round(
        float(
            np.mean([structural_similarity(films[i], c) for i, c in zip(dark, clean, strict=True)])
        ),
        4,
    )
    figures["ssim_after"] = round(float(gains[best]), 4)
    return {"mean": 71.0, "scale": 6.0, "clip": best[0], "tiles": best[1]}, figures


def noise(films: list[np.ndarray], truth: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    tried = []
    for sigma in (1.0, 1.5, 2.0, 3.0):
        for gain in (1.0, 4.0, 16.0):
            for clip in (40.0, 200.0):
                for reading, choices in VERY_HIGH_TILE.items():
                    for tiles in choices:
                        step = ResponseVariance(sigma, gain, clip, tiles, 0, 1, 3, 3)
                        values = np.array([step.statistic(film) for film in films])
                        auc = roc_auc_score(truth, values)
                        tried.append((auc, reading, step, values))
    return chosen(tried, truth, sign=1), figures_of(tried, truth, sign=1)


def blur(films: list[np.ndarray], truth: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    tried = []
    for sigma in (0.5, 0.75, 1.0, 1.5):
        for gain in (1.0, 4.0, 16.0):
            for clip in (1.0, 2.0, 4.0):
                for reading, choices in SMALL_TILE.items():
                    for tiles in choices:
                        step = QuietResponse(sigma, gain, clip, tiles, 0, 1, 2, 1.0)
                        values = -np.array([step.statistic(film) for film in films])
                        auc = roc_auc_score(truth, values)
                        tried.append((auc, reading, step, values))
    return chosen(tried, truth, sign=-1), figures_of(tried, truth, sign=-1)


def chosen(tried: list[Any], truth: np.ndarray, sign: int) -> dict[str, Any]:
    """Give the settings of the best combination with its threshold."""
    _, _, step, values = max(tried, key=lambda one: one[0])
    threshold, _ = youden(truth, values)
    settings = dict(vars(step))
    settings["variance"] = float(f"{sign * threshold:.6g}")
    settings["scale"] = step_of(values[~truth])
    return settings


def figures_of(tried: list[Any], truth: np.ndarray, sign: int) -> dict[str, Any]:
    """Say how well the best combination does, and the best of each reading and each sigma."""
    _, reading, _, values = max(tried, key=lambda one: one[0])
    figures: dict[str, Any] = youden(truth, values)[1]
    figures["tile_size_read_as"] = reading
    figures["best_auc_by_reading"] = {}
    figures["best_auc_by_sigma"] = {}
    for auc, how, step, _ in tried:
        for key, name in (("best_auc_by_reading", how), ("best_auc_by_sigma", str(step.sigma))):
            figures[key][name] = round(max(auc, figures[key].get(name, 0.0)), 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "quality-cache")
    parser.add_argument("--limit", type=int, default=1200, help="acquisitions of the set")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    table = report_like(TRAINING, options.cache / "report-like-training", options.limit, seed=11)
    origin = Path(__file__).parents[1] / "../shared/data/cxr"
    table["clean"] = [str(origin / path) for path in table["origin"]]
    table = table.reset_index(drop=True)
    films = [resize(read_radiograph(path), SIDE) for path in table["image"]]
    inverted = table["negative"].to_numpy() == 1
    upright = [255 - film if flag else film for film, flag in zip(films, inverted, strict=True)]
    noisy = table["noise"].notna().to_numpy()
    blurred = table["blur_sigma_at_224"].notna().to_numpy()
    dark = table["underexposed_mean"].notna().to_numpy()
    parts = {
        "negative": negative(films, inverted),
        "underexposed": exposure(upright, table, dark),
        "noisy": noise(upright, noisy),
        # Noise hides blur and is removed before: blur is calibrated on films without it.
        "blurred": blur([f for f, n in zip(upright, noisy, strict=True) if not n], blurred[~noisy]),
    }
    document = {
        "settings": {name: settings for name, (settings, _) in parts.items()},
        "provenance": {
            "script": "benchmarks/quality_calibrate.py",
            "date": datetime.date.today().isoformat(),
            "films": f"report-like set (seed 11) of {len(table)} copies of films from "
            + ", ".join(TRAINING),
            "rule": "negative: the report's majority, corner with the fewest errors; underexposed: "
            "the report's 71; noisy, blurred: best AUC of the tried settings, threshold at the "
            "best sensitivity minus false alarms",
            "measured_there": {name: figures for name, (_, figures) in parts.items()},
        },
    }
    write_text(OUT, json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
