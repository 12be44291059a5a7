"""Score every explaining method on films with lesions' boxes and on drawn films: the table decides the default.

    python benchmarks/explanations.py --run MODEL --work DIR [--films 100] [--phantoms 100] [--followed 100]
        [--quick 100] [--dear 100] [--random 5] [--captum 5] [--samples 200]

Films are those of the shared set with radiologists' boxes that MODEL did not train on, half of each disease where
there are; phantoms bring the boxes of what was drawn. Each is asked about its own label, in the network's own
geometry. Told are the heat in lungs and in boxes, pointing, IoU, deletion and insertion
(`cxrlens.explanation.score`); of the first `--random` films how far a network of random weights gives the same
map (Adebayo et al. 2018; less is better), and how far two seeds of LIME agree; of the first `--captum` how far
captum, an independent library, gives it (correlation). Deletion and insertion ask 22 films for each map, and so are told of
the first `--followed`; LIME and occlusion ask hundreds: they come when the others are done, on the first `--dear`
(the others on the first `--quick`).

A run and one of random weights are exported to DIR once, since a graph answers several times faster than torch; an
exported or installed model has no random weights, and no slopes where it brings its own map. What was scored
stands in DIR/rows.jsonl, and a later call goes on from there. Writes results/explanations.json and .md; run again
with another MODEL it keeps the rows of the other.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from captum import attr as captum
from captum._utils.models.linear_model import SkLearnRidge
from numpy.typing import NDArray

from cxrlens.collections.collection import SIDES, read_boxes, read_collection
from cxrlens.evaluation.intervals import percentiles
from cxrlens.explanation import METHODS, lime, score
from cxrlens.explanation.heatmap import to_film
from cxrlens.explanation.method import Question
from cxrlens.explanation.occlusion import GREY, PATCHES
from cxrlens.export.bundle import export
from cxrlens.files import write_text
from cxrlens.lungs import find_lungs
from cxrlens.models.classifier import FilmClassifier
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.prediction.torch_network import load_classifier
from cxrlens.runs import Run, SavedModel, open_model
from cxrlens.runs.saved import write_weights
from real_films import CXR
from record import RESULTS, keep, kept, machine, markdown, stamp

QUICK, DEAR = ("evidence", "gradcam", "hirescam", "layercam"), ("occlusion", "lime")
SHOWN = {
    "lungs": "heat in lungs",
    "pointing": "pointing game",
    "energy": "energy in boxes",
    "iou": "IoU with boxes",
    "deletion": "deletion (less)",
    "insertion": "insertion (more)",
    "random": "like random weights (less)",
    "seeds": "seeds agree",
    "captum": "as captum",
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
    brings = model.network.run(pixels[None]).map
    asked = model.decision.leaves_for(index) if "slopes" in model.network.gives else []
    found = [model.network.slopes(pixels, *of) for of in asked]
    return Question(
        pixels,
        index,
        label,
        model.probabilities,
        lambda: found,
        None if brings is None else brings[0],
        samples,
    )


def randomised(run: Run, place: Path) -> Run:
    """Copy a run, every layer with weights as they are before a training."""
    shutil.copytree(
        run.path, place, ignore=shutil.ignore_patterns("trust*", "weights*"), dirs_exist_ok=True
    )
    torch.manual_seed(0)
    leaf = load_classifier(run)
    for part in leaf.modules():
        if callable(again := getattr(part, "reset_parameters", None)):
            again()
    weights = {name: value.numpy() for name, value in leaf.state_dict().items()}
    write_weights(place / "weights.safetensors", weights)
    return Run(place)


def exported(run: Run, place: Path) -> Predictor:
    """Load a run that asks its exported graph, but for slopes, which an evidence map's bundle has not."""
    if not place.is_dir():
        export(run.path, place)
    model, graph = Predictor.of(run), Predictor.load(place).network
    model.network.run = graph.run  # type: ignore[method-assign]
    if "slopes" in graph.gives:
        model.network.slopes = graph.slopes  # type: ignore[method-assign]
    return model


