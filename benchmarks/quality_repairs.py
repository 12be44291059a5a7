"""What the repairs give back: PSNR and SSIM to the clean film before and after, by kind and level.

    python benchmarks/quality_repairs.py [--films N]

Held-out films at several sizes; each damage is looked at and repaired by the whole chain, as shipped;
"before" is the same stored film only resized. Intervals resample films. Writes
results/quality_repairs.json and .md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import quality_damage as damage
from cxrlens.quality import Chain
from cxrlens.quality.borders import EvenBorders
from cxrlens.radiographs import read_radiograph, resize
from quality_films import HELD_OUT, clean_films
from quality_measure import markdown, mean_interval, plain, wilson, write_results

Film = NDArray[np.uint8]
SIZES = (224, 320, 450, 700)


def kinds(
    base: Film, number: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, float, Film]]:
    """Give defect, maker, level and damaged film; each film sees each maker at one of its levels."""
    yield "clean", "", 0.0, base
    yield "negative", "", 0.0, 255 - base
    for defect, makers in (
        ("noisy", damage.NOISES),
        ("blurred", damage.BLURS),
        ("underexposed", damage.DARKENINGS),
    ):
        for name, (maker, levels) in makers.items():
            level = levels[number % len(levels)]
            if defect != "underexposed" or base.mean() > level + 10:
                yield defect, name, level, maker(base, level, rng)
    yield "padded", "black", 0.0, damage.padded(base, rng)[0]
    yield "patched", "", 0.0, damage.patched(base, rng)[0]


def measure(count: int | None) -> pd.DataFrame:
    """Give one row a film, damage and chain."""
    chains = {name: Chain.named(name) for name in ("report", "robust")}
    (borders,) = Chain.named("robust", steps=("padded",)).native
    assert isinstance(borders, EvenBorders)
    rows: list[dict[str, object]] = []
    for number, path in enumerate(clean_films(HELD_OUT, count, seed=4)["image"]):
        rng = np.random.default_rng([31, number])
        clean = read_radiograph(path)
        base = damage.sized(clean, SIZES[number % 4], rng)
        reference = resize(base, 224)
        if any(borders.borders(base)):
            # Its own border is cropped with right; against the uncropped film that would look wrong.
            rows += with_border(chains, base, number)
            continue
        for defect, maker, level, film in kinds(base, number // 4, rng):
            stored = film if defect == "clean" else damage.stored(film, rng)
            plainly = resize(stored, 224)
            before = structural_similarity(plainly, reference)
            for name, chain in chains.items():
                seen = chain.examine(stored)
                same = not seen.repairs
                after = before if same else structural_similarity(seen.pixels, reference)
                rows.append(
                    {
                        "film": number,
                        "defect": defect,
                        "maker": maker,
                        "level": level,
                        "chain": name,
                        "repaired": not same,
                        "before": before,
                        "after": after,
                        "psnr_before": psnr(plainly, reference),
                        "psnr_after": psnr(seen.pixels, reference),
                        "size": SIZES[number % 4],
                    }
                )
    return pd.DataFrame(rows)


def with_border(chains: dict[str, Chain], base: Film, number: int) -> list[dict[str, object]]:
    """Give the rows of a clean film that has a border of its own; compare with itself uncropped."""
    reference, rows = resize(base, 224), []
    for name, chain in chains.items():
        seen = chain.examine(base)
        rows.append(
            {
                "film": number,
                "defect": "clean with a border of its own",
                "maker": "",
                "level": 0.0,
                "chain": name,
                "repaired": bool(seen.repairs),
                "before": 1.0,
                "after": structural_similarity(seen.pixels, reference),
                "psnr_before": 60.0,
                "psnr_after": psnr(seen.pixels, reference),
                "size": SIZES[number % 4],
            }
        )
    return rows


def psnr(film: Film, reference: Film) -> float:
    """Give the ratio in dB, 60 at most: equal films have none."""
    if np.array_equal(film, reference):
        return 60.0
    return min(60.0, float(peak_signal_noise_ratio(reference, film)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=300)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    table = measure(options.films)
    document: dict[str, object] = {}
    lines: dict[str, list[tuple[object, ...]]] = {"kind": [], "maker": [], "level": []}
    for depth, keys in (
        ("kind", ["defect", "chain"]),
        ("maker", ["defect", "chain", "maker"]),
        ("level", ["defect", "chain", "maker", "level"]),
    ):
        for key, part in table.groupby(keys, sort=False):
            gain = mean_interval((part["after"] - part["before"]).to_numpy())
            share = wilson(int(part["repaired"].sum()), len(part))[0]
            document["/".join(map(str, key))] = {
                "ssim_before": float(part["before"].mean()),
                "ssim_after": float(part["after"].mean()),
                "gain": gain,
                "psnr_before": float(part["psnr_before"].mean()),
                "psnr_after": float(part["psnr_after"].mean()),
                "repaired": share,
                "films": len(part),
            }
            lines[depth].append(
                (
                    *key,
                    f"{part['before'].mean():.3f}",
                    f"{part['after'].mean():.3f}",
                    plain(gain),
                    f"{part['psnr_before'].mean():.1f}",
                    f"{part['psnr_after'].mean():.1f}",
                    f"{100 * share:.0f}",
                    len(part),
                )
            )
    columns = (
        "SSIM before",
        "SSIM after",
        "gain (95 %)",
        "PSNR before",
        "PSNR after",
        "repaired, %",
        "films",
    )
    quoted = markdown(("damage", "chain", *columns), sorted(lines["kind"]))
    text = "### By kind of damage\n\n" + quoted
    text += "\n### By maker\n\n" + markdown(("damage", "chain", "maker", *columns), lines["maker"])
    text += "\n### By level\n\n" + markdown(
        ("damage", "chain", "maker", "level", *columns), lines["level"]
    )
    versions = {name: Chain.named(name).version for name in ("report", "robust")}
    write_results("quality_repairs", {"versions": versions, "gains": document}, text, quoted)


if __name__ == "__main__":
    main()
