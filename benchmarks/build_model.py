r"""Build the model in the box: train our best recipe on all films, say how well it came out, and export it.

    python benchmarks/build_model.py OUT [--name box] [--recipe evidence-lungs] [--set key=value ...]
        [--also key=value,... ...] [--without SOURCE,...] [--seed 0] [--cache DIR] [--threads 2]

Needs the shared radiographs beside the project. OUT/run is the run and OUT/bundle its bundle; a run that was
interrupted goes on. Each `--also` trains once more with these settings added, and OUT/run is then the mean of all
weights (`cxrlens.training.together`); the trainings stay in OUT/members. Run and bundle hold what was fitted on the
validation films: calibration, thresholds, and the curve of each disease's thresholds (`trust.json`). The model in the box is

    python benchmarks/build_model.py OUT --set augmentation.transplant=0 --also \
        augmentation.transplant=0.2,training.max_epochs=5

A hash of the patient keeps a twelfth of them for validation and another for the test. What
went in (a digest over all films, boxes and masks; seed; recipe) and what came out is written to
results/model/NAME.json: whoever repeats it compares the digest and finds the scores again within their intervals.

    python benchmarks/build_model.py OUT --without-noncommercial --wheel evidence-lungs-free --name free

trains without TBX11K, its boxes and the lung masks whose licence forbids commercial use, and makes models/evidence-lungs-free, a
wheel of its own, of the bundle; its TERMS.md names what is left. (It is no licence to sell: other sets allow research
alone or do not say.)

    python benchmarks/build_model.py OUT --card BUNDLE

puts into a bundle's trust card what other scripts measured of it, or of the same trainings without a place
(results/model, blends, lungs_alone, judge_model, trust), and how its scores lie on its validation films.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.readers.published import known_source, youngest
from cxrlens.evaluation.card import Figure, ModelCard, Place, abstained, write_card
from cxrlens.export.bundle import export
from cxrlens.files import file_digest, refuse_filled, write_text
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import TRUST, histogram, read_trust
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs import Run
from cxrlens.runs.bundle import CARD, MANIFEST, manifest_digest
from cxrlens.training.fit import resume, train
from cxrlens.training.together import blend
from cxrlens.training.trust import fit_trust
from left_out import NONCOMMERCIAL, contradicted, drawn, free_masks, scores_of, within_sources
from real_films import CXR
from record import RESULTS, machine

PLACE = RESULTS / "model"
MODELS = Path(__file__).parents[1] / "models"
FILMS = 200
"""Of the test films, on which the bundle's probabilities are held beside the run's."""


def digest_of_films(images: list[str]) -> str:
    """One digest over films and the tables beside them, whatever their order."""
    tables = [str(CXR / name) for name in ("collection.csv", "boxes.csv", "lungs.csv")]
    found = sorted(file_digest(Path(path)) for path in [*images, *tables])
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def wheel(bundle: Path, name: str, left_out: tuple[str, ...], free: bool) -> Path:
    """Make models/NAME of a bundle, beside the model in the box and in its form, with the terms of what is in it."""
    box, place = MODELS / "evidence-lungs", MODELS / name
    refuse_filled(place)
    package = f"cxrlens_model_{name.replace('-', '_')}"
    source = place / "src" / package
    shutil.copytree(bundle, source / name)
    card = ModelCard.model_validate_json((bundle / CARD).read_text("utf-8"))
    hold(source / name, card.model_copy(update={"name": name}))
    renamed = {"cxrlens_model_evidence_lungs": package, "evidence-lungs": name}
    about = (
        "without sets under non-commercial licences" if free else f"without {', '.join(left_out)}"
    )
    for path, to in (
        ("pyproject.toml", "pyproject.toml"),
        ("src/cxrlens_model_evidence_lungs/__init__.py", f"src/{package}/__init__.py"),
    ):
        text = (box / path).read_text("utf-8")
        if path == "pyproject.toml":
            text = re.sub(
                "model in the box( of cxrlens)?", rf"\g<0>, trained {about}", text, count=1
            )
        else:
            text = text.replace("The model in the box", f"The model {name}")
        for old, new in renamed.items():
            text = text.replace(old, new)
        write_text(place / to, text)
    write_text(place / "TERMS.md", terms((box / "TERMS.md").read_text("utf-8"), left_out, free))
    told = f"# {name}\n\nThe model in the box of cxrlens, trained {about}. Research use only: not a medical device, not a diagnosis."
    write_text(
        place / "README.md", f"{told}\n\nIts card is `card.json`, its terms [TERMS.md](TERMS.md).\n"
    )
    return place


ROWS = {
    "kermany": "Kermany",
    "nih": "NIH",
    "qatar": "Rahman",
    "mendeley": "Kiran",
    "tbx11k": "TBX11K",
    "sakha": "Sakha",
    "shenzhen": "Shenzhen",
    "jsrt": "JSRT",
}
"""How the row of a source's films begins in TERMS.md."""


