"""Measure networks of `train_lungs.py`: Dice by source, robustness, phantoms, photographs, time.

    python benchmarks/measure_lungs.py --work DIR [--sheets DIR]

Writes ``results/lungs.json`` and ``.md``. A row is measured on what it has not learnt from: the
held-out fifth of the patients, and sources left out whole. Intervals are bootstrapped over films.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.lungs import find_lungs
from cxrlens.lungs.fields import NETWORK
from gate_pictures import photographs_to_test
from lung_films import Drawn, Film, drawn_films, phantom
from quality_measure import DOCS, write_results
from record import markdown

ROWS = {
    "free": "freely licensed masks (jsrt, covid_chestxray), without the held-out fifth",
    "all": "all masks, without the held-out fifth, trained for 2,400 steps (the others for 1,400)",
    "no-jsrt": "all but jsrt",
    "shipped": "as in the package",
}
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def moved(turn: float = 0, shift: tuple[float, float] = (0, 0), scale: float = 1) -> Change:
    """Turn, shift and scale a film or mask about its middle; black comes in."""

    def change(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
        matrix[:, 2] += np.array(shift) * [width, height]
        return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)

    return change


def noisy(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grain = np.random.default_rng(1).normal(0, 25, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[Change, bool]] = {
    "turned 20° left": (moved(turn=20), True),
    "turned 20° right": (moved(turn=-20), True),
    "shifted 15 % right": (moved(shift=(0.15, 0)), True),
    "shifted 15 % left": (moved(shift=(-0.15, 0)), True),
    "shifted 15 % down": (moved(shift=(0, 0.15)), True),
    "shifted 15 % up": (moved(shift=(0, -0.15)), True),
    "scaled 0.6": (moved(scale=0.6), True),
    "negative": (lambda film: 255 - film, False),
    "noisy (spread 25)": (noisy, False),
}
"""Each with whether the mask goes along."""


def interval(values: list[float]) -> tuple[float, float, float]:
    array = np.array(values)
    rng = np.random.default_rng(0)
    means = array[rng.integers(0, len(array), (1000, len(array)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(array.mean()), float(low), float(high)


def told(values: list[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.4f} ({low:.4f}–{high:.4f})"


def unseen(row: str, films: list[Drawn]) -> dict[str, list[Drawn]]:
    """Say which films a row has not learnt from, by source."""
    row = "free" if row == "shipped" else row
    parts: dict[str, list[Drawn]] = {}
    for film in films:
        whole = (row == "free" and film.source == "shenzhen") or (
            row == "no-jsrt" and film.source == "jsrt"
        )
        if whole:
            parts.setdefault(f"{film.source}, left out whole", []).append(film)
        if film.held and row != "no-jsrt":
            parts.setdefault(f"{film.source}, held-out fifth", []).append(film)
    return parts


def by_source(row: str, network: Path, films: list[Drawn]) -> list[dict[str, Any]]:
    """Measure Dice, and the mean mask's, source by source."""
    rows = []
    for part, chosen in sorted(unseen(row, films).items()):
        masks = [find_lungs(film.film, network).mask(film.film.shape) for film in chosen]
        if chosen[0].with_heart:
            inside = [
                float((m & f.mask).sum() / max(m.sum(), 1))
                for m, f in zip(masks, chosen, strict=True)
            ]
            share = [
                float((m & f.mask).sum() / f.mask.sum()) for m, f in zip(masks, chosen, strict=True)
            ]
            rows.append(
                {
                    "masks": row,
                    "films": part,
                    "number": len(chosen),
                    "Dice (95 %)": f"{told(inside)} of what is drawn lies inside of the masks, of which it fills {np.mean(share):.2f}",
                    "mean mask's": "",
                    "worst": "",
                }
            )
            continue
        whole = part.endswith("whole")
        names, source = {f.name for f in chosen}, chosen[0].source
        others = [f for f in films if not f.with_heart and f.name not in names]
        # Where a source is held out in part, the mean mask may know the rest of it.
        mean = np.mean([f.mask for f in others if whole or f.source == source], axis=0) > 0.5
        scores = [dice(m, f.mask) for m, f in zip(masks, chosen, strict=True)]
        rows.append(
            {
                "masks": row,
                "films": part,
                "number": len(chosen),
                "Dice (95 %)": told(scores),
                "mean mask's": f"{np.mean([dice(mean, f.mask) for f in chosen]):.3f}",
                "worst": f"{min(scores):.3f}",
            }
        )
    return rows


