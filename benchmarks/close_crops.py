"""Whether a photograph of a film, made grey and cropped to the film's inside, can be told from a film.

    python -m benchmarks close_crops [--count 40]

Such a crop has no colour, no rim and nothing round it: `photographed` has little to go by. Cues are tried
on the pixels as they come. Each has the threshold that no film of the sources of `TRAINING` and none of the
originals passes; false alarms are then counted on sources that no threshold saw, and crops of two hands: the
one that the gate was fitted with, and pixels of a screen seen by a sensor, which has moiré by itself. Writes
``results/close_crops.json`` and ``.md``, and the table in docs/quality.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gate_drawings
from cxrlens.quality import Chain
from cxrlens.radiographs import read_radiograph
from cxrlens.radiographs.integrity import TINTED
from cxrlens.radiographs.read import read_film
from quality_films import HELD_OUT, RAW, TRAINING, clean_films
from quality_measure import percent, wilson, write_results
from record import markdown

Film = NDArray[np.uint8]
SIDE = 1000
"""Pixels along a photograph, of which the crop keeps 60 to 75 %."""


def on_screen(film: Film, rng: np.random.Generator) -> Film:
    """Photograph a screen: pixels of light with dark gaps, leaning a little, on a sensor's coarser ones."""
    pitch = rng.uniform(1.6, 4.5)  # sensor pixels a screen pixel
    over = 2
    shown = cv2.resize(film, None, fx=SIDE / pitch / film.shape[1], fy=SIDE / pitch / film.shape[0])
    y, x = np.mgrid[0 : SIDE * over, 0 : SIDE * over].astype(np.float32) / over
    way = np.radians(rng.normal(0, 3))
    bend = rng.normal(0, 3e-5, 2)
    u = (np.cos(way) * x - np.sin(way) * y) / pitch * (1 + bend[0] * x)
    v = (np.sin(way) * x + np.cos(way) * y) / pitch * (1 + bend[1] * y)
    at = u.astype(np.float32), v.astype(np.float32)
    light = cv2.remap(shown, *at, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    gap = rng.uniform(0.08, 0.2)
    lit = ((u % 1) > gap) & ((v % 1) > gap)
    seen = light.astype(np.float32) * (0.15 + 0.85 * lit)
    seen = cv2.GaussianBlur(seen, (0, 0), over * rng.uniform(0.35, 0.9))
    seen = cv2.resize(seen, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    seen += rng.normal(0, rng.uniform(1, 4), seen.shape)
    high = max(np.percentile(seen, 99.5), 1)
    return np.clip(seen * 235 / high, 0, 255).astype(np.uint8)


def by_the_fit(film: Film, rng: np.random.Generator) -> Film:
    large = np.asarray(cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    return gate_drawings.photographed(large, rng)[0]


def close_crop(photograph: Film, rng: np.random.Generator, side: int) -> Film:
    """Keep the inside, as a messenger keeps it: shrunk to `side`, as JPEG."""
    keep = int(rng.uniform(0.6, 0.75) * SIDE)
    top, left = ((SIDE - keep) // 2 + rng.integers(-40, 41, 2)).clip(0)
    inside = photograph[top : top + keep, left : left + keep]
    small = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA) if side else inside
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 95))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def cues(film: Film) -> dict[str, float]:
    """Measure what moiré, a screen's pixels, a leaning edge and a lamp's light would leave."""
    height, width = film.shape
    side = min(height, width, 1024)
    top, left = (height - side) // 2, (width - side) // 2
    grey = film[top : top + side, left : left + side].astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 3)
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.log(np.abs(np.fft.rfft2(fine * window)) + 1e-2).astype(np.float32)
    excess = power - cv2.medianBlur(power, 5)
    down = np.abs(np.fft.fftfreq(side))[:, None]
    across = np.fft.rfftfreq(side)[None]
    # Grids, scan lines and JPEG's blocks lie on the axes; a screen leans.
    off = (np.hypot(down, across) > 0.03) & (down >= 0.01) & (across >= 0.01)
    near = (np.minimum(down, across) < 0.02) & (np.hypot(down, across) > 0.15)
    spread = np.fft.irfft2(np.abs(np.fft.rfft2(fine)) ** 2)[:64, :64]
    tops = spread[:13, :13] / spread[0, 0]
    ring = np.maximum(tops[2:, 0], 0)[1:-1], np.maximum(tops[0, 2:], 0)[1:-1]
    edges = cv2.Canny(cv2.GaussianBlur(cv2.resize(film, (512, 512)), (0, 0), 1.5), 20, 60)
    found = cv2.HoughLinesP(edges, 1, np.pi / 720, 90, minLineLength=160, maxLineGap=6)
    along = np.zeros((0, 2)) if found is None else np.diff(found.reshape(-1, 2, 2), axis=1)[:, 0]
    leaning = np.abs((np.degrees(np.arctan2(along[:, 1], along[:, 0])) + 45) % 90 - 45)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    light = cv2.resize(film, (32, 32), interpolation=cv2.INTER_AREA).ravel().astype(float)
    plane = np.stack([np.ones(1024), x.ravel(), y.ravel()], axis=1)
    slope = np.linalg.lstsq(plane, light, rcond=None)[0][1:]
    return {
        "moiré: the highest peak off the axes": float(np.sort(excess[off])[-6:].mean()),
        "a screen's pixels: the highest peak beside the axes": float(np.sort(excess[near])[-4:].mean()),
        "a screen's pixels: how alike the film is to itself 3 to 11 pixels on": float(min(map(max, ring))),
        "a leaning edge: straight lines that lean by 0.7 to 12°, in pixels": float(
            np.hypot(*along[(leaning > 0.7) & (leaning < 12)].T).sum()
        ),
        "a lamp: light that falls off to one side, in levels": float(np.hypot(*slope)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="photographs of a kind")
    parser.add_argument("--films", type=int, default=150, help="films a source at most")
    told = parser.parse_args()
    cv2.setNumThreads(1)
    raw = pd.read_csv(RAW / "raw.csv")
    read = [read_film(RAW / str(image)) for image in raw["image"]]
    # Three of them are photographs themselves, as their colours tell.
    originals = [film.pixels for film in read if film.tint < TINTED]
    chain = Chain.named("robust", steps=("photographed", "not_a_chest"))
    films: dict[str, list[Film]] = {"originals": originals}
    for source in (*TRAINING, "shenzhen", "jsrt", *HELD_OUT):
        paths = clean_films((source,), told.films)["image"]
        films[source] = [read_radiograph(str(path)) for path in paths]
    measured = {name: pd.DataFrame(map(cues, found)) for name, found in films.items()}
    print({name: len(table) for name, table in measured.items()}, flush=True)
    seen = pd.concat([measured[name] for name in ("originals", *TRAINING)])
    unseen = pd.concat([measured[name] for name in ("shenzhen", "jsrt", *HELD_OUT)])
    bounds = seen.max()

    kinds: dict[str, list[dict[str, float]]] = defaultdict(list)
    present: dict[str, list[bool]] = defaultdict(list)
    base = [film for film in originals if min(film.shape) >= 500]
    for hand, photograph in {"of the fit's hand": by_the_fit, "of a screen": on_screen}.items():
        for number in range(told.count):
            rng = np.random.default_rng([109, number, len(hand)])
            taken = photograph(base[number % len(base)], rng)
            for side in (0, 512):
                crop = close_crop(taken, rng, side)
                kind = f"{hand}, {'as taken' if not side else f'shrunk to {side}'}"
                kinds[kind].append(cues(crop))
                present[kind].append(chain.check(crop).findings["photographed"].present)
        print(hand, flush=True)
    tables = {kind: pd.DataFrame(rows) for kind, rows in kinds.items()}

    def share(hits: pd.Series | list[bool]) -> str:
        return percent(wilson(int(sum(hits)), len(hits)), 1)

    rows = [
        {
            "cue": cue,
            "of films unseen": share(unseen[cue] > bounds[cue]),
            **{kind: share(table[cue] > bounds[cue]) for kind, table in tables.items()},
        }
        for cue in bounds.index
    ]
    rows.append(
        {
            "cue": "any of them",
            "of films unseen": share((unseen > bounds).any(axis=1)),
            **{kind: share((table > bounds).any(axis=1)) for kind, table in tables.items()},
        }
    )
    rows.append(
        {
            "cue": "`photographed`, as it is",
            "of films unseen": "–",
            **{kind: share(found) for kind, found in present.items()},
        }
    )
    text = markdown(pd.DataFrame(rows))
    note = (
        f"Share called a photograph, % (95 %), by thresholds that none of {len(seen):,} films passes "
        f"({len(originals)} originals; {', '.join(TRAINING)}); unseen are {len(unseen):,} films of shenzhen, jsrt, "
        f"{' and '.join(HELD_OUT)}; {told.count} crops of a kind."
    )
    everything = {
        "bounds": bounds.to_dict(),
        "table": rows,
        "films": {name: len(table) for name, table in measured.items()},
        "quartiles": {
            name: table.quantile([0.25, 0.5, 0.75]).to_dict()
            for name, table in {**measured, **tables}.items()
        },
    }
    write_results("close_crops", everything, f"{note}\n\n{text}\n", f"{note}\n\n{text}")


if __name__ == "__main__":
    main()