def terms(text: str, left_out: tuple[str, ...], free: bool) -> str:
    """Return the terms of the model in the box for a training without some sources, or without such masks."""
    gone = tuple(f"| {ROWS[source]}" for source in left_out)
    gone += ("| RSNA",) if "nih" in left_out else ()  # boxes on its films
    lines = [line for line in text.splitlines() if not (gone and line.startswith(gone))]
    table = "\n".join(lines[: lines.index("", lines.index("|---|---|"))])
    if not free:
        return "\n".join(lines) + "\n"
    table = table.replace(" Its lung masks: CC BY-NC-SA 4.0 |", " Its lung masks are not used |")
    table = table.replace("CC BY, CC BY-NC-SA |", "CC BY, or authorized for everyone |")
    return (
        f"{table}\n\nNo film, box or mask under a licence that forbids commercial use was used for these weights. That is no "
        "licence to sell them:\nseveral of these sets are for research alone, or do not say. Whoever ships a product judges for "
        "themselves.\nThe code of cxrlens is Apache-2.0; that licence does not reach the weights.\n"
    )


def taught(
    recipe: Recipe, films: pd.DataFrame, place: Path, cache: Path | None, masks: Path
) -> Run:
    """Train a recipe, or go on with it."""
    if (place / "versions.json").exists():
        return resume(place, cache=cache)
    tables = {"boxes": CXR / "boxes.csv", "lungs": masks}
    return train(recipe, Collection(films), place, cache=cache, **tables)


