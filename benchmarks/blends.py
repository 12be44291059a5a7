"""Average the weights of trainings that left the same sources out, or teach one network what they say, and ask those.

    python benchmarks/blends.py RUN RUN [RUN ...] -o OUT [--distil [KEY=VALUE ...]] [--cache DIR] [--threads 1]

Needs the shared radiographs beside the project, and runs of `left_out.py` of one seed. OUT is the run folder of the blend, or
of what is distilled, with these changes to the first run's recipe. Members and what came of them stand side by side.
Adds a row to results/blends.{json,md}.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.files import write_text
from cxrlens.quality.chain import Chain
from cxrlens.runs import Run
from cxrlens.training.fit import resume
from cxrlens.training.together import blend, distil
from left_out import auc_with_interval, scores_of, within_sources
from looks import looked
from real_films import CXR
from record import RESULTS, keep, kept, markdown, stamp


def measured(
    members: list[Path], out: Path, settings: list[str] | None, cache: Path | None
) -> list[dict[str, Any]]:
    """Blend or distil, and ask members and what came of them."""
    runs = [Run(member) for member in members]
    if settings is None:
        kind = "blend"
        runs.append(Run(out) if out.exists() else blend(members, out, cache=cache))
    else:
        kind = "distilled"
        begun = (out / "versions.json").exists()
        taught = resume(out, cache=cache) if begun else None
        runs.append(taught or distil(members, out, settings=settings, cache=cache))
    recipe = runs[0].recipe
    films = read_collection(CXR / "collection.csv").films
    own = runs[0].films()
    left_out = tuple(sorted(set(films["source"]) - set(own.loc[own["split"] == "train", "source"])))
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    cached = cache_films(films["image"].tolist(), chain, cache)
    chosen = np.asarray(films["source"].isin(left_out), np.bool_)
    of_chosen = films[chosen].reset_index(drop=True)
    found = []
    for run, name in zip(runs, [*(of.path.name for of in runs[:-1]), kind], strict=True):
        within = within_sources(of_chosen, scores_of(run, cached, chosen), left_out)
        seen = {of["source"]: of["auc"] for of in within}
        of_all = " + ".join(of.path.name for of in runs[:-1])
        if name == kind:
            looked(f"{kind} of {of_all}", left_out, "blends.py", seen)
        found += [{"blend": f"{kind} of {of_all}", "network": name} | of for of in within]
        print(name, seen, flush=True)
    return found


def page(content: dict[str, Any]) -> str:
    """Put it into a table."""
    rows = [
        {
            "left out, asked": of["source"],
            "what": of["disease"],
            "network": of["network"],
            "AUC (95 %)": auc_with_interval(of),
            "diseased + normal": f"{of['diseased']} + {of['normal']}",
        }
        for of in content["rows"]
    ]
    return (
        f"Written by `benchmarks/blends.py` on {stamp(content['machine'])}. Each blend is of the networks above it, and each "
        "distilled network was taught what those say together.\n\n"
        f"{markdown(pd.DataFrame(rows))}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--distil", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measured(arguments.runs, arguments.out, arguments.distil, arguments.cache)
    others = [of for of in kept("blends").get("rows", []) if of["blend"] != rows[0]["blend"]]
    keep("blends", {"rows": others + rows})
    write_text(RESULTS / "blends.md", page(kept("blends")))
