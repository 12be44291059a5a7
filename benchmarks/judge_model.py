"""Judge networks by places and patients that they were not trained on: thresholds, maps, other findings, time.

    python benchmarks/judge_model.py RUN [RUN ...] [--cache DIR] [--threads 2] [--only points maps others speed]
    python benchmarks/judge_model.py --table

Needs the shared radiographs beside the project, and runs of `left_out.py`, `screen.py`, `blends.py` or
`build_model.py`. Every film is asked as a user asks it, file by file. A source without a film in training is left
out, a patient without one is held; nothing is written into the runs. A run that has no trust yet is given one from
its own validation films. A part that was not asked for stays as it was in results/judge_model.json; every look at
a source left out stands in looks.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import LABELS, read_collection
from cxrlens.evaluation.against_normal import each_disease
from cxrlens.evaluation.intervals import drawn_weights, percentiles
from cxrlens.evaluation.measured import OWN, Estimate
from cxrlens.evaluation.tables import estimate
from cxrlens.explanation.heatmap import STRONG
from cxrlens.explanation.score import heat_in, points_at
from cxrlens.export.bundle import export
from cxrlens.files import write_text
from cxrlens.lungs import find_lungs
from cxrlens.prediction.predictor import Prediction, Predictor
from cxrlens.prediction.trust import UNSURE
from cxrlens.quality.chain import ONLOOKER, Chain
from cxrlens.radiographs.grey import resize
from cxrlens.radiographs.read import read_radiograph
from cxrlens.runs import Run
from cxrlens.training.trust import learn_trust
from export_speed import timed
from looks import looked
from pointing_game import inside
from real_films import CXR
from record import RESULTS, keep, kept, machine, markdown, stamp

PARTS = ("points", "maps", "others", "speed")
MOST = 300
"""Films of one source and class that are asked, at most."""
SENSITIVITY = 0.9
TB = "tuberculosis"


def name_of(run: Run) -> str:
    """Name a run by its folder, or that above it where the folder is only called so."""
    path = run.path.resolve()
    return path.parent.name if path.name == "run" else path.name


def parted(run: Run) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add to all films the run's own split, ``held`` where no film of the patient trained it; and name sources left out."""
    films = read_collection(CXR / "collection.csv").films
    own = run.films()
    place = dict(zip(own["image"].map(lambda of: Path(of).name), own["split"], strict=True))
    split = films["image"].map(lambda of: place.get(Path(of).name, "held")).astype(str)
    learnt = films[split == "train"]
    split = split.mask((split == "held") & films["patient"].isin(learnt["patient"]), "met")
    confirmed = (films["source"] != "nih") | (films["label"] != "pneumonia")
    confirmed |= films["rsna_class"].fillna("") == "Lung Opacity"
    films = films.assign(split=split.replace("test", "held"))[confirmed]
    return films, tuple(sorted(set(films["source"]) - set(learnt["source"])))


def some(films: pd.DataFrame) -> pd.DataFrame:
    """Choose at most `MOST` films of each source and class, the same ones always."""
    order = films.sample(frac=1, random_state=0)
    return order.groupby(["source", "label"], dropna=False).head(MOST).reset_index(drop=True)


def asked(predictor: Predictor, films: pd.DataFrame) -> list[Prediction]:
    """Ask about films as a user does."""
    found = []
    for answer in predictor.predict_many(films["image"]):
        assert isinstance(answer, Prediction), answer
        found.append(answer)
    return found


def mean(values: ArrayLike, films: pd.DataFrame) -> dict[str, Any]:
    """Average a figure of films, with its interval by patient."""
    figures = np.asarray(values, np.float64)
    patients, draws = drawn_weights(films, 1000, 0)
    drawn = np.concatenate([w @ figures / w.sum(axis=1) for w in draws])
    interval = percentiles(drawn, 0.95) if patients > 1 else None
    found = Estimate(value=float(figures.mean()), interval=interval)
    return {"films": len(figures)} | found.model_dump(mode="json")


