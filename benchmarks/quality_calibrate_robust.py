"""Fit the robust chain's regressions and templates and write them with their origin.

    python benchmarks/quality_calibrate_robust.py [--films 1400]

Films: clean ones of the training sources, brought to many sizes, tones, borders and JPEG
qualities, untouched originals of two of these sources and of covid_chestxray, phantoms; each
damaged by several makers (`quality_damage`). Thresholds come from predictions for sources that the
fit did not see (leave one source out). The sources of `quality_films.HELD_OUT` are never read here.
"""

from __future__ import annotations

import argparse
import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import quality_damage as damage
from cxrlens.files import write_text
from cxrlens.phantoms import draw_phantom
from cxrlens.quality.borders import EvenBorders, SharpIslands
from cxrlens.quality.detail import (
    BandRegression,
    GrainRegression,
    band_statistics,
    grain_statistics,
)
from cxrlens.quality.exposure import DarkTone, OddRegression, odd_statistics, tone_statistics
from cxrlens.quality.gate import SIDE, rank_thumbnail
from cxrlens.quality.step import Regression, thresholds
from cxrlens.quality.step import settings as quality_settings
from cxrlens.radiographs import read_radiograph, resize
from quality_films import RAW, TRAINING, clean_films

Film = NDArray[np.uint8]
OUT = Path(__file__).parents[1] / "src/cxrlens/quality/thresholds/robust.json"
SIZES = (224, 224, 300, 400, 500, 700, 1000)
BORDERS = EvenBorders(
    looked=224, level=40, tolerance=14, even=0.97, step=24, stepped=0.4, width=0.012, most=0.6
)
PATCHES = SharpIslands(
    level=6, smallest=0.0007, largest=0.06, solidity=0.88, step=24, surrounded=0.85
)


