"""LIME against the `lime` package: the same segments, the same model, the same batches.

    python benchmarks/lime_speed.py [--run runs/lite0-ffn-cxr] [--films 4]

For each film: the package's 10,000 masks are the reference; a further 4,000 of its masks, fitted by its
own code at growing numbers, say when it first comes to a rank correlation of 0.95 with the reference,
and ours is run at growing numbers, each run with a seed of its own. Both must stay above 0.95 at all
larger numbers tried. Time is processor time of one thread. Writes results/lime_speed.json, .md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from lime.lime_image import LimeImageExplainer
from scipy.stats import spearmanr
from sklearn.metrics import pairwise_distances

from cxrlens.explanation.lime import REGIONS, lime, proximity, superpixels
from cxrlens.files import write_text
from cxrlens.phantoms import draw_phantom
from cxrlens.prediction import Predictor, load
from record import RESULTS, keep, machine, markdown, stamp

BATCH = 32
REFERENCE, THEIRS = 10_000, (200, 300, 400, 600, 800, 1000, 1500, 2000, 2500, 3000, 3500, 4000)
OURS = (100, 150, 200, 300, 400, 600, 800, 1000, 1500)
EQUAL = 1000
GOAL = 0.95
HELD_OUT = 2000


class Timed:
    """A model that counts its own processor time."""

    def __init__(self, model: Callable[[np.ndarray], np.ndarray]) -> None:
        self.model, self.seconds, self.films = model, 0.0, 0

    def __call__(self, films: np.ndarray) -> np.ndarray:
        """Answer as the model does."""
        start = time.process_time()
        answers = self.model(films)
        self.seconds += time.process_time() - start
        self.films += len(films)
        return answers


def pick(predictor: Predictor, run: Path, count: int) -> list[tuple[str, np.ndarray, int]]:
    """Choose films of the run's test split by class in turn; drawn ones where there are none."""
    table = pd.read_csv(run / "predictions-test.csv").groupby("label").head(400)
    table = table.groupby("label").sample(-(-count // 3), random_state=4)
    table = table.assign(turn=table.groupby("label").cumcount()).sort_values(["turn", "label"])
    chosen = []
    for image, label in zip(table["image"][:count], table["label"][:count], strict=True):
        path = run / image
        film = path if path.exists() else draw_phantom(len(chosen), label).film
        seen = predictor.predict(film)
        target = predictor.classes.index(seen.predicted)
        chosen.append(
            (f"{label} ({'real' if path.exists() else 'drawn'})", seen.examination.pixels, target)
        )
    return chosen


def ask_lime(film: np.ndarray, segments: np.ndarray, model: Timed, count: int, seed: int) -> tuple:
    """Let the package draw and ask masks; its processor time outside the model, a mask."""
    explainer = LimeImageExplainer(random_state=seed)
    grey = np.repeat(film[..., None], 3, axis=2)
    hidden = grey.copy()
    before, start = model.seconds, time.process_time()
    for region in np.unique(segments):
        hidden[segments == region] = grey[segments == region].mean(axis=0)
    data, answers = explainer.data_labels(
        grey, hidden, segments, lambda films: model(films[..., 0]), count, batch_size=BATCH
    )
    outside = time.process_time() - start - (model.seconds - before)
    return data, answers, outside / count


def fit_lime(data: np.ndarray, answers: np.ndarray, target: int) -> tuple[np.ndarray, float, float]:
    """Fit with the package: weights, R², processor time."""
    start = time.process_time()
    distances = pairwise_distances(data, data[:1], metric="cosine").ravel()
    explainer = LimeImageExplainer()
    intercept, pairs, score, _ = explainer.base.explain_instance_with_data(
        data, answers, distances, target, data.shape[1], feature_selection="auto"
    )
    del intercept
    weights = np.array([weight for _, weight in sorted(pairs)])
    return weights, float(score), time.process_time() - start


def rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other)[0])


def held_out(weights: np.ndarray, masks: np.ndarray, answers: np.ndarray) -> float:
    """Weighted R² on masks that nobody fitted, the intercept set best."""
    near = proximity(masks)
    rest = answers - masks @ weights
    missed = near @ (rest - near @ rest / near.sum()) ** 2
    return 1 - float(missed / (near @ (answers - near @ answers / near.sum()) ** 2))


def reached(curve: dict[int, float]) -> int | None:
    """Find the smallest number from which on the goal is kept."""
    first = None
    for count in sorted(curve, reverse=True):
        if curve[count] < GOAL:
            break
        first = count
    return first