def points(
    predictor: Predictor, films: pd.DataFrame, left_out: tuple[str, ...], name: str
) -> list[dict[str, Any]]:
    """Measure each disease against the normal films of each source left out, at thresholds that find 90 %."""

    def table(part: pd.DataFrame) -> pd.DataFrame:
        shares = pd.DataFrame([of.probabilities for of in asked(predictor, part)])
        return pd.concat(
            [part[["label", "patient", "source"]].reset_index(drop=True), shares], axis=1
        )

    outside = films[films["source"].isin(left_out)]
    if outside.empty:
        return []
    chose = table(some(films[films["split"] == "validation"]))
    found = []
    for disease, judged in each_disease(table(some(outside)), LABELS, chose).items():
        for source, own in judged.within.items():
            if own.auc.value is None:
                continue
            row: dict[str, Any] = {
                "source": source,
                "disease": disease,
                "films": own.films,
                "normals": own.normals,
                "auc": own.auc.model_dump(mode="json"),
            }
            for point in own.points:
                if point.demand == "sensitivity" and point.at_least == SENSITIVITY:
                    row["own" if point.chosen_on == OWN else "validation"] = {
                        rate: getattr(point, rate).model_dump(mode="json")
                        for rate in ("sensitivity", "specificity")
                    }
            found.append(row)
    looked(
        f"{name}, judged",
        left_out,
        "judge_model.py",
        {of["source"]: round(of["auc"]["value"], 4) for of in found},
    )
    return found


def maps(predictor: Predictor, films: pd.DataFrame) -> dict[str, Any]:
    """Measure where the map of tuberculosis lies, on such films of held patients: in drawn lungs, in drawn boxes."""
    held = films[(films["split"] == "held") & (films["label"] == TB)]
    images = {
        str(CXR / name): str(CXR / mask) for name, mask in _rows("lungs.csv", "image", "mask")
    }
    boxes = pd.read_csv(CXR / "boxes.csv").assign(image=lambda of: str(CXR) + "/" + of["image"])
    found: dict[str, Any] = {}
    drawn = some(held[held["image"].map(_key).isin({_key(image) for image in images})])
    if len(drawn):
        masks = {_key(image): mask for image, mask in images.items()}
        heat, strong, peak, even = [], [], [], []
        for film in asked(predictor, drawn):
            values = film.explain("evidence", TB).values.astype(np.float64)
            mask = cv2.imread(masks[_key(film.image)], cv2.IMREAD_GRAYSCALE)
            lungs = cv2.resize(mask, values.shape[::-1], interpolation=cv2.INTER_NEAREST) > 127
            heat.append(heat_in(values, lungs))
            speaks = np.where(values >= STRONG * values.max(), values, 0)
            strong.append(heat_in(speaks, lungs))
            peak.append(points_at(values, lungs))
            even.append(lungs.mean())
        sources = ", ".join(sorted(set(drawn["source"])))
        shares = {"heat": heat, "strong": strong, "peak": peak, "even": even}
        found["lungs"] = {"of": sources} | {name: mean(of, drawn) for name, of in shares.items()}
    boxed = some(held[held["image"].map(_key).isin(set(boxes["image"].map(_key)))])
    if len(boxed):
        hits, anywhere = [], []
        for film in asked(predictor, boxed):
            values = film.explain("evidence", TB).values
            own = boxes.loc[boxes["image"].map(_key) == _key(film.image), ["x0", "y0", "x1", "y1"]]
            down, right = np.unravel_index(int(np.argmax(values)), values.shape)
            height, width = values.shape
            hits.append(inside(own.to_numpy(), (right + 0.5) / width, (down + 0.5) / height))
            assert film.film is not None
            fields = find_lungs(film.film).completed()
            places = np.argwhere(fields) if fields.any() else np.argwhere(np.ones_like(fields))
            across, along = (places[:, ::-1] + 0.5).T / np.array(fields.shape[::-1])[:, None]
            within = np.zeros(len(places), bool)
            for x0, y0, x1, y1 in own.to_numpy():
                within |= (x0 <= across) & (across < x1) & (y0 <= along) & (along < y1)
            anywhere.append(within.mean())
        found |= {
            "boxes": {
                "of": ", ".join(sorted(set(boxed["source"]))),
                "hits": mean(hits, boxed),
                "anywhere in the lungs": mean(anywhere, boxed),
            }
        }
    return found