def base_films(count: int, seed: int) -> list[tuple[str, Film]]:
    """Give clean films of the training sources, originals, phantoms: source and film."""
    table = clean_films(TRAINING, count, seed)
    films = [(str(r.source), read_radiograph(str(r.image))) for r in table.itertuples(index=False)]
    raw = pd.read_csv(RAW / "raw.csv")
    raw = raw[raw["source"].isin([*TRAINING, "covid_chestxray"])]
    # Originals are few: each comes four times, in another tone and damage.
    originals = [(f"raw-{r.source}", read_radiograph(RAW / r.image)) for r in raw.itertuples()]
    films += originals * 4
    labels = ("normal", "pneumonia", "tuberculosis")
    for i in range(count // 14):
        side = (224, 320, 512)[i % 3]
        films.append(("phantom", draw_phantom(seed * 10_000 + i, labels[i % 3], side).film))
    return films


def variants(films: list[tuple[str, Film]], seed: int) -> list[tuple[dict[str, Any], Film]]:
    """Damage every film in several ways; give the truth and the film as stored."""
    made = []
    for number, (source, film) in enumerate(films):
        rng = np.random.default_rng([seed, number])
        raw = source.startswith("raw")
        base = film if raw else damage.sized(film, int(rng.choice(SIZES)), rng)
        if raw and rng.random() < 0.5:
            base = damage.sized(base, int(rng.integers(300, 900)), rng)
        for kind in ("clean", "noisy", "noisy", "blurred", "blurred", "underexposed"):
            x = damage.toned(base, rng) if rng.random() < 0.4 else base
            truth = {"source": source, "kind": kind, "by": "", "level": 0.0, "film": number}
            truth["negative"] = bool(rng.random() < 0.25)
            if kind == "underexposed" or (kind != "clean" and rng.random() < 0.05):
                name = str(rng.choice(list(damage.DARKENINGS)))
                level = float(rng.uniform(25, 65))
                # A level above the film's own mean would not darken it.
                if x.mean() > level + 12:
                    x = damage.DARKENINGS[name][0](x, level, rng)
                    truth["dark"] = True
                    if kind == "underexposed":
                        truth |= {"by": name, "level": level}
                elif kind == "underexposed":
                    truth["kind"] = "clean"
            if rng.random() < 0.1:
                x = damage.padded(x, rng)[0]
            if rng.random() < 0.03:
                x = damage.patched(x, rng)[0]
            if kind == "blurred" or (kind == "noisy" and rng.random() < 0.08):
                name = str(rng.choice(list(damage.BLURS)))
                level = float(rng.choice([1.5, rng.uniform(1.5, 4)]))
                x = damage.BLURS[name][0](x, level, rng)
                truth["soft"] = True
                if kind == "blurred":
                    truth |= {"by": name, "level": level}
            if kind == "noisy" or (kind == "blurred" and rng.random() < 0.08):
                name = str(rng.choice(list(damage.NOISES)))
                maker, levels = damage.NOISES[name]
                reach = np.log(levels[0]), np.log(levels[-1])
                level = float(rng.choice([levels[0], np.exp(rng.uniform(*reach))]))
                x = maker(x, level, rng)
                truth["grainy"] = True
                if kind == "noisy":
                    truth |= {"by": name, "level": level}
            if truth["negative"]:
                x = 255 - x
            made.append((truth, damage.stored(x, rng)))
    return made


def fit(
    statistics: NDArray[np.float64],
    truth: NDArray[np.bool_],
    sources: NDArray[np.str_],
    strength: float,
    missed: float,
    alarms: float = 0.003,
) -> tuple[Regression, dict[str, Any]]:
    """Fit a regression; set its threshold by predictions for sources left out of the fit.

    `missed` is the share of damaged films that may be lost, `alarms` of clean ones that may be
    called damaged; where both can be met the threshold is half-way between.
    """
    outside = np.empty(len(truth))
    for source in np.unique(sources):
        out = sources == source
        outside[out] = _values(_weigh(statistics[~out], truth[~out], strength), statistics[out])
    real = ~np.char.startswith(sources, "phantom")
    clean, damaged = outside[~truth & real], outside[truth & real]
    # The worst source counts, not the largest: films will come from yet other places. The few
    # originals of a source are too few for a quantile of their own; they count among all.
    highest = max(
        np.quantile(values, 1 - alarms)
        for source in ("", *np.unique(sources[real & ~np.char.startswith(sources, "raw")]))
        if len(values := outside[~truth & real & np.char.startswith(sources, source)]) >= 40
    )
    lowest = np.quantile(damaged, missed)
    threshold = float((highest + lowest) / 2) if lowest > highest else float(highest)
    model = _weigh(statistics, truth, strength)
    per_source: dict[str, dict[str, float]] = {}
    for source in np.unique(sources):
        for name, these in (("false_alarms", ~truth), ("sensitivity", truth)):
            values = outside[these & (sources == source)]
            if len(values):
                share = round(float(np.mean(values > threshold)), 4)
                per_source.setdefault(str(source), {})[name] = share
    figures = {
        "auc": round(float(roc_auc_score(truth[real], outside[real])), 5),
        "false_alarms": round(float(np.mean(clean > threshold)), 4),
        "sensitivity": round(float(np.mean(damaged > threshold)), 4),
        "clean": len(clean),
        "damaged": len(damaged),
        "by_source_left_out": per_source,
    }
    return Regression(**{**vars(model), "threshold": round(threshold, 4)}), figures


def _weigh(x: NDArray[np.float64], y: NDArray[np.bool_], strength: float) -> Regression:
    centres, spreads = x.mean(0), x.std(0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=5000, class_weight="balanced")
    model.fit((x - centres) / spreads, y)
    return Regression(
        _short(centres), _short(spreads), _short(model.coef_[0]), float(model.intercept_[0]), 0.0
    )


def _values(model: Regression, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([model.logit(row) for row in x])


def _short(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def template(
    squares: list[Film], negative: NDArray[np.bool_], sources: NDArray[np.str_]
) -> tuple[OddRegression, dict[str, Any]]:
    """Fit the weights of statistics that inversion turns round: positives against their mirrors."""
    rows = np.array([odd_statistics(film) for film in squares])
    upright = np.where(negative[:, None], -rows, rows)

    def weights(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        spreads = np.sqrt((rows**2).mean(axis=0)) + 1e-6
        x, y = np.vstack([rows, -rows]) / spreads, np.repeat([0, 1], len(rows))
        model = LogisticRegression(C=0.003, fit_intercept=False, max_iter=3000).fit(x, y)
        return np.asarray(model.coef_[0] / spreads)

    outside = np.empty(len(upright))
    for source in np.unique(sources):
        out = sources == source
        outside[out] = upright[out] @ weights(upright[~out])
    real = ~np.char.startswith(sources, "phantom")
    truth = np.r_[np.zeros(real.sum()), np.ones(real.sum())]
    values = np.r_[outside[real], -outside[real]]
    figures = {
        "auc": round(float(roc_auc_score(truth, values)), 6),
        "errors": round(float(np.mean(outside[real] > 0)), 5),
        "films": int(real.sum()),
        "nearest_percentiles_0_0.1_1": np.percentile(-outside[real], [0, 0.1, 1]).round(2).tolist(),
        "by_source_left_out": {
            str(s): round(float(np.mean(outside[sources == s] > 0)), 5) for s in np.unique(sources)
        },
    }
    return OddRegression(_short(weights(upright)), 0.0), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1400)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    made = variants(base_films(options.films, seed=5), seed=5)
    truth = pd.DataFrame([t for t, _ in made])
    for flag in ("grainy", "soft", "dark"):
        truth[flag] = truth[flag].eq(True)
    sources = truth["source"].to_numpy().astype(str)
    settings: dict[str, Any] = {}
    figures: dict[str, Any] = {}

    statistics = np.array([grain_statistics(film) for _, film in made])
    grainy = truth["grainy"].to_numpy()
    regression, figures["noisy"] = fit(statistics, grainy, sources, 0.1, missed=0.01)
    noise = GrainRegression(regression, 30.0, 3.5, 1.3, 1.5)
    settings["noisy"] = asdict(noise)

    squares = []
    for _, film in made:
        found = noise.detect(film).present
        film = noise.repair(film) if found else film
        film = BORDERS.repair(film) if BORDERS.detect(film).present else film
        film = resize(film, 224)
        squares.append(noise.finish(film) if found else film)
    del made
    settings["padded"], settings["patched"] = asdict(BORDERS), asdict(PATCHES)
    settings["torn"] = quality_settings("robust")["torn"]  # benchmarks/torn_films.py measures it
    # benchmarks/saturated.py measures it
    settings["saturated"] = quality_settings("robust")["saturated"]
    # benchmarks/burnt_in_text.py measures it
    settings["burnt_in_text"] = quality_settings("robust")["burnt_in_text"]

    negative = truth["negative"].to_numpy()
    ranks, figures["negative"] = template(squares, negative, sources)
    settings["negative"] = asdict(ranks)
    squares = [ranks.repair(f) if ranks.detect(f).present else f for f in squares]
    squares = [PATCHES.repair(f) if PATCHES.detect(f).present else f for f in squares]

    dark = truth["dark"].to_numpy()
    tones = np.array([tone_statistics(film) for film in squares])
    regression, figures["underexposed"] = fit(tones, dark, sources, 1.0, missed=0.04, alarms=0.005)
    exposure = DarkTone(regression, 235.0, 130.0, 0.3)
    settings["underexposed"] = asdict(exposure)
    squares = [exposure.repair(f) if exposure.detect(f).present else f for f in squares]

    soft = truth["soft"].to_numpy()
    clear = ~grainy  # on films with noise the fall of detail is the denoiser's
    bands = np.array([band_statistics(film) for film in squares])
    regression, figures["blurred"] = fit(
        bands[clear], soft[clear], sources[clear], 0.3, missed=0.04, alarms=0.007
    )
    blur = BandRegression(regression, 3.0, 0.4)
    settings["blurred"] = asdict(blur)
    squares = [blur.repair(f) if blur.detect(f).present else f for f in squares]

    real = ~np.char.startswith(sources, "phantom") & ~np.char.startswith(sources, "raw")
    thumbnails = np.array([rank_thumbnail(f) for f, r in zip(squares, real, strict=True) if r])
    mirrored = thumbnails.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(thumbnails), -1)
    thumbnails = np.vstack([thumbnails, mirrored])
    mean = thumbnails.mean(0)
    _, _, forms = np.linalg.svd(thumbnails - mean, full_matrices=False)
    components = forms[:24]
    settings["not_a_chest"] = {
        "mean": [round(float(v), 4) for v in mean],
        "components": [[round(float(v), 4) for v in row] for row in components],
        "bounds": [],
    }
    document = {
        "settings": settings,
        "former": thresholds("robust")["former"],
        "provenance": {
            "script": "benchmarks/quality_calibrate_robust.py",
            "date": datetime.date.today().isoformat(),
            "films": f"{truth.film.nunique()} clean films ({', '.join(TRAINING)}, originals of "
            f"these and of covid_chestxray, phantoms) in {len(truth)} variants",
            "rule": "logistic regressions; thresholds by films of sources left out of the fit, "
            "half-way between the clean and the damaged; padded and patched: set by hand on "
            "films of the training sources",
            "measured_there": figures,
        },
    }
    text = json.dumps(document)
    write_text(OUT, text + "\n")
    print("Now run gate_calibrate.py: the gate stands on this chain and is not fitted here.")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
