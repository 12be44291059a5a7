"""How fast the phantom films are drawn, and how far a thumbnail gives their class away.

    python benchmarks/phantom_speed.py

Writes results/phantom.json and results/phantom.md. The goals of the set are 200 films a second of side
224 on two cores, and a macro one-vs-rest AUC of at most 0.75 for a ridge classifier on 16×16 thumbnails
(1,000 films to learn from, 500 of other patients to be tested on).
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from cxrlens.files import write_text
from cxrlens.phantoms import draw_phantom
from cxrlens.phantoms.film import LABELS

RESULTS = Path(__file__).parent / "results"
TRAIN, TEST = 1000, 500
ALPHAS = (0.1, 1.0, 10.0, 100.0)


def thumbnail(task: tuple[int, str]) -> NDArray[np.uint8]:
    seed, label = task
    film = draw_phantom(seed, label).film
    return np.asarray(cv2.resize(film, (16, 16), interpolation=cv2.INTER_AREA), np.uint8)


def draw_some(task: tuple[int, int, int]) -> int:
    first, count, side = task
    for seed in range(first, first + count):
        draw_phantom(seed, LABELS[seed % 3], side)
    return count


def single_thread() -> None:
    cv2.setNumThreads(1)


def rates(side: int, workers: int, films: int, repeats: int) -> list[float]:
    """Films a second, once for each repeat, after a warm-up."""
    context = multiprocessing.get_context("spawn")
    found = []
    with ProcessPoolExecutor(workers, context, single_thread) as pool:
        list(pool.map(draw_some, [(0, 20, side)] * workers))
        for repeat in range(repeats):
            starts = range(1000 * repeat, 1000 * repeat + films, 20)
            begin = time.perf_counter()
            done = sum(pool.map(draw_some, [(start, 20, side) for start in starts]))
            found.append(done / (time.perf_counter() - begin))
    return found


def ridge_auc(draw: int, workers: int) -> float:
    """Best macro AUC over a few penalties on one set of TRAIN + TEST films: an upper bound."""
    truth = np.random.default_rng(draw).integers(3, size=TRAIN + TEST)
    tasks = [(100_000 * (draw + 1) + k, LABELS[t]) for k, t in enumerate(truth)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, single_thread) as pool:
        x = np.stack(list(pool.map(thumbnail, tasks, chunksize=25))).reshape(len(truth), -1) / 255.0
    areas = []
    for alpha in ALPHAS:
        scores = (
            RidgeClassifier(alpha=alpha).fit(x[:TRAIN], truth[:TRAIN]).decision_function(x[TRAIN:])
        )
        areas.append(np.mean([roc_auc_score(truth[TRAIN:] == k, scores[:, k]) for k in range(3)]))
    return float(max(areas))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=300, help="films a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draws", type=int, default=5, help="sets that the ridge is tried on")
    settings = parser.parse_args()
    load = os.getloadavg()[0]
    speeds = [
        {
            "side": side,
            "workers": workers,
            "films_per_second": rates(side, workers, settings.films, settings.repeats),
        }
        for side, workers in ((224, 1), (224, 2), (512, 2))
    ]
    areas = [ridge_auc(draw, 2) for draw in range(settings.draws)]
    figures = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "versions": {"numpy": np.__version__, "opencv": cv2.__version__},
        "speed": speeds,
        "ridge_16x16_macro_auc": areas,
    }
    write_text(RESULTS / "phantom.json", json.dumps(figures, indent=1) + "\n")
    write_text(RESULTS / "phantom.md", table(figures))
    print(table(figures))


def table(figures: dict[str, object]) -> str:
    """Both measurements as Markdown: median and range."""
    rows = ["| what | median | lowest – highest | repeats | goal |", "|---|---|---|---|---|"]
    speeds: list[dict[str, object]] = figures["speed"]  # type: ignore[assignment]
    for speed in speeds:
        found: list[float] = speed["films_per_second"]  # type: ignore[assignment]
        goal = "200" if (speed["side"], speed["workers"]) == (224, 2) else ""
        name = f"films a second, side {speed['side']}, {speed['workers']} process(es)"
        span = f"{min(found):.0f} – {max(found):.0f}"
        rows.append(f"| {name} | {statistics.median(found):.0f} | {span} | {len(found)} | {goal} |")
    areas: list[float] = figures["ridge_16x16_macro_auc"]  # type: ignore[assignment]
    name = f"macro AUC of a ridge on 16×16 thumbnails, {TRAIN} films to learn, {TEST} to test"
    span = f"{min(areas):.3f} – {max(areas):.3f}"
    rows.append(f"| {name} | {statistics.median(areas):.3f} | {span} | {len(areas)} | ≤ 0.75 |")
    where = (
        f"{figures['date']}, {figures['processor']}, {figures['cores']} cores, load before the start "
        f"{figures['load_before']}. The AUC is the best of {len(ALPHAS)} penalties, chosen on the test "
        "films: an upper bound."
    )
    return "\n".join(["# Phantom films: speed and hardness", "", where, "", *rows, ""])


if __name__ == "__main__":
    main()
