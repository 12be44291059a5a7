"""Screen an idea: train briefly on few places, ask many that training did not see, and keep one figure.

    python benchmarks/screen.py NAME [--recipe evidence-lite0] [--set key=value ...] [--without SOURCE,...]
        [--epochs 3] [--seed 0] [--runs DIR] [--cache DIR] [--threads 1]
    python benchmarks/screen.py NAME --average ROW ROW [ROW ...] [--runs DIR] [--cache DIR]
    python benchmarks/screen.py NAME --distil ROW ROW [ROW ...] [--set key=value ...] [--runs DIR] [--cache DIR]
    python benchmarks/screen.py --table

With --average the weights of rows of one seed are averaged instead of a training, with --distil one network is
taught what they say together.

Needs the shared radiographs beside the project. One training leaves out every place that holds a disease and
normal films, but those without which nothing is left to learn from, so that each row judges four sources at the
price of one short training. The figure of a row is the mean over the left-out sources of the AUC within each.
A row is one JSON in results/screen/, written when it has ended; each is a look in results/looks.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import Collection, read_collection
from cxrlens.errors import RecipeError
from cxrlens.files import write_text
from cxrlens.models.classifier import FilmClassifier
from cxrlens.prediction.torch_network import load_classifier
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import read_recipe
from cxrlens.runs import Run
from cxrlens.runs.saved import mean_weights
from cxrlens.training.fit import train
from cxrlens.training.together import distil
from left_out import dealt, macro_f1, scores_by, within_sources
from looks import looked
from real_films import CXR
from record import RESULTS, machine, markdown, stamp

PLACE = RESULTS / "screen"
WITHOUT = "shenzhen,sakha,nih,qatar"
SHARED = ("training.precision=bfloat16-split-depthwise",)


def averaged(runs: list[Path]) -> FilmClassifier:
    """Average the weights of trainings that began alike."""
    model = load_classifier(Run(runs[0]))
    mean = mean_weights([Run(run).weights for run in runs])
    model.load_state_dict({name: torch.as_tensor(value) for name, value in mean.items()})
    return model


def measured(asked: argparse.Namespace) -> None:
    """Train one row and write its JSON."""
    left_out = tuple(asked.without.split(","))
    settings = (
        *SHARED,
        f"seed={asked.seed}",
        f"training.max_epochs={asked.epochs}",
        *asked.settings,
    )
    recipe = read_recipe(asked.recipe, settings)
    films = dealt(read_collection(CXR / "collection.csv").films, left_out)
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    cached = cache_films(films["image"].tolist(), chain, asked.cache)
    own = films[~films["source"].isin(left_out)].reset_index(drop=True)
    began = time.perf_counter()
    members = [asked.runs / name for name in asked.average or asked.distil]
    if asked.average:
        model = averaged(members)
    elif asked.distil:
        taught = (f"training.max_epochs={asked.epochs}", *asked.settings)
        out = asked.runs / asked.name
        model = load_classifier(distil(members, out, settings=taught, cache=asked.cache))
    else:
        tables = {}
        if recipe.map:
            given = {"boxes": asked.boxes or CXR / "boxes.csv", "lungs": CXR / "lungs.csv"}
            tables = {name: path for name, path in given.items() if getattr(recipe.map, name)}
        run = train(
            recipe,
            Collection(own),
            asked.runs / asked.name,
            cache=asked.cache,
            predicted=("validation",),
            **tables,
        )
        model = load_classifier(run)
    seconds = time.perf_counter() - began
    # The whole held fifth of the sources trained on is asked by `left_out.py`; here a fifth of it is enough.
    outside = films["source"].isin(left_out)
    chosen = np.asarray(outside | (films["split"] == "validation"), np.bool_)
    of_asked = films[chosen].reset_index(drop=True)
    scores = scores_by(model, cached, chosen)
    within = within_sources(of_asked, scores, left_out)
    seen = {of["source"]: of["auc"] for of in within if of["left_out"]}
    inside = {of["source"]: of["auc"] for of in within if not of["left_out"]}
    content: dict[str, Any] = {
        "name": asked.name,
        "about": asked.about,
        "recipe": asked.recipe,
        "settings": list(asked.settings)
        + [f"weights of {' + '.join(asked.average)}"] * bool(asked.average)
        + [f"distilled from {' + '.join(asked.distil)}"] * bool(asked.distil),
        "left_out": left_out,
        "seed": asked.seed,
        "epochs": asked.epochs,
        "trained_on": int((own["split"] == "train").sum()),
        "seconds": round(seconds),
        "mean": round(float(np.mean(list(seen.values()))), 4),
        "outside": seen,
        "inside": inside,
        "inside_macro_f1": macro_f1(of_asked, scores, left_out),
        "within": within,
        "machine": machine() | {"threads": torch.get_num_threads(), "shared": True},
    }
    write_text(PLACE / f"{asked.name}.json", json.dumps(content, indent=1) + "\n")
    looked(asked.name, left_out, "screening", seen)
    print(time.strftime("%H:%M"), asked.name, f"{content['mean']:.4f}", seen, inside, flush=True)


def nested(contents: list[dict[str, Any]]) -> pd.DataFrame:
    """Choose the row for each source by the others, among rows that left out what most did."""
    usual = [of for of in contents if of["left_out"] == WITHOUT.split(",")]
    rows = []
    for source in WITHOUT.split(","):

        def by_others(of: dict[str, Any], source: str = source) -> float:
            return float(np.mean([auc for name, auc in of["outside"].items() if name != source]))

        chosen = max(usual, key=by_others)
        best = max(usual, key=lambda of: of["outside"][source])
        rows.append(
            {
                "source": source,
                "row chosen by the others": chosen["name"],
                "AUC": f"{chosen['outside'][source]:.3f}",
                "best row": f"{best['name']} {best['outside'][source]:.3f}",
            }
        )
    return pd.DataFrame(rows)


def is_history(row: dict[str, Any]) -> bool:
    """Tell whether no recipe takes the settings of a row any more."""
    try:
        read_recipe(row["recipe"], [one for one in row["settings"] if "=" in one])
    except RecipeError:
        return True
    return False


def table() -> None:
    """Write all rows as one table, the best first within what they left out."""
    rows = []
    contents = [json.loads(path.read_text()) for path in sorted(PLACE.glob("*.json"))]
    for of in sorted(contents, key=lambda of: (of["left_out"], -of["mean"])):
        rows.append(
            {
                "left out": ", ".join(of["left_out"]),
                "row": of["name"],
                "what": (of["about"] or " ".join([of["recipe"], *of["settings"]]))
                + " †" * is_history(of),
                "seed": of["seed"],
                "epochs": of["epochs"],
                "minutes": f"{of['seconds'] / 60:.1f}",
                "mean": f"{of['mean']:.3f}",
                "each": ", ".join(f"{source} {auc:.3f}" for source, auc in of["outside"].items()),
            }
        )
    if rows:
        write_text(
            RESULTS / "screen.md",
            f"Written by `benchmarks/screen.py` on {stamp(contents[0]['machine'])}, one thread, shared with other work. "
            "AUC of tuberculosis (nih: of opacities that radiologists confirmed) against the normal films of the same "
            "source, at sources that training did not see. Every row is a look at them (`looks.md`), and the best of "
            "many rows is too good by what it was chosen for. †: history, whose code is gone.\n\n"
            f"{markdown(pd.DataFrame(rows))}\n\n"
            "Nested: the row is chosen by the mean of the other left-out sources, and read at the source itself.\n\n"
            f"{markdown(nested(contents))}\n",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--about", default="")
    parser.add_argument("--recipe", default="evidence-lite0")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    together = parser.add_mutually_exclusive_group()
    together.add_argument("--average", nargs="*", default=[])
    together.add_argument("--distil", nargs="*", default=[])
    parser.add_argument("--without", default=WITHOUT)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/screen"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.name and not asked.table:
        measured(asked)
    table()