def _rows(table: str, *columns: str) -> list[tuple[str, ...]]:
    return list(pd.read_csv(CXR / table)[list(columns)].itertuples(index=False, name=None))


def _key(image: str) -> str:
    return "/".join(Path(image).parts[-2:])


def others(predictor: Predictor) -> dict[str, Any]:
    """Count what is said of films with a nodule, which is neither disease, nor normal."""
    films = pd.read_csv(CXR / "others.csv")
    films["image"] = [str(CXR / image) for image in films["image"]]
    found = asked(predictor, films)
    said = {"forced": [of.suggests for of in found], "with unsure": [of.predicted for of in found]}
    return {
        kind: {
            label: mean(np.array(names) == label, films)
            for label in (*LABELS, UNSURE)
            if kind != "forced" or label != UNSURE
        }
        for kind, names in said.items()
    } | {"reasons": pd.Series([of.reason or "–" for of in found]).value_counts().to_dict()}


def speed(run: Run) -> dict[str, Any]:
    """Time the exported network alone, and a 1,024-pixel film's whole way with its parts, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        film = place / "film.png"
        first = cv2.imread(str(CXR / pd.read_csv(CXR / "others.csv")["image"][0]), 0)
        cv2.imwrite(str(film), cv2.resize(first, (1024, 1024), interpolation=cv2.INTER_CUBIC))
        exported = export(run.path, place / "bundle")
        bundle = Predictor.load(exported.path)
        pixels = read_radiograph(film)
        looking = resize(pixels, 224)
        lungs = find_lungs(looking)
        gate = Chain.named(ONLOOKER).gate
        square = bundle.chain.examine(pixels).pixels[None]
        work = {
            "network": lambda: bundle.network.run(square),
            "whole way": lambda: bundle.predict(film),
            "decoding": lambda: read_radiograph(film),
            "chain, with lungs and gate": lambda: bundle.chain.examine(pixels),
            "lungs": lambda: find_lungs(looking),
            "gate": lambda: [step.detect(looking, lungs) for step in gate],
        }
        return {
            "megabytes": round((exported.path / "model.onnx").stat().st_size / 1e6, 2),
            "differs": exported.difference,
            "threads": int(os.environ["OMP_NUM_THREADS"]),
            "load": round(os.getloadavg()[0], 1),
            "ms": {part: timed(doing, 40) for part, doing in work.items()},
        }


def judged(run: Run, wanted: list[str], cache: Path | None) -> dict[str, Any]:
    """Measure the parts of one run that are wanted."""
    films, left_out = parted(run)
    found: dict[str, Any] = {
        "recipe": run.recipe.name,
        "digest": run.digest,
        "left_out": left_out,
        "machine": machine() | {"shared": True},
    }
    predictor = Predictor.of(run)
    if {"points", "others"} & set(wanted) and predictor.trust.numbers is None:
        own = films[films["split"].isin(["train", "validation"])].reset_index(drop=True)
        cached = cache_films(own["image"].tolist(), predictor.chain, cache)
        predictor.trust = learn_trust(predictor, own, cached)
    if "points" in wanted:
        found["points"] = points(predictor, films, left_out, name_of(run))
    if "maps" in wanted and "map" in predictor.network.gives:
        found["maps"] = maps(predictor, films)
    if "others" in wanted:
        found["others"] = others(predictor)
    if "speed" in wanted:
        found["speed"] = speed(run)
    return found


def told(of: dict[str, Any] | None) -> str:
    """Write an estimate for people."""
    if of is None:
        return "–"
    known = Estimate.model_validate({key: of[key] for key in ("value", "interval")})
    return estimate(known.value, known.interval)


def page(content: dict[str, Any]) -> str:
    """Put all runs into tables."""
    at, where, nodules, times = [], [], [], []
    for name, run in content["runs"].items():
        for of in run.get("points", ()):
            what = "confirmed opacity" if of["source"] == "nih" else of["disease"]
            row = {"run": name, "left out": of["source"], "what": what}
            row |= {"diseased + normal": f"{of['films']} + {of['normals']}", "AUC": told(of["auc"])}
            row["own threshold: specificity"] = told(of["own"]["specificity"])
            for rate in ("sensitivity", "specificity"):
                row[f"validation films' threshold: {rate}"] = told(
                    of.get("validation", {}).get(rate)
                )
            at.append(row)
        lungs, boxes = (run.get("maps", {}).get(part) for part in ("lungs", "boxes"))
        if lungs or boxes:
            row = {"run": name}
            for part, of, own, even in (
                ("lungs", lungs, "heat", "even"),
                ("boxes", boxes, "hits", "anywhere in the lungs"),
            ):
                row[f"films, {part}"] = f"{of[own]['films']} of {of['of']}" if of else "–"
                row[f"in {part}"] = told(of and of[own])
                if part == "lungs":
                    row["in lungs, strong parts"] = told(of and of.get("strong"))
                    row["strongest place in lungs"] = told(of and of.get("peak"))
                row[f"by chance, {part}"] = told(of and of[even])
            where.append(row)
        for kind in ("forced", "with unsure") if "others" in run else ():
            row = {"run": name, "answers": kind, "films": run["others"][kind]["normal"]["films"]}
            nodules.append(row | {label: told(of) for label, of in run["others"][kind].items()})
        if "speed" in run:
            of = run["speed"]
            row = {
                "run": name,
                "graph, MB": of["megabytes"],
                "threads": of["threads"],
                "load": of["load"],
            }
            row |= {
                part: f"{ms['processor']:.1f}; {ms['min']:.1f}, {ms['median']:.1f} ({ms['p5']:.1f}–{ms['p95']:.1f})"
                for part, ms in of["ms"].items()
            }
            times.append(row)
    sections = [
        (
            "Sources left out",
            f"At the threshold that finds at least {SENSITIVITY:.0%}: of the source's own ROC curve, which flatters, and of "
            f"the run's validation films. At most {MOST} films of a source and class.",
            at,
        ),
        (
            "Where it looks",
            "Films of tuberculosis of patients not trained on. Share of the map's heat inside drawn lungs, of all of it and of "
            f"places with at least {STRONG:.0%} of the strongest, and how often the strongest lies there, beside the lungs' share of the film; how often its strongest place lies in a radiologist's box, beside any place in the lungs.",
            where,
        ),
        (
            "Nodules, which are neither disease nor normal",
            "Share of the answers, where one is forced and where it may be unsure.",
            nodules,
        ),
        (
            "Milliseconds a film",
            "Of a 1,024-pixel PNG by the exported network: processor time of all threads; by the clock the least, the median (5 "
            "to 95 %). Lungs and gate are parts of the chain. The load is all programs' on the machine.",
            times,
        ),
    ]
    parts = [
        f"Written by `benchmarks/judge_model.py` on {stamp(content['machine'])}, shared with other work. Intervals: 95 %, by patient."
    ]
    for heading, about, rows in sections:
        if rows:
            parts += [f"## {heading}", about, markdown(pd.DataFrame(rows).fillna("–"))]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Judge each run and write what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    for path in [] if given.table else given.runs:
        run = Run(path)
        runs = kept("judge_model").get("runs", {})
        found = judged(run, given.only, given.cache)
        before = runs.get(name_of(run), {})
        same = before.get("digest") == found["digest"]
        runs[name_of(run)] = (before if same else {}) | found
        keep("judge_model", {"runs": runs})
        write_text(RESULTS / "judge_model.md", page(kept("judge_model")))
    write_text(RESULTS / "judge_model.md", page(kept("judge_model")))
    print((RESULTS / "judge_model.md").read_text())


if __name__ == "__main__":
    main()