def robustness(network: Path, films: list[Drawn]) -> list[dict[str, Any]]:
    """Measure by how much Dice falls on changed films."""
    chosen = [f for f in films if f.held and not f.with_heart]
    plain = [dice(find_lungs(f.film, network).mask(f.film.shape), f.mask) for f in chosen]
    rows = []
    for name, (change, along) in CHANGES.items():
        falls = []
        for film, before in zip(chosen, plain, strict=True):
            mask = change(film.mask.astype(np.uint8) * 255) > 127 if along else film.mask
            after = dice(find_lungs(change(film.film), network).mask(film.film.shape), mask)
            falls.append(before - after)
        rows.append({"film": name, "Dice falls by (95 %)": told(falls), "number": len(falls)})
    return rows


def drawings(network: Path, packages: Path | None) -> list[dict[str, Any]]:
    """Measure how much is drawn where nothing is: lungs that phantoms lack, photographs."""
    shares = []
    for seed in range(100):
        lacking = ("left", "right")[seed % 2]
        film, _, gone = phantom(500_000 + seed, lacking)
        if gone.sum() > 200:
            mask = find_lungs(film, network).mask(film.shape)
            shares.append(float((mask & gone).sum() / gone.sum()))
    kept = []
    for seed in range(100):
        film, lungs, _ = phantom(600_000 + seed)
        kept.append(dice(find_lungs(film, network).mask(film.shape), lungs))
    pictures = list(photographs_to_test(packages).values())
    drawn = [find_lungs(picture, network).share for picture in pictures]
    return [
        {
            "on": "phantoms that lack a lung",
            "what": "of the lacking lung is drawn",
            "mean (95 %)": told(shares),
            "above 0.05": sum(s > 0.05 for s in shares),
            "number": len(shares),
        },
        {
            "on": "whole phantoms",
            "what": "Dice",
            "mean (95 %)": told(kept),
            "above 0.05": "",
            "number": len(kept),
        },
        {
            "on": "photographs and other pictures",
            "what": "of the picture is called lung",
            "mean (95 %)": told(drawn),
            "above 0.05": sum(s > 0.05 for s in drawn),
            "number": len(drawn),
        },
    ]


def milliseconds(network: Path, film: Film) -> dict[str, float]:
    """Time a film, on one thread."""
    find_lungs(film, network)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        find_lungs(film, network)
        times.append(1000 * (time.perf_counter() - start))
    return {"median": round(float(np.median(times)), 2), "fastest": round(min(times), 2)}


def sheet(films: list[tuple[str, Film]], network: Path, path: Path, across: int = 10) -> None:
    """Draw outlines over films, to be looked at."""
    tiles = []
    for name, film in films:
        big = cv2.cvtColor(
            cv2.resize(film, (224, 224), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR
        )
        for polygon in find_lungs(film, network).outline():
            points = np.rint(np.array(polygon) * 224).astype(np.int32)
            cv2.polylines(big, [points], True, (0, 255, 255), 1, cv2.LINE_AA)
        cv2.putText(big, name, (3, 218), 0, 0.35, (0, 255, 0), 1)
        tiles.append(big)
    while len(tiles) % across:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[i : i + across]) for i in range(0, len(tiles), across)]
    cv2.imwrite(str(path), np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("lungs-work"))
    parser.add_argument("--packages", type=Path, help="see gate_pictures.py")
    parser.add_argument(
        "--looked-at", default="", help="a sentence on the outlines that were looked at"
    )
    told_ = parser.parse_args()
    films = drawn_films()
    networks = {name: told_.work / f"{name}.onnx" for name in ROWS if name != "shipped"}
    networks = {name: path for name, path in networks.items() if path.exists()}
    table = [row for name, path in networks.items() for row in by_source(name, path, films)]
    robust = robustness(NETWORK, films)
    nothing = drawings(NETWORK, told_.packages)
    timed = milliseconds(NETWORK, films[0].film)
    content = {
        "rows": {name: ROWS[name] for name in networks},
        "dice": table,
        "robustness of the shipped network": robust,
        "where nothing is": nothing,
        "milliseconds a film, one thread": timed,
        "bytes": NETWORK.stat().st_size,
        "looked at": told_.looked_at,
    }
    parts = [
        markdown(pd.DataFrame(table)),
        "Rows: " + "; ".join(f"*{name}*: {ROWS[name]}" for name in networks) + ".",
        "The network in the package on changed films (the held-out fifth of jsrt and shenzhen):",
        markdown(pd.DataFrame(robust)),
        "The network in the package where nothing is:",
        markdown(pd.DataFrame(nothing)),
        f"{NETWORK.stat().st_size / 1e6:.2f} MB; {timed['median']} ms a film on one thread of a busy machine "
        f"(fastest {timed['fastest']}).",
        told_.looked_at,
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_results("lungs", content, text, text, DOCS.with_name("lungs.md"))


if __name__ == "__main__":
    main()