def built(asked: argparse.Namespace) -> None:
    """Train, measure, export."""
    common = (
        f"seed={asked.seed}",
        "training.precision=bfloat16-split-depthwise",
        *asked.settings,
    )
    variants = [common, *((*common, *more.split(",")) for more in asked.also)]
    recipes = [read_recipe(asked.recipe, settings) for settings in variants]
    recipe = recipes[0]
    films = read_collection(CXR / "collection.csv").films
    left_out = tuple(asked.without.split(",")) if asked.without else ()
    masks = CXR / "lungs.csv"
    if asked.without_noncommercial:
        left_out = tuple(dict.fromkeys((*left_out, *NONCOMMERCIAL)))
        masks = free_masks(asked.out / "lungs.csv")
    films = films[~films["source"].isin(left_out) & ~contradicted(films)].reset_index(drop=True)
    at = films["patient"].map(lambda of: drawn(f"box:{of}"))
    split = np.where(at < 1 / 12, "validation", np.where(at < 2 / 12, "test", "train"))
    films = films.assign(split=split)
    run_at = asked.out / "run"
    places = [run_at]
    if asked.also:
        places = [asked.out / "members" / str(number) for number in range(len(recipes))]
    trained = [
        taught(of, films, place, asked.cache, masks)
        for of, place in zip(recipes, places, strict=True)
    ]
    run = trained[0]
    if asked.also:
        run = Run(run_at) if run_at.exists() else blend(places, run_at, cache=asked.cache)
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    cached = cache_films(films["image"].tolist(), chain, asked.cache)
    if not Predictor.load(run.path).trust.curves:  # a run from before they were counted
        fit_trust(run, films, cached)
    chosen = np.asarray(films["split"] == "test", np.bool_)
    of_chosen = films[chosen].reset_index(drop=True)
    within = within_sources(of_chosen, scores_of(run, cached, chosen), ())
    bundle = export(run_at, asked.out / "bundle", force=True)
    onnx = bundle.path / "model.onnx"
    pixels = np.stack([cached.pixels[row] for row in cached.rows[chosen][:FILMS]])
    own, its = (Predictor.load(path).probabilities(pixels) for path in (run_at, bundle.path))
    content: dict[str, Any] = {
        "recipe": recipe.name,
        "settings": list(common),
        "also": asked.also,
        "left_out": left_out,
        "seed": asked.seed,
        "epochs": recipe.training.max_epochs,
        "films": {str(name): int(count) for name, count in films["split"].value_counts().items()},
        "sources": {
            str(name): int(count) for name, count in films["source"].value_counts().items()
        },
        "digest_of_films": digest_of_films(films["image"].tolist()),
        "digest_of_weights": file_digest(run.weights),
        "minutes_of_training": round(
            sum(float(of.history()["seconds"].sum()) for of in trained) / 60, 1
        ),
        "network_megabytes": round(onnx.stat().st_size / 1e6, 2),
        "bundle_differs_by": bundle.difference,
        "bundle_differs_on_films": float(np.abs(own - its).max()),
        "expected_on_patients_not_trained_on": within,
        "machine": machine() | {"threads": torch.get_num_threads(), "shared": True},
    }
    write_text(PLACE / f"{asked.name}.json", json.dumps(content, indent=1) + "\n")
    if asked.wheel:
        print(f"made {wheel(bundle.path, asked.wheel, left_out, asked.without_noncommercial)}")
    for of in within:
        print(f"{of['source']} {of['disease']}: {of['auc']:.3f} ({of['low']}-{of['high']})")


