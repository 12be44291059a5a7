"""Measure the gate on films and pictures that no fit has seen.

    python benchmarks/gate_measure.py [--films 250] [--packages DIR]

Chest films by source (those of the training sources that the fit drew are left out), untouched
originals, films turned and cut, photographs of films, and other pictures (`gate_pictures.py`). Writes
``results/gate.json`` and ``.md``, which names the pictures that passed and the films that did not.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gate_drawings
from cxrlens.lungs import find_lungs
from cxrlens.quality import Chain, Finding
from cxrlens.quality.step import settings
from cxrlens.radiographs import read_radiograph
from gate_calibrate import FILMS, altered_table, chest_table
from gate_pictures import (
    CUTS,
    TURNS,
    cut,
    drawings_to_test,
    photographs_to_test,
    slices_to_test,
    turned,
)
from quality_films import CXR, HELD_OUT, RAW, clean_films
from quality_measure import percent, wilson, write_results
from record import markdown

Film = NDArray[np.uint8]
CHAIN = Chain.named("robust")
SLICES = ("CT", "MR")


def asked(pictures: dict[str, Film]) -> dict[str, tuple[Finding, Finding]]:
    """Give both findings of each picture."""

    def both(film: Film) -> tuple[Finding, Finding]:
        found = CHAIN.check(film).findings
        return found["not_a_chest"], found["photographed"]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(pictures, pool.map(both, pictures.values()), strict=True))


def share(present: list[bool]) -> str:
    return percent(wilson(sum(present), len(present)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--films", type=int, default=250, help="at most, of each source")
    parser.add_argument("--packages", type=Path, help="see gate_pictures.py")
    told = parser.parse_args()
    cv2.setNumThreads(1)
    names: dict[str, list[str]] = {}
    films_table: list[dict[str, Any]] = []

    fitted = set(chest_table(FILMS)["image"]) | set(altered_table(FILMS)["image"])
    sources = sorted(set(pd.read_csv(CXR / "collection.csv")["source"]))
    for source in sources:
        table = clean_films((source,), None)
        if source == "jsrt":
            # The fit drew all that are in the collection; those with a nodule lie beside it.
            nodules = pd.read_csv(CXR / "others.csv")["image"]
            table = pd.DataFrame({"image": [str((CXR / image).resolve()) for image in nodules]})
        paths = [path for path in table["image"] if path not in fitted][: told.films]
        told_by = " (no fit read it)" if source in HELD_OUT else ""
        if not paths:
            paths, told_by = list(table["image"]), " (the fit read all of them)"
        seen = asked({path: read_radiograph(path) for path in paths})
        refused = [path for path, (gate, _) in seen.items() if gate.present]
        names[f"chest films of {source} refused"] = [Path(path).stem for path in refused][:12]
        films_table.append(
            {
                "films of": source + told_by,
                "refused, % (95 %)": share([gate.present for gate, _ in seen.values()]),
                "called photographed, % (95 %)": share([p.present for _, p in seen.values()]),
                "number": len(paths),
            }
        )
        print(films_table[-1], flush=True)
    raw = pd.read_csv(RAW / "raw.csv")
    seen = asked({str(image): read_radiograph(RAW / str(image)) for image in raw["image"]})
    names["untouched originals refused"] = [n for n, (gate, _) in seen.items() if gate.present]
    films_table.append(
        {
            "films of": "untouched originals, all sources",
            "refused, % (95 %)": share([gate.present for gate, _ in seen.values()]),
            "called photographed, % (95 %)": share([p.present for _, p in seen.values()]),
            "number": len(seen),
        }
    )

    base = [
        (str(row.source), read_radiograph(str(row.image)))
        for row in clean_films(HELD_OUT, 120, seed=7).itertuples(index=False)
    ]
    kinds: dict[str, dict[str, Film]] = defaultdict(dict)
    for number, (source, film) in enumerate(base):
        for how in TURNS:
            kinds[f"films {how}"][f"{source} {number}"] = turned(film, how)
        for how in CUTS:
            kinds[f"films cut to the {how}"][f"{source} {number}"] = cut(film, how)
        for how in ("upper half", "lower half"):
            squashed = np.asarray(cv2.resize(cut(film, how), (224, 224)), np.uint8)
            kinds[f"squashed to a square: {how}"][f"{source} {number}"] = squashed
        kinds["films merged as in a lateral view"][f"{source} {number}"] = gate_drawings.merged(
            film, np.random.default_rng([97, number])
        )
    for name, picture in photographs_to_test(told.packages).items():
        kinds[f"photographs and pictures: {name.split('/')[0]}"][name] = picture
    for name, picture in slices_to_test(told.packages).items():
        modality = name.split("/")[0]
        kinds[f"DICOM and NIfTI: {modality if modality in SLICES else 'other'}"][name] = picture
    for name, pictures in drawings_to_test().items():
        kinds[name] = {str(i): picture for i, picture in enumerate(pictures)}
    for kind, draw in gate_drawings.DRAWINGS.items():
        kinds[f"drawn by the fit's hand: {kind}"] = {
            str(i): draw(np.random.default_rng([101, i])) for i in range(25)
        }
    wrong_table = []
    totals: dict[str, list[bool]] = defaultdict(list)
    for kind, pictures in sorted(kinds.items()):
        seen = asked(pictures)
        present = [gate.present for gate, _ in seen.values()]
        passed = sorted((gate.score, name) for name, (gate, _) in seen.items() if not gate.present)
        names[f"{kind}: passed"] = [name for _, name in passed][:12]
        wrong_table.append(
            {"pictures": kind, "refused, % (95 %)": share(present), "number": len(present)}
        )
        for group in (
            "films cut",
            "films turned",
            "films upside",
            "photographs",
            "DICOM and NIfTI: CT",
            "DICOM and NIfTI: MR",
        ):
            if kind.startswith(group):
                totals[
                    "turned"
                    if "turned" in group or "upside" in group
                    else group.removeprefix("films ")
                ] += present
        print(wrong_table[-1], flush=True)
    for group, present in totals.items():
        wrong_table.append(
            {
                "pictures": f"all: {group}",
                "refused, % (95 %)": share(present),
                "number": len(present),
            }
        )

    photos = {
        f"{source} {number}": gate_drawings.photographed(
            film, np.random.default_rng([103, number])
        )[0]
        for number, (source, film) in enumerate(base)
    }
    seen = asked(photos)
    camera = [
        {
            "of photographs of films": "called photographed",
            "% (95 %)": share([p.present for _, p in seen.values()]),
            "number": len(seen),
        },
        {
            "of photographs of films": "refused as no chest",
            "% (95 %)": share([g.present for g, _ in seen.values()]),
            "number": len(seen),
        },
    ]

    film = base[0][1]
    cost = {"lung network": [], "whole chain": []}  # type: dict[str, list[float]]
    for _ in range(40):
        start = time.perf_counter()
        find_lungs(film)
        cost["lung network"].append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        CHAIN.check(film)
        cost["whole chain"].append(1000 * (time.perf_counter() - start))
    milliseconds = {name: round(float(np.median(times)), 1) for name, times in cost.items()}

    worst = {name: found for name, found in names.items() if found}
    everything = {
        "chest films": films_table,
        "other pictures": wrong_table,
        "photographs": camera,
        "milliseconds": milliseconds,
        "by name": worst,
        "version": CHAIN.version,
        "bounds": settings("robust")["not_a_chest"]["bounds"],
    }
    listed = "\n".join(f"- {name}: {', '.join(found)}" for name, found in sorted(worst.items()))
    quoted = "\n\n".join(
        [
            "### The gate: chest films",
            markdown(pd.DataFrame(films_table)),
            "### The gate: everything else",
            markdown(pd.DataFrame(wrong_table)),
            "### Photographs of films, made of films that no fit read",
            markdown(pd.DataFrame(camera)),
            f"A film of 224 pixels takes {milliseconds['whole chain']} ms through the chain, of which the lung "
            f"network {milliseconds['lung network']} ms (medians, one thread, on a busy machine).",
        ]
    )
    text = f"{quoted}\n\n### By name, at most 12 each\n\n{listed}\n"
    write_results("gate", everything, text, quoted)


if __name__ == "__main__":
    main()
