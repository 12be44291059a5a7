"""Films that the quality chain is calibrated on and measured with: which, from where, how written.

Sources are parted once and for all: `HELD_OUT` is never looked at while settings are chosen.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

SHARED = Path(__file__).parents[1] / "../shared"
CXR = SHARED / "data/cxr"
RAW = SHARED / "data/raw"
HELD_OUT = ("mendeley", "nih")
TRAINING = ("kermany", "qatar", "tbx11k", "sakha")


def clean_films(sources: tuple[str, ...], count: int | None = None, seed: int = 0) -> pd.DataFrame:
    """List clean 224-pixel films of these sources, `count` of them evenly drawn from each source.

    Gives the collection's table with `image` as an absolute path.
    """
    table = pd.read_csv(CXR / "collection.csv", dtype=str)
    table = table[table["source"].isin(sources)]
    if count is not None:
        each = -(-count // len(sources))
        table = pd.concat(
            rows.sample(min(each, len(rows)), random_state=seed)
            for _, rows in table.groupby("source")
        )
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    return table.assign(image=[str((CXR / image).resolve()) for image in table["image"]])


def report_like(sources: tuple[str, ...], folder: Path, limit: int, seed: int) -> pd.DataFrame:
    """Write a set shaped like the report's from films of these sources; give its truth table.

    The set is kept in `folder` and written once. `image` is an absolute path.
    """
    if not (folder / "truth.csv").exists():
        part = folder / "part"
        part.mkdir(parents=True, exist_ok=True)
        table = pd.read_csv(CXR / "collection.csv", dtype=str)
        table[table["source"].isin(sources)].to_csv(part / "collection.csv", index=False)
        images = part / "images"
        if not images.exists():
            images.symlink_to((CXR / "images").resolve())
        tool = SHARED / "tools/make_report_like.py"
        told = [str(tool), str(part), str(folder), "--seed", str(seed), "--limit", str(limit)]
        subprocess.run([sys.executable, *told], check=True)
    truth = pd.read_csv(folder / "truth.csv")
    return truth.assign(image=[str((folder / image).resolve()) for image in truth["image"]])