def hold(bundle: Path, card: ModelCard) -> None:
    """Write a card into a bundle, and the digests of what changed there into its manifest."""
    write_card(card, bundle / CARD)
    manifest = json.loads((bundle / MANIFEST).read_text("utf-8"))
    manifest["files"] |= {name: file_digest(bundle / name) for name in (CARD, TRUST)}
    manifest["digest"] = manifest_digest(manifest)
    write_text(bundle / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def places(rows: list[dict[str, Any]], network: str = "") -> list[Place]:
    """Take AUCs within sources as a card has them."""
    return [
        Place(
            place=of["source"],
            disease=of["disease"],
            films=of["diseased"],
            normals=of["normal"],
            auc=of["auc"],
            low=of["low"],
            high=of["high"],
            network=network and network.format(**of),
        )
        for of in rows
    ]


def single(kind: str, known: set[str]) -> list[Place]:
    """Take places that only one training of the recipe was asked without, the first seed, at its last epoch."""
    found = []
    for path in sorted((RESULTS / "left_out").glob(f"{kind}-without-*-seed0.json")):
        row = json.loads(path.read_text("utf-8"))
        there = [of for of in row["epochs"][-1]["within"] if of["left_out"]]
        there = [of for of in there if of["source"] not in known]
        found += places(
            there, f"one training of the recipe, without {' and '.join(row['left_out'])}"
        )
    return found


def figure(name: str, of: dict[str, Any] | float) -> Figure:
    """Take a figure with its interval, if it has one, as a card has it."""
    of = of if isinstance(of, dict) else {"value": of}
    interval = of.get("interval") or of
    return Figure(name=name, value=of["value"], low=interval.get("low"), high=interval.get("high"))


def tell_free(bundle: Path) -> None:
    """Write what was measured of the training without non-commercial sets into its bundle's card."""
    card = ModelCard.model_validate_json((bundle / CARD).read_text("utf-8"))
    inside = json.loads((PLACE / "free.json").read_text("utf-8"))
    rows = inside["expected_on_patients_not_trained_on"]
    measured = {"inside": places(rows), "outside": single("free", set())}
    hold(bundle, card.model_copy(update=measured))


def tell(bundle: Path, run: Path) -> None:
    """Write what was measured into a bundle's card, and the card's digest into its manifest."""
    results = {
        name: json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in ("blends", "lungs_alone", "judge_model", "model/box", "trust")
    }
    card = ModelCard.model_validate_json((bundle / CARD).read_text("utf-8"))
    blended = [
        of for of in results["blends"]["rows"] if of["network"] == "blend" and of["left_out"]
    ]
    gone = [of for of in results["lungs_alone"]["rows"] if of["part"] == "lungs gone"]
    looked_at = results["judge_model"]["runs"]["shenzhen"]["maps"]
    worst = max(gone, key=lambda of: of["auc"])
    (*_, left) = (of for of in results["trust"]["runs"] if "shenzhen" in of["left_out"])
    there = {name: of for name, of in left["places"].items() if name in left["left_out"]}
    sources = {name for one in card.trained_on for name in one.sources}
    trust = read_trust(bundle, card.digest, card.classes)
    told = np.log(pd.read_csv(run / "predictions-validation.csv")[card.classes].to_numpy())
    scores = histogram(card.classes, trust.scores(told[:, 1:] - told[:, :1]))
    films = Run(run).films()
    ages = youngest(films[films["split"] == "train"], card.classes)
    fit = json.loads((bundle / TRUST).read_text("utf-8"))
    fit |= {"histogram": scores, "youngest_of": ages}
    write_text(bundle / TRUST, json.dumps(fit, indent=1) + "\n")
    now = card.model_copy(
        update={
            "inside": places(results["model/box"]["expected_on_patients_not_trained_on"]),
            "outside": places(blended, "a blend trained alike, without {source}")
            + single("inside", {of["source"] for of in blended}),
            "shortcut": [
                Figure(
                    name=f"AUC at {worst['source']} with the lungs filled ({worst['fill']}; a blend "
                    "trained alike, without it)",
                    value=worst["auc"],
                    low=worst["low"],
                    high=worst["high"],
                )
            ],
            "calibration": [
                figure(f"{words} at {place} (trained without it)", of["calibration"][key])
                for place, of in there.items()
                for key, words in (("ece", "Expected calibration error"), ("skill", "Brier skill"))
            ],
            "abstention": [
                one
                for place, of in there.items()
                for one in abstained(of["abstention"], f" at {place} (trained without it)")
            ],
            "lungs": [
                figure(f"{words} (a blend trained alike, without shenzhen)", looked_at[part][key])
                for part, key, words in (
                    ("lungs", "heat", "Heat in the drawn lungs of shenzhen"),
                    ("boxes", "hits", "Strongest place in a radiologist's box, of tbx11k"),
                )
            ],
            "youngest_of": ages,
            "sources": {name: known_source(name) for name in sorted(sources)},
            "scores": scores,
            "parts": ", ".join(f"{n:,} {of}" for of, n in results["model/box"]["films"].items())
            + "; by a hash of the patient",
        }
    )
    hold(bundle, now)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="box")
    parser.add_argument("--recipe", default="evidence-lungs")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--also", nargs="*", default=[])
    parser.add_argument("--without", default="")
    parser.add_argument("--without-noncommercial", action="store_true")
    parser.add_argument("--wheel", default="", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--card", type=Path, metavar="BUNDLE")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.card and asked.without_noncommercial:
        tell_free(asked.card)
    elif asked.card:
        tell(asked.card, asked.out / "run")
    else:
        built(asked)
