"""Whether planted copies are found, other films left alone, and how long it takes.

    python benchmarks/audit_copies.py [--films 11101] [--planted 200] [--seed 1]

Needs the shared radiographs beside the project. Copies of films drawn by the seed are planted beside all
films and looked for among them: of another size, JPEG at quality 25 to 70, negative, noisy (Gaussian sigma
8 to 30, uniform ±12 to ±60, 1 to 8 % salt and pepper), up to 10 % cut off each side, gamma 0.7 to 1.4 with
gain 0.8 to 1, and all together. Pairs among the films themselves are counted apart: looked at as pictures
(--pictures FILE), they are one exposure or repeat films of one patient, or false. Writes
results/audit_copies.json and .md. Seed 5 and 6 set the thresholds; any other is a test.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.audit.films import find_copies, read_films
from cxrlens.collections.collection import Collection, read_collection
from cxrlens.files import write_text
from cxrlens.radiographs.read import read_radiograph
from record import RESULTS, keep, kept, markdown, stamp

SHARED = Path(__file__).parents[1] / "../shared"
Levels = NDArray[np.float64]

KINDS = (
    "size",
    "jpeg",
    "negative",
    "noise",
    "crop",
    "tone",
    "crop and noise",
    "crop, tone, negative, jpeg",
)


def noisy(film: Levels, random: np.random.Generator) -> Levels:
    kind = random.integers(3)
    if kind == 0:
        return film + random.normal(0, random.uniform(8, 30), film.shape)
    if kind == 1:
        most = random.uniform(12, 60)
        return film + random.uniform(-most, most, film.shape)
    share, lot = random.uniform(0.01, 0.08), random.random(film.shape)
    film = film.copy()
    film[lot < share / 2], film[lot > 1 - share / 2] = 0, 255
    return film


def cut(film: Levels, random: np.random.Generator, most: float) -> Levels:
    top, bottom, left, right = (random.uniform(0, most, 4) * film.shape[0]).round().astype(int)
    return film[top : film.shape[0] - bottom, left : film.shape[1] - right]


def toned(film: Levels, random: np.random.Generator) -> Levels:
    return 255 * (film / 255) ** random.uniform(0.7, 1.4) * random.uniform(0.8, 1)


def write_copy(path: Path, film: NDArray[np.uint8], kind: str, random: np.random.Generator) -> Path:
    levels = film.astype(np.float64)
    suffix, settings = ".png", []
    if kind == "size":
        side = int(random.integers(64, 400))
        levels = cv2.resize(
            levels, (side, int(side * random.uniform(0.9, 1.1))), interpolation=cv2.INTER_AREA
        )
    if "crop" in kind:
        levels = cut(levels, random, 0.10 if kind == "crop" else 0.08)
    if "tone" in kind:
        levels = toned(levels, random)
    if "negative" in kind:
        levels = 255 - levels
    if "noise" in kind:
        levels = noisy(levels, random)
    if "jpeg" in kind:
        suffix, settings = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 70))]
    path = path.with_suffix(suffix)
    cv2.imwrite(str(path), np.clip(levels, 0, 255).astype(np.uint8), settings)
    return path


def sheet(path: Path, pixels: NDArray[np.uint8], pairs: pd.DataFrame) -> None:
    rows = []
    for row in pairs.itertuples():
        both = np.hstack([pixels[int(row.one)], pixels[int(row.other)]])
        both = cv2.copyMakeBorder(both, 14, 0, 0, 4, cv2.BORDER_CONSTANT, value=0)
        cv2.putText(both, f"{row.agreement:.3f}", (2, 11), 0, 0.4, 255, 1)
        rows.append(both)
    rows += [np.zeros_like(rows[0])] * (-len(rows) % 6)
    cv2.imwrite(str(path), np.vstack([np.hstack(rows[k : k + 6]) for k in range(0, len(rows), 6)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=11101)
    parser.add_argument("--planted", type=int, default=200, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pictures", type=Path, help="where to draw the pairs among the films themselves"
    )
    settings = parser.parse_args()
    table = read_collection(SHARED / "data/cxr/collection.csv").films
    if settings.films < len(table):
        table = table.sample(settings.films, random_state=settings.seed)
    table = table[["image"]].reset_index(drop=True)
    load = os.getloadavg()[0]
    began, worked = time.perf_counter(), time.process_time()
    alone = read_films(Collection(table))
    own = find_copies(alone)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    if settings.pictures and len(own):
        sheet(settings.pictures, alone.pixels, own.sort_values("agreement"))

    random = np.random.default_rng(settings.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        planted = []
        for kind in KINDS:
            for place in random.choice(len(table), settings.planted, replace=False):
                film = read_radiograph(table["image"][place])
                path = write_copy(Path(folder) / f"{len(planted)}", film, kind, random)
                planted.append((str(path), int(place), kind))
        images = [*table["image"], *(path for path, _, _ in planted)]
        films = read_films(Collection(pd.DataFrame({"image": images})))
        pairs = find_copies(films)
    found = set(zip(pairs["one"], pairs["other"], strict=True))
    hit = [(place, len(table) + k) in found for k, (_, place, _) in enumerate(planted)]
    for kind in KINDS:
        of = [h for h, (_, _, name) in zip(hit, planted, strict=True) if name == kind]
        rows.append(
            {"kind": kind, "planted": len(of), "found": int(sum(of)), "share": float(np.mean(of))}
        )
    rows.append(
        {"kind": "all", "planted": len(hit), "found": int(sum(hit)), "share": float(np.mean(hit))}
    )
    keep(
        "audit_copies",
        {
            "films": len(table), "seed": settings.seed, "planted": rows, "pairs_among_films": len(own),
            "lowest_agreement_among_films": float(own["agreement"].min()) if len(own) else None,
            "seconds": seconds, "cpu_seconds": cpu, "load_before": load,
        },
    )  # fmt: skip
    content = kept("audit_copies")
    shown = pd.DataFrame([row | {"share": f"{100 * row['share']:.1f} %"} for row in rows])
    text = "\n".join(
        [
            f"Copies planted among {len(table):,} films (seed {settings.seed}).", "", markdown(shown), "",
            f"{len(own)} pairs among the films themselves. Reading and searching {len(table):,} films took "
            f"{cpu:.0f} s of processor time, {seconds:.0f} s by the clock with {load:.1f} other processes "
            f"waiting at its start. {stamp(content['machine'])}.",
        ]
    )  # fmt: skip
    write_text(RESULTS / "audit_copies.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
