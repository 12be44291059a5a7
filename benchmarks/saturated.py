"""How many films are called saturated: as they are, and with windows that cut off the whites.

    python benchmarks/saturated.py [--films 40] [--seed 1]

Takes so many films of each source and class of the shared radiographs, and all untouched originals. Writes
results/saturated.json and .md. The threshold was set by hand on films of all sources, some of these among
them, so that the figures are kind.
"""

import argparse
from collections import defaultdict

import numpy as np
import pandas as pd

from cxrlens.files import write_text
from cxrlens.quality import Chain
from cxrlens.radiographs import read_radiograph, resize
from quality_films import CXR, RAW
from record import RESULTS, keep, machine, markdown, stamp

WINDOWS = {
    "as it is": (1.0, 0.0),
    "twice as bright": (2.0, 0.0),
    "half as bright again": (1.5, 0.0),
    "half the window": (2.0, -128.0),
    "a third of the window": (3.0, -256.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table = pd.read_csv(CXR / "collection.csv")
    mixed = table.sample(frac=1, random_state=given.seed)
    some = mixed[mixed.groupby(["source", "label"]).cumcount() < given.films]
    films = [(CXR / image, of) for image, of in zip(some["image"], some["source"], strict=True)]
    films += [(RAW / image, "originals") for image in pd.read_csv(RAW / "raw.csv")["image"]]
    look = Chain.named("robust", steps=("negative", "padded", "saturated"))
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for path, source in films:
        film = read_radiograph(path)
        film = resize(film, 512) if max(film.shape) > 512 else film
        for name, (slope, intercept) in WINDOWS.items():
            shown = np.rint(np.clip(film * slope + intercept, 0, 255)).astype(np.uint8)
            found[name][source].append(look.check(shown).findings["saturated"].present)
    rows = [
        {"window": name, **{of: f"{sum(hits)} of {len(hits)}" for of, hits in sources.items()}}
        for name, sources in found.items()
    ]
    keep("saturated", {"films": given.films, "seed": given.seed, "found": rows})
    text = f"{markdown(pd.DataFrame(rows))}\n\nFilms called saturated, {stamp(machine())}.\n"
    write_text(RESULTS / "saturated.md", text)
    print(text)


if __name__ == "__main__":
    main()
