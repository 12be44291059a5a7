"""Score every explaining method on films with lesions' boxes and on drawn films: the table decides the default.

    python benchmarks/explanations.py --run RUN [--films 20] [--phantoms 20] [--random 5] [--samples 200]

Films are those of the shared set with radiologists' boxes that RUN did not train on, half of each disease where
there are; phantoms bring the boxes of what was drawn. Each is asked about its own label, in the network's own
geometry. Told are the heat in lungs and in boxes, pointing, IoU, deletion and insertion
(`cxrlens.explanation.score`); of the first `--random` films how far a network of random weights gives the same
map (Adebayo et al. 2018; less is better), and how far two seeds of LIME agree.

Writes results/explanations.json and .md; run again with another RUN it keeps the rows of the other.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cxrlens.collections.collection import SIDES, read_boxes, read_collection
from cxrlens.evaluation.intervals import percentiles
from cxrlens.explanation import METHODS, lime, score
from cxrlens.explanation.heatmap import to_film
from cxrlens.explanation.method import Question
from cxrlens.files import write_text
from cxrlens.lungs import find_lungs
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.runs import Run
from real_films import CXR
from record import RESULTS, keep, machine, markdown, stamp

ASKED = ("evidence", "gradcam", "hirescam", "layercam", "occlusion", "lime")
SHOWN = {
    "lungs": "heat in lungs",
    "pointing": "pointing game",
    "energy": "energy in boxes",
    "iou": "IoU with boxes",
    "deletion": "deletion (less)",
    "insertion": "insertion (more)",
    "random": "like random weights (less)",
    "seeds": "seeds agree",
}


def seen(mask: NDArray[Any], said: Prediction) -> NDArray[np.bool_]:
    """Bring a mask over the film into the network's geometry."""
    top, bottom, left, right = said.examination.cropped
    height, width = mask.shape
    cut = mask[top : height - bottom, left : width - right].astype(np.uint8)
    side = said.examination.pixels.shape
    return np.asarray(cv2.resize(cut, side[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def question(model: Predictor, said: Prediction, label: str, samples: int) -> Question:
    """Ask as `Prediction.explain` does."""
    index = list(model.classes).index(label)
    pixels = said.examination.pixels
    outputs = model.network.run(pixels[None])
    return Question(
        pixels,
        index,
        label,
        lambda films: model.decision.decide(model.network.run(films).scores).probabilities,
        lambda: [model.network.slopes(pixels, *of) for of in model.decision.leaves_for(index)],
        None if outputs.map is None else outputs.map[0],
        samples,
    )


def whole(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bring a map to the film's side as pictures show it."""
    return to_film(values, (side, side), smooth=len(values) < side)


def randomised(model: Predictor) -> Predictor:
    """Give every layer weights as they are before a training."""
    other = copy.copy(model)
    other.network = copy.copy(model.network)
    other.network.leaves = [copy.deepcopy(leaf) for leaf in model.network.leaves]  # type: ignore[attr-defined]
    torch.manual_seed(0)
    for leaf in other.network.leaves:  # type: ignore[attr-defined]
        for part in leaf.modules():
            if callable(again := getattr(part, "reset_parameters", None)):
                again()
        leaf.eval()
    return other


def scored(
    model: Predictor,
    blind: Predictor | None,
    film: Any,
    boxes: NDArray[np.float64],
    samples: int,
) -> list[dict[str, Any]]:
    """Score every method on one film."""
    said = model.predict(film.image)
    assert said.film is not None
    height, width = said.film.shape
    box = np.zeros((height, width), np.bool_)
    for x0, y0, x1, y1 in boxes * (width, height, width, height):
        box[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    box, lungs = (
        seen(box, said),
        seen(find_lungs(said.film).mask((height, width)), said),
    )
    ask = question(model, said, film.label, samples)
    unasked = question(blind, said, film.label, samples) if blind else None
    rows = []
    for name in ASKED:
        if METHODS[name] not in model.methods:
            continue
        side = len(ask.pixels)
        values = METHODS[name].explain(ask).values
        over = whole(values, side)
        hidden, given = score.followed(ask.probabilities, ask.pixels, ask.target, over)
        row = {
            "method": name,
            "lungs": score.heat_in(over, lungs),
            "pointing": float(score.points_at(over, box)),
            "energy": score.heat_in(over, box),
            "iou": score.overlap(over, box),
            "deletion": hidden,
            "insertion": given,
        }
        if unasked:
            row["random"] = score.agreement(values, METHODS[name].explain(unasked).values)
        if unasked and name == "lime":
            other = lime.lime(ask.probabilities, ask.pixels, ask.target, samples=samples, seed=1)
            row["seeds"] = score.agreement(values, other.map())
        rows.append(row)
    share = float(box.mean())
    return [row | {"box": share, "lung": float(lungs.mean())} for row in rows]


def told(values: pd.Series) -> dict[str, float]:
    """Mean over films, with a bootstrap's 95 % interval."""
    known = values.dropna().to_numpy(np.float64)
    random = np.random.default_rng(0)
    span = percentiles(random.choice(known, (2000, len(known))).mean(1), 0.95)
    assert span is not None
    return {
        "value": float(known.mean()),
        "low": span.low,
        "high": span.high,
        "films": len(known),
    }


def real(run: Run, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose films with boxes that the run did not train on."""
    boxes = read_boxes(CXR / "boxes.csv").table
    films = read_collection(CXR / "collection.csv").films
    own = run.films()
    name = lambda image: "/".join(Path(image).parts[-2:])  # noqa: E731
    trained = set(own.loc[own["split"] == "train", "image"].map(name))
    boxed = films[films["image"].isin(boxes["image"]) & ~films["image"].map(name).isin(trained)]
    boxed = boxed[boxed["label"] != "normal"].sample(frac=1, random_state=0)
    turn = boxed.groupby("label").cumcount()
    return boxed.loc[turn.sort_values(kind="stable").index].head(most), boxes


def drawn(folder: Path, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw phantoms with lesions."""
    table = write_phantoms(folder / "drawn", 3 * most, seed=5, side=224, masks=True)
    films = read_collection(table).films
    return films[films["label"] != "normal"].head(most), read_boxes(
        table.parent / "boxes.csv"
    ).table


def write(runs: dict[str, Any]) -> None:
    """Write results/explanations.json and .md; the card's figure is the heat of evidence in lungs."""
    maps = [
        run["films with boxes"]["methods"]["evidence"]["lungs"]
        for run in runs.values()
        if "evidence" in run["films with boxes"]["methods"]
    ]
    card = [
        {"name": f"Heat of the evidence in the lungs ({of['films']} films; a blend trained alike)"}
        | of
        for of in maps[:1]
    ]
    keep("explanations", {"runs": runs, "card": card})
    parts = [
        "# Explanations scored",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
    ]
    for name, run in runs.items():
        for kind in ("films with boxes", "phantoms"):
            if not (of := run.get(kind)):
                continue
            rows = []
            for method, figures in of["methods"].items():
                cells = {
                    words: f"{it['value']:.2f} ({it['low']:.2f}–{it['high']:.2f})"
                    for key, words in SHOWN.items()
                    if (it := figures.get(key))
                }
                rows.append({"method": method} | cells)
            parts += [
                f"## {name}, {of['films']} {kind}",
                f"By chance: heat in boxes {of['box']:.2f}, in lungs {of['lung']:.2f}. LIME asks "
                f"{run['samples']} films.",
                markdown(pd.DataFrame(rows).fillna("–")),
            ]
    write_text(RESULTS / "explanations.md", "\n\n".join([*parts, stamp(machine())]) + "\n")


def summed(table: pd.DataFrame, films: int) -> dict[str, Any]:
    """Sum the films of a kind up, method by method."""
    return {
        "films": films,
        "box": float(table["box"].mean()),
        "lung": float(table["lung"].mean()),
        "methods": {
            str(method): {
                key: told(part[key]) for key in SHOWN if key in part and part[key].notna().any()
            }
            for method, part in table.groupby("method", sort=False)
        },
    }


def kept_runs() -> dict[str, Any]:
    """Read what other runs gave."""
    kept = RESULTS / "explanations.json"
    return json.loads(kept.read_text("utf-8"))["runs"] if kept.is_file() else {}


def main() -> None:
    """Score a run's methods and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--phantoms", type=int, default=20)
    parser.add_argument("--random", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    run = Run(given.run)
    model = Predictor.of(run)
    blind = randomised(model)
    found: dict[str, Any] = {"samples": given.samples, "digest": run.digest}
    with tempfile.TemporaryDirectory() as scratch:
        kinds = {
            "films with boxes": real(run, given.films),
            "phantoms": drawn(Path(scratch), given.phantoms),
        }
        rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for number in range(max(given.films, given.phantoms)):
            for kind, (films, boxes) in kinds.items():
                if number >= len(films):
                    continue
                film = next(films.iloc[[number]].itertuples())
                of = boxes.loc[boxes["image"] == film.image, list(SIDES)].to_numpy(np.float64)
                last = blind if number < given.random else None
                rows[kind] += scored(model, last, film, of, given.samples)
                found[kind] = summed(pd.DataFrame(rows[kind]), number + 1)
                write(kept_runs() | {run.recipe.name: found})
                print(kind, number + 1, flush=True)


if __name__ == "__main__":
    main()
