"""Fit the regression that tells the noisy or blurred copy (`cxrlens.collections.pairs`).

    python benchmarks/pair_calibrate.py FOLDER [--films N]

FOLDER takes a set of pairs written by make_report_like.py with seed 2. Fitted on its pairs, on damage
of films of the calibration's sources (`quality_films.TRAINING`) and of untouched originals of theirs and
of covid_chestxray, and on drawn phantoms. Films of mendeley and nih are not read.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.optimize import minimize

from cxrlens.collections import pairs
from cxrlens.collections.pairs import measure_copies
from cxrlens.files import write_text
from cxrlens.phantoms import draw_phantom
from cxrlens.radiographs.read import read_radiograph
from pair_damage import DETAIL, pair
from quality_films import RAW, TRAINING, clean_films, report_like

SEED = 2
LONGEST = 1000


def films(count: int) -> Iterator[tuple[str, np.ndarray, int, bool]]:
    """Give kind, film, pairs to make of it and whether its size is to be drawn."""
    for image in clean_films(TRAINING, count, SEED)["image"]:
        yield "packed", read_radiograph(image), 6, True
    raw = pd.read_csv(RAW / "raw.csv")
    for image in raw.loc[raw["source"].isin([*TRAINING, "covid_chestxray"]), "image"]:
        film = read_radiograph(RAW / image)
        scale = min(1.0, LONGEST / max(film.shape))
        film = cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        yield "original", np.asarray(film, np.uint8), 24, False
    rng = np.random.default_rng(SEED)
    for seed in range(30):
        yield (
            "drawn",
            draw_phantom(seed, "normal", side=int(rng.integers(224, 600))).film,
            10,
            False,
        )


def rows(folder: Path, count: int) -> tuple[np.ndarray, list[str]]:
    """Give the statistics of each damaged copy beside its clean one, and its kind."""
    found, kinds = [], []
    truth = report_like(TRAINING, folder, 3000, SEED)
    truth = truth[(truth["copies"] == 2)].sort_values(["acquisition", "damaged_copy"])
    hurt = truth[truth["noise"].notna() | truth["blur_sigma_at_224"].notna()]["acquisition"]
    for _, two in truth[truth["acquisition"].isin(hurt)].groupby("acquisition"):
        clean, damaged = measure_copies([read_radiograph(image) for image in two["image"]])
        found.append(pairs.detail_statistics(damaged, clean))
        kinds.append("report-like")
    rng = np.random.default_rng(SEED)
    for kind, film, number, size in films(count):
        for name in rng.permutation([*DETAIL, *DETAIL])[:number]:
            clean, damaged = measure_copies(list(pair(film, str(name), rng, size)[:2]))
            found.append(pairs.detail_statistics(damaged, clean))
            kinds.append(kind)
    return np.array(found), kinds


def fitted(worse: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit a logistic regression whose weights have the signs that they must have.

    A copy's detectors' logits and its blocks speak against it; detail that it has more of and that
    the other shares speaks for it.
    """
    signs = np.array([-1.0 if name.startswith("shared") else 1.0 for name in pairs.STATISTICS])
    seen = worse * signs

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = seen @ weights
        loss = float(weight @ np.logaddexp(0, -logits)) + 0.5 * float(weights @ weights)
        return loss, -(weight / (1 + np.exp(logits))) @ seen + weights

    start = np.full(len(signs), 0.1)
    return minimize(cost, start, jac=True, bounds=[(0, None)] * len(signs)).x * signs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=130)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    worse, kinds = rows(options.folder, options.films)
    # Each kind of film has equal weight in all.
    weight = 1 / pd.Series(kinds).map(pd.Series(kinds).value_counts()).to_numpy()
    weight *= len(weight) / weight.sum()
    coefficients = fitted(worse, weight)
    right = pd.Series(worse @ coefficients > 0).groupby(kinds).agg(["mean", "size"])
    print(right)
    document = {
        "weights": {
            name: round(float(w), 4) for name, w in zip(pairs.STATISTICS, coefficients, strict=True)
        },
        "provenance": {
            "made_by": "benchmarks/pair_calibrate.py",
            "date": datetime.date.today().isoformat(),
            "sources": [*TRAINING, "covid_chestxray (originals)", "phantoms"],
            "right_where_fitted": {
                kind: {"share": round(float(r["mean"]), 4), "pairs": int(r["size"])}
                for kind, r in right.iterrows()
            },
        },
    }
    target = Path(pairs.__file__).with_name("detail.json")
    write_text(target, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