def by_captum(leaf: FilmClassifier | None, name: str, ask: Question) -> NDArray[np.float32] | None:
    """Give captum's map of a method that it has, from torch's network or, for occlusion and LIME, the same answers."""
    film = torch.from_numpy(ask.pixels.astype(np.float32))[None]
    cams: dict[str, Callable[..., Any]] = {
        "gradcam": captum.LayerGradCam,
        "hirescam": captum.LayerGradientXActivation,
    }
    if name in cams:
        if leaf is None:
            return None
        # What follows the maps may hold the lungs, which no layer of the network gives: so they pass through one.
        layer = torch.nn.Identity()
        asked = cams[name](lambda films: leaf.scores(layer(leaf.maps(films))), layer)
        found = asked.attribute(film, target=ask.target)[0].sum(0).clamp(min=0)
        return np.asarray(found.detach().numpy(), np.float32)

    def answers(films: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(ask.probabilities(films.numpy().astype(np.uint8))).float()

    side = len(ask.pixels)
    patch = round(side / PATCHES)
    if name == "occlusion":
        slid = captum.Occlusion(answers).attribute(
            film,
            (patch, patch),
            strides=(patch // 2, patch // 2),
            baselines=GREY,
            target=ask.target,
            perturbations_per_eval=8,
        )
        return np.asarray(slid[0].numpy(), np.float32)
    if name == "lime":
        regions = lime.superpixels(ask.pixels)
        sums = np.bincount(regions.ravel(), ask.pixels.ravel())
        cover = np.asarray(sums / np.bincount(regions.ravel()), np.uint8)[regions]
        near = lambda film, masked, mask, **_: float(lime.proximity(mask.numpy() > 0)[0])  # noqa: E731
        torch.manual_seed(0)
        fitted = captum.Lime(answers, SkLearnRidge(alpha=lime.RIDGE), near).attribute(
            film,
            baselines=torch.from_numpy(cover.astype(np.float32))[None],
            target=ask.target,
            feature_mask=torch.from_numpy(regions).long()[None],
            n_samples=CAPTUM_SAMPLES,
            perturbations_per_eval=8,
        )
        return np.asarray(fitted[0].numpy(), np.float32)
    return None


CAPTUM_SAMPLES = 1000
"""Films that captum's LIME asks."""


def scored(
    methods: tuple[str, ...],
    model: Predictor,
    blind: Predictor | None,
    leaf: FilmClassifier | None,
    film: Any,
    boxes: NDArray[np.float64],
    samples: int,
    follow: bool,
    twice: bool,
    compare: bool,
) -> list[dict[str, Any]]:
    """Score some methods on one film."""
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
    common = {"label": film.label, "box": float(box.mean()), "lung": float(lungs.mean())}
    rows = []
    for name in methods:
        side = len(ask.pixels)
        values = METHODS[name].explain(ask).values
        over = to_film(values, (side, side), smooth=len(values) < side)
        row = common | {
            "method": name,
            "lungs": score.heat_in(over, lungs),
            "pointing": float(score.points_at(over, box)),
            "energy": score.heat_in(over, box),
            "iou": score.overlap(over, box),
        }
        if follow:
            followed = score.followed(ask.probabilities, ask.pixels, ask.target, over)
            row |= dict(zip(("deletion", "insertion"), followed, strict=True))
        if unasked:
            row["random"] = score.agreement(values, METHODS[name].explain(unasked).values)
        if twice and name == "lime":
            other = lime.lime(ask.probabilities, ask.pixels, ask.target, samples=samples, seed=1)
            row["seeds"] = score.agreement(values, other.map())
        theirs = by_captum(leaf, name, ask) if compare else None
        if theirs is not None and np.ptp(theirs) > 0:
            row["captum"] = float(np.corrcoef(values.ravel(), theirs.ravel())[0, 1])
        rows.append(row)
    return rows


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


def real(model: SavedModel, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose films with boxes that the model did not train on."""
    boxes = read_boxes(CXR / "boxes.csv").table
    films = read_collection(CXR / "collection.csv").films
    boxed = films[films["image"].isin(boxes["image"]) & (films["label"] != "normal")]
    trained = {image for image, split in model.learnt(boxed["image"]) if split == "train"}
    boxed = boxed[~boxed["image"].isin(trained)].sample(frac=1, random_state=0)
    turn = boxed.groupby("label").cumcount()
    return boxed.loc[turn.sort_values(kind="stable").index].head(most), boxes


def drawn(folder: Path, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw phantoms with lesions, once: a hundred and some."""
    table = folder / "films.csv"
    if not table.is_file():
        write_phantoms(folder, 200, seed=5, side=224)
    films = read_collection(table).films
    return films[films["label"] != "normal"].head(most), read_boxes(folder / "boxes.csv").table


def write(runs: dict[str, Any]) -> None:
    """Write results/explanations.json and .md."""
    keep("explanations", {"runs": runs})
    about = (__doc__ or "").split("\n\n")[2].replace("\n", " ")
    parts = ["# Explanations scored", about]
    for name, run in runs.items():
        for kind in KINDS:
            if not (of := run.get(kind)):
                continue
            rows = []
            for method, figures in of["methods"].items():
                cells = {
                    words: f"{it['value']:.2f} ({it['low']:.2f}–{it['high']:.2f})"
                    for key, words in SHOWN.items()
                    if (it := figures.get(key))
                }
                rows.append({"method": method, "films": figures["pointing"]["films"]} | cells)
            shares = ", ".join(f"{count} with {label}" for label, count in of["labels"].items())
            parts += [
                f"## {name}, {kind}",
                f"{shares}. By chance: heat in boxes {of['box']:.2f}, in lungs {of['lung']:.2f}. LIME asks "
                f"{run['samples']} films, captum's {CAPTUM_SAMPLES}. Deletion and insertion of {of['deletion']} films; "
                f"beside random weights: at most {of['random']}, other seeds: {of.get('seeds', 0)}, captum: {of['captum']}.",
                markdown(pd.DataFrame(rows).fillna("–")),
            ]
    write_text(RESULTS / "explanations.md", "\n\n".join([*parts, stamp(machine())]) + "\n")


KINDS = ("films with boxes", "phantoms")


def summed(table: pd.DataFrame) -> dict[str, Any]:
    """Sum the films of a kind up, method by method."""
    films = table.drop_duplicates("film")
    beside = {
        key: int(table.loc[table[key].notna(), "film"].nunique()) if key in table else 0
        for key in ("random", "seeds", "captum", "deletion")
    }
    return beside | {
        "films": len(films),
        "labels": {str(name): int(count) for name, count in films["label"].value_counts().items()},
        "box": float(films["box"].mean()),
        "lung": float(films["lung"].mean()),
        "methods": {
            str(method): {
                key: told(part[key]) for key in SHOWN if key in part and part[key].notna().any()
            }
            for method, part in table.groupby("method", sort=False)
        },
    }


def main() -> None:
    """Score a run's methods and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="a run folder, a bundle or an installed model")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--phantoms", type=int, default=100)
    parser.add_argument("--followed", type=int, default=100)
    parser.add_argument("--quick", type=int, default=100)
    parser.add_argument("--dear", type=int, default=100)
    parser.add_argument("--random", type=int, default=5)
    parser.add_argument("--captum", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    saved, work = open_model(given.run), given.work
    title, model = f"{saved.recipe.name} as it is installed", Predictor.of(saved)
    blind: Predictor | None = None
    leaf: FilmClassifier | None = None
    if isinstance(saved, Run):
        title, model = saved.recipe.name, exported(saved, work / "bundle")
        if not (work / "blind-run" / "weights.safetensors").is_file():
            randomised(saved, work / "blind-run")
        blind = exported(Run(work / "blind-run"), work / "blind")
        leaf = model.network.leaves[0]  # type: ignore[attr-defined]
    ledger = work / "rows.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    done = {(row["kind"], row["film"], row["method"]) for row in rows}
    found = dict(
        zip(KINDS, (real(saved, given.films), drawn(work / "drawn", given.phantoms)), strict=True)
    )
    for methods, most in ((QUICK, given.quick), (DEAR, given.dear)):
        methods = tuple(name for name in methods if METHODS[name] in model.methods)
        for number in range(most):
            for kind, (films, boxes) in found.items():
                if number >= len(films) or (kind, number, methods[-1]) in done:
                    continue
                film = next(films.iloc[[number]].itertuples())
                of = boxes.loc[boxes["image"] == film.image, list(SIDES)].to_numpy(np.float64)
                twice, compare = number < given.random, number < given.captum
                beside = blind if twice else None
                follow = number < given.followed
                new = scored(methods, model, beside, leaf, film, of, given.samples, follow, twice, compare)  # fmt: skip
                rows += [{"kind": kind, "film": number} | row for row in new]
                write_text(ledger, "".join(json.dumps(row) + "\n" for row in rows))
                print(kind, methods, number + 1, flush=True)
    table = pd.DataFrame(rows)
    sums = {kind: summed(part) for kind, part in table.groupby("kind")}
    others = kept("explanations").get("runs", {})
    write(others | {title: {"samples": given.samples, "digest": saved.digest} | sums})


if __name__ == "__main__":
    main()
