"""Does the evidence map point at the lesion: trained on drawn films with their boxes, asked on other drawn films.

    python benchmarks/pointing_game.py [--films 600] [--epochs 8] [--run DIR]

The pointing game (Zhang 2018): the strongest place of a film's map lies inside a box round a lesion of its
disease, or not. Beside the model's own map, Grad-CAM of the same model, and what a point anywhere in the lungs
would hit. Writes results/pointing_game.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cxrlens.collections.collection import read_boxes, read_collection
from cxrlens.main_job import go_on, train
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction import load
from cxrlens.prediction.calibration import wilson
from cxrlens.runs import Run
from real_films import say
from record import keep

SIDE, ASKED = 160, 200


def inside(boxes: np.ndarray, right: float, down: float) -> bool:
    x0, y0, x1, y1 = boxes.T
    return bool(((x0 <= right) & (right < x1) & (y0 <= down) & (down < y1)).any())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--run", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        films = write_phantoms(place / "films", asked.films, seed=0, side=SIDE, masks=True)
        others = write_phantoms(place / "others", ASKED, seed=1, side=SIDE, masks=True)
        out = asked.run or place / "run"
        if (out / "versions.json").exists():
            run = go_on(out, cache=place / "cache", progress=say)
        else:
            run = train(
                "evidence-lite0",
                films,
                out,
                settings=(
                    f"side={SIDE}",
                    f"training.max_epochs={asked.epochs}",
                    "training.batch=24",
                ),
                boxes=films.parent / "boxes.csv",
                lungs=films.parent / "lungs.csv",
                cache=place / "cache",
                progress=say,
            )
        predictor = load(Run(out).path)
        drawn = read_boxes(others.parent / "boxes.csv").table
        table = read_collection(others).films
        hits: dict[str, list[bool]] = {"evidence": [], "gradcam": [], "anywhere in the lungs": []}
        rng = np.random.default_rng(0)
        for film in table[table["label"] != "normal"].itertuples():
            boxes = drawn.loc[drawn["image"] == film.image, ["x0", "y0", "x1", "y1"]].to_numpy()
            for method in ("evidence", "gradcam"):
                values = predictor.predict(film.image).explain(method, str(film.label)).values
                down, right = np.unravel_index(int(np.argmax(values)), values.shape)
                height, width = values.shape
                hits[method].append(inside(boxes, (right + 0.5) / width, (down + 0.5) / height))
            mask = others.parent / "masks" / f"{Path(film.image).stem}_lungs.png"
            lungs = np.argwhere(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) > 0)
            down, right = lungs[rng.integers(len(lungs))] + 0.5
            hits["anywhere in the lungs"].append(inside(boxes, right / SIDE, down / SIDE))
        content = {
            "trained_on": asked.films,
            "epochs": asked.epochs,
            "side": SIDE,
            "test": run.metrics()["test"]["macro_f1"],
            "pointing": {
                name: {
                    "share": round(float(np.mean(found)), 4),
                    "interval": [
                        round(end, 4) for end in wilson(sum(found) / len(found), len(found))[1:]
                    ],
                    "films": len(found),
                }
                for name, found in hits.items()
            },
        }
        print(content)
        keep("pointing_game", content)
