"""Draw boxes of tuberculosis into films that have none, where a trained map speaks strongly.

    python benchmarks/pseudo_boxes.py RUN -o boxes.csv [--sure 0.8]

Needs the shared radiographs beside the project. Asked are all films of tuberculosis that no radiologist drew a box into;
those to which the run gives at least `--sure` get a box round each part of its map that reaches half. The table holds
the radiologists' own first, then these, whose finding is ``pseudo``: `screen.py` takes it as `--boxes` for the next
round. Of a source that is left out of that round nothing is used: boxes count in films of training alone, and the
run has to have left the source out, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from cxrlens.collections.collection import SIDES, read_boxes, read_collection
from cxrlens.errors import FilmError
from cxrlens.files import write_text
from cxrlens.pacs.overlay import regions_of
from cxrlens.prediction import load
from cxrlens.prediction.predictor import Predictor
from real_films import CXR

DISEASE, FINDING = "tuberculosis", "pseudo"


def drawn(model: Predictor, paths: list[str], sure: float) -> pd.DataFrame:
    """Boxes (as `read_boxes`) of films of the disease, and none of those that the model is less sure of."""
    rows = []
    for path, prediction in zip(paths, model.predict_many(paths), strict=True):
        if isinstance(prediction, FilmError) or prediction.probabilities[DISEASE] < sure:
            continue
        heat = prediction.explain("evidence", DISEASE)
        height, width = heat.values.shape
        for region in regions_of(heat):
            low, high = region.outline.min(axis=0), region.outline.max(axis=0)
            sides = (low[0] / width, low[1] / height, high[0] / width, high[1] / height)
            rows.append({"image": path, "finding": FINDING, **dict(zip(SIDES, sides, strict=True))})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--sure", type=float, default=0.8)
    asked = parser.parse_args()
    known = read_boxes(CXR / "boxes.csv").table
    films = read_collection(CXR / "collection.csv").films
    chosen = (films["label"] == DISEASE) & ~films["image"].astype(str).isin(known["image"])
    paths = films.loc[chosen, "image"].astype(str).tolist()
    found = drawn(load(asked.run), paths, asked.sure)
    write_text(asked.out, pd.concat([known, found]).to_csv(index=False))
    print(f"{len(found)} boxes in {found['image'].nunique()} of {len(paths)} films without any")