def measure(name: str, film: np.ndarray, target: int, probabilities: Callable) -> dict:
    segments = superpixels(film, REGIONS)
    model = Timed(probabilities)
    model(film[None])
    model.seconds, model.films = 0.0, 0
    data, answers, _ = ask_lime(film, segments, model, REFERENCE, 1000)
    reference = fit_lime(data, answers, target)[0]
    fresh = slice(REFERENCE - HELD_OUT, REFERENCE)
    held = (data[fresh].astype(bool), answers[fresh, target])
    data, answers, their_outside = ask_lime(film, segments, model, max(THEIRS), 2000)
    fits = {n: fit_lime(data[:n], answers[:n], target) for n in THEIRS}
    theirs = {n: rank(fit[0], reference) for n, fit in fits.items()}
    ours, agree, our_outside, found = {}, {}, {}, {}
    for count in OURS:
        before, start = model.seconds, time.process_time()
        found[count] = lime(
            model, film, target, samples=count, segments=segments, seed=count, batch=BATCH
        )
        our_outside[count] = time.process_time() - start - (model.seconds - before)
        ours[count] = rank(found[count].weights, reference)
        if count in (300, 600, EQUAL):
            again = lime(
                model, film, target, samples=count, segments=segments, seed=7 + count, batch=BATCH
            )
            agree[count] = rank(found[count].weights, again.weights)
    per_film = model.seconds / model.films
    first_theirs, first_ours = reached(theirs), reached(ours)
    slow = first_theirs or max(THEIRS)
    their_time = slow * (per_film + their_outside) + fits[slow][2]
    our_time = None if first_ours is None else first_ours * per_film + our_outside[first_ours]
    plain = lime(model, film, target, samples=EQUAL, segments=segments, fit="plain", batch=BATCH)
    return {
        "film": name,
        "regions": len(reference),
        "model_ms": 1000 * per_film,
        "outside_theirs_s": EQUAL * their_outside + fits[EQUAL][2],
        "outside_ours_s": our_outside[EQUAL],
        "r2_theirs": fits[EQUAL][1],
        "r2_ours": found[EQUAL].r_squared,
        "r2_ours_plain": plain.r_squared,
        "r2_held_out_theirs": held_out(fits[EQUAL][0], *held),
        "r2_held_out_ours": held_out(found[EQUAL].weights, *held),
        "curve_theirs": theirs,
        "curve_ours": ours,
        "two_seeds": agree,
        "samples_theirs": first_theirs,
        "samples_ours": first_ours,
        "seconds_theirs": their_time,
        "seconds_ours": our_time,
    }


def table(rows: list[dict]) -> str:
    def fold(row: dict) -> str:
        if row["seconds_ours"] is None:
            return "not reached"
        least = "" if row["samples_theirs"] else "> "
        return f"{least}{row['seconds_theirs'] / row['seconds_ours']:.1f}"

    frame = pd.DataFrame(
        {
            "film": row["film"],
            "outside the model, s": f"{row['outside_theirs_s']:.2f} / {row['outside_ours_s']:.3f}",
            "ratio": f"{row['outside_theirs_s'] / row['outside_ours_s']:.1f}",
            "R² (its masks)": f"{row['r2_theirs']:.2f} / {row['r2_ours']:.2f}",
            "R² (fresh masks)": f"{row['r2_held_out_theirs']:.2f} / {row['r2_held_out_ours']:.2f}",
            "masks to 0.95": f"{row['samples_theirs'] or '> 4000'} / {row['samples_ours'] or '> 1500'}",
            "time to 0.95, ratio": fold(row),
            "two seeds at 300, 600, 1000": ", ".join(f"{v:.2f}" for v in row["two_seeds"].values()),
        }
        for row in rows
    )
    return (
        f"{markdown(frame)}\n\nPairs are the `lime` package / ours; the first five columns at {EQUAL} masks. "
        f"One thread, batches of {BATCH}, {rows[0]['model_ms']:.1f} ms a film in the model. "
        f"{stamp(machine())}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/lite0-ffn-cxr"))
    parser.add_argument("--films", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor = load(options.run)
    rows = []
    for name, film, target in pick(predictor, options.run, options.films):
        rows.append(measure(name, film, target, predictor.probabilities))
        print({k: v for k, v in rows[-1].items() if "curve" not in k}, flush=True)
        keep("lime_speed", {"run": options.run.name, "films": rows})
        write_text(RESULTS / "lime_speed.md", table(rows))


if __name__ == "__main__":
    main()
