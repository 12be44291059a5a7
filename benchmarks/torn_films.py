"""How many JPEG films that lost bytes are noticed, and how many whole ones are taken for torn.

Usage: python benchmarks/torn_films.py [--films 40] [--seed 1]

Films of ../shared, half of them enlarged, and every fourth original are saved anew in eight ways (qualities,
subsamplings, progressive, restarts). Of each, bytes are lost in the last scan at a random place: a run of
1 to 1024 is set to zero, cut out or made noise, or one bit is flipped. A loss is one that tells if reading
sees it by markers, length or libjpeg's remarks, or libjpeg remarks on it; the others count if they change
more than 2 % of the pixels by more than 2 levels. Whole films are those saved anew, and every JPEG and PNG
of ../shared as it is.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cxrlens.errors import FilmError
from cxrlens.quality import Chain
from cxrlens.radiographs.decoding import remarks_on
from cxrlens.radiographs.read import decode_radiograph, read_radiograph
from record import keep, markdown

SHARED = Path(__file__).parents[1] / "../shared/data"
WAYS: dict[str, dict[str, Any]] = {
    "grey, quality 50": {"quality": 50},
    "grey, quality 75": {"quality": 75},
    "grey, quality 92": {"quality": 92},
    "grey, quality 98, own tables": {"quality": 98, "optimize": True},
    "colour 4:2:0": {"quality": 85, "subsampling": 2, "mode": "RGB"},
    "colour 4:4:4": {"quality": 90, "subsampling": 0, "mode": "RGB"},
    "progressive": {"quality": 85, "progressive": True},
    "restarts": {"quality": 85, "restart_marker_rows": 1},
}
LENGTHS = (1, 4, 16, 64, 256, 1024)


def saved(film: Image.Image, way: str) -> bytes:
    options = dict(WAYS[way])
    file = io.BytesIO()
    film.convert(options.pop("mode", "L")).save(file, "JPEG", **options)
    return file.getvalue()


def lost(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    start, end = data.index(b"\xff\xda") + 14, len(data) - 2
    at = int(rng.integers(start + (end - start) // 20, end - (end - start) // 20))
    length = min(int(rng.choice(LENGTHS)), (end - at) // 2)
    out = bytearray(data)
    if kind == "zeros":
        out[at : at + length] = bytes(length)
    elif kind == "cut":
        del out[at : at + length]
    elif kind == "noise":
        out[at : at + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    else:
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    seam = Chain.named("robust", steps=("torn",)).native[0]
    library = sorted((SHARED / "cxr/images").rglob("*.jp*g"))
    originals = sorted((SHARED / "raw/images").iterdir())
    chosen = [library[at] for at in rng.permutation(len(library))[: given.films]]
    tells: Counter[tuple[str, str]] = Counter()
    others: Counter[tuple[str, str]] = Counter()
    whole: Counter[str] = Counter()
    for number, path in enumerate([*chosen, *originals[::4]]):
        film = Image.open(path).convert("L")
        if number < given.films and number % 2:
            film = film.resize((int(rng.choice([512, 800])),) * 2, Image.Resampling.BICUBIC)
        for way in WAYS:
            data = saved(film, way)
            expected = decode_radiograph(data, "film").astype(int)
            whole["saved anew"] += 1
            whole["saved anew, flagged"] += seam.detect(expected.astype(np.uint8)).present
            for kind in ("zeros", "cut", "noise", "flip"):
                damaged = lost(data, kind, rng)
                if damaged == data:
                    continue
                try:
                    seen = decode_radiograph(damaged, "film")
                except FilmError:
                    tells[way, "all"] += 1
                    tells[way, "noticed"] += 1
                    continue
                if remarks_on("JPEG", damaged):
                    tells[way, "all"] += 1
                    tells[way, "noticed"] += seam.detect(seen).present
                elif (np.abs(seen - expected) > 2).mean() > 0.02:
                    others[way, "all"] += 1
                    others[way, "noticed"] += seam.detect(seen).present
    for path in [*library, *originals]:
        whole["as they are"] += 1
        try:
            whole["as they are, flagged"] += seam.detect(read_radiograph(path)).present
        except FilmError:
            whole["as they are, flagged"] += 1
    rows = []
    for way in [*WAYS, "all"]:
        row: dict[str, object] = {"way": way}
        for name, counts in (("that tell", tells), ("others", others)):
            ways = WAYS if way == "all" else [way]
            every = sum(counts[one, "all"] for one in ways)
            noticed = sum(counts[one, "noticed"] for one in ways)
            share = f"{100 * noticed / every:.1f} %" if every else "–"
            row[name] = f"{share} of {every}"
        rows.append(row)
    print(markdown(pd.DataFrame(rows)))
    print(dict(whole))
    keep("torn_films", {"losses": rows, "whole": dict(whole), "seed": given.seed})


if __name__ == "__main__":
    main()
