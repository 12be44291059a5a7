"""Does the quality chain matter: one small recipe on the report-like set with no chain, the report's and ours.

    python benchmarks/chains_matter.py [--runs runs]

Needs the shared radiographs beside the project. The three runs differ in the chain alone. Each is measured on
the same test acquisitions three times: the copy that pair reduction kept, the clean original, and, where there
is one, the damaged copy. Writes results/chains_matter.{json,md}.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cxrlens.collections.collection import Collection
from cxrlens.evaluation.measured import Interval
from cxrlens.evaluation.tables import estimate
from cxrlens.files import write_text
from cxrlens.main_job import evaluate_on, go_on, train
from cxrlens.quality.chain import CHAINS
from cxrlens.runs import Run
from real_films import CXR, TRIANGLE, films_of, say
from record import RESULTS, keep, kept, markdown, stamp

SETTINGS = (
    "side=160",
    "model.frozen=blocks.3.1",
    "training.max_epochs=4",
    "training.cycle=4",
    "training.batch=32",
)


def finished(chain: str, folder: Path) -> Run:
    out = folder / "chains" / chain
    if (out / "predictions-test.csv").exists():
        return Run(out)
    if (out / "versions.json").exists():
        return go_on(out, progress=say)
    changes = (*SETTINGS, f"quality={chain}", f"name=lite0-ffn-{chain}")
    return train(TRIANGLE, films_of("report-like", folder), out, settings=changes, progress=say)


def test_sets(run: Run, folder: Path) -> dict[str, Collection]:
    """The run's test acquisitions: as kept, as clean originals, as damaged copies."""
    place = folder / "report-like"
    truth = pd.read_csv(place / "truth.csv")
    known = run.collection().films
    stayed = known[known["split"] == "test"].drop(columns="split")
    rows = truth[truth["acquisition"].isin(stayed["acquisition"])]

    def set_of(table: pd.DataFrame, images: list[str]) -> Collection:
        films = table[["label", "patient", "acquisition", "source"]].astype("string")
        return Collection(films.assign(image=images).reset_index(drop=True))

    clean = rows[rows["damaged_copy"] == 0]
    damaged = rows[rows["damaged_copy"] == 1]
    return {
        "kept": Collection(stayed.reset_index(drop=True)),
        "clean": set_of(clean, [str(CXR / origin) for origin in clean["origin"]]),
        "damaged": set_of(damaged, [str(place / image) for image in damaged["image"]]),
    }


def table(content: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    rows = []
    for chain, sets in content.items():
        row: dict[str, str] = {"chain": chain}
        for name, of in sets.items():
            interval = Interval.model_validate(of["interval"]) if of["interval"] else None
            said = estimate(of["macro_f1"], interval)
            row[f"macro F1, {name} ({of['films']} films)"] = said
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    folder = parser.parse_args().runs
    torch.set_num_threads(1)
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for chain in CHAINS:
        run = finished(chain, folder)
        content[chain] = {}
        for name, films in test_sets(run, folder).items():
            out = run.path / f"on-{name}"
            metrics = evaluate_on(run.path, films, out, force=True).metrics
            interval = metrics.interval("macro_f1")
            content[chain][name] = {
                "macro_f1": metrics.macro_f1,
                "interval": interval.model_dump() if interval else None,
                "films": metrics.films,
            }
        print(chain, content[chain], flush=True)
    keep("chains_matter", {"settings": SETTINGS, "chains": content})
    write_text(
        RESULTS / "chains_matter.md",
        "Written by `benchmarks/chains_matter.py` on "
        f"{stamp(kept('chains_matter')['machine'])}: `lite0-ffn` at 160 pixels, first half frozen, 4 epochs, on the report-like set.\n\n"
        + markdown(table(content)),
    )
