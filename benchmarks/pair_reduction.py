"""How often pair reduction keeps the clean copy, by rule and by kind of damage.

    python benchmarks/pair_reduction.py FOLDER [--films N]

FOLDER/report-like-1 takes the set of make_report_like.py with seed 1, and -5, -6, ... smaller ones for the
rare kinds. The rule was made on seed 2, whose films come from the same collection, so films recur with other
damage. Then damage by other makers (pair_damage.py) on films of mendeley and nih, which the regression did
not read (its hand-set weights saw some in seed 2), on their untouched originals (a third of which was looked
at once while the rule was made), and on groups of five copies. Writes results/pair_reduction.json and .md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxrlens.collections.pairs import RULES
from cxrlens.files import write_text
from cxrlens.radiographs.read import read_radiograph
from pair_damage import DETAIL, PAIR_DAMAGES, pair
from quality_films import CXR, HELD_OUT, RAW, SHARED, clean_films
from quality_measure import percent, wilson
from record import DOCS, RESULTS, keep, machine, markdown, stamp

Film = np.ndarray
MORE = (5,)
"""Further seeds, for kinds that are rare in seed 1."""


def best(rule: str, films: list[Film]) -> int:
    """Choose as `reduce_pairs` does; of equal copies the last, so that a tie is no success."""
    judged = RULES[rule](films)
    return min(range(len(films)), key=lambda i: (judged[i].score, -judged[i].pixels, -i))


def judge(films: list[Film]) -> dict[str, bool]:
    """Say for each rule whether the first film, the clean one, is kept."""
    return {rule: best(rule, films) == 0 for rule in RULES}


def report_like(folder: Path, seed: int, limit: int | None) -> pd.DataFrame:
    """Judge the pairs of a set shaped like the report's; one row a pair."""
    place = folder / f"report-like-{seed}"
    if not (place / "truth.csv").exists():
        tool = str(SHARED / "tools/make_report_like.py")
        limits = ["--limit", str(limit)] if limit else []
        told = [sys.executable, tool, str(CXR), str(place), "--seed", str(seed), *limits]
        subprocess.run(told, check=True)
    truth = pd.read_csv(place / "truth.csv")
    truth = truth[truth["copies"] == 2].sort_values(["acquisition", "damaged_copy"])
    groups = [group for _, group in truth.groupby("acquisition")]

    def one(group: pd.DataFrame) -> dict[str, object]:
        films = [read_radiograph(place / image) for image in group["image"]]
        return {**group.iloc[1].to_dict(), **judge(films)}

    with ThreadPoolExecutor(1) as pool:
        return pd.DataFrame(pool.map(one, groups)).assign(seed=seed)


def kinds(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Part the pairs by what was done to the damaged copy; a pair can be in several parts."""
    yield "all pairs", rows
    for noise in ("salt_pepper", "uniform", "gaussian"):
        yield f"noise, {noise.replace('_', ' and ')}", rows[rows["noise"] == noise]
    blurred, patched = rows["blur_sigma_at_224"].notna(), rows["patched"].notna()
    yield "blur", rows[blurred]
    yield "patches and spots", rows[patched]
    yield "– without noise or blur", rows[patched & rows["noise"].isna() & ~blurred]
    yield "with padding on the damaged copy", rows[rows["padded"].notna()]
    yield "with underexposure of the damaged copy", rows[rows["underexposed_mean"].notna()]
    yield "both copies negatives", rows[rows["negative"] == 1]
    mild = rows["noise_level"] <= rows["noise"].map(
        {"salt_pepper": 0.02, "uniform": 20, "gaussian": 12}
    )
    yield "mildest noise", rows[mild]
    yield "mildest blur (sigma below 2)", rows[rows["blur_sigma_at_224"] < 2]


def other_makers(films: int) -> Iterator[tuple[str, dict[str, bool]]]:
    """Judge pairs with damage of other makers."""
    rng = np.random.default_rng(1)
    for image in clean_films(HELD_OUT, films, seed=1)["image"]:
        film = read_radiograph(image)
        for name in PAIR_DAMAGES:
            yield name, judge(list(pair(film, name, rng)[:2]))
        hurt = rng.choice([*PAIR_DAMAGES], 4, replace=False)
        yield (
            "five copies, four of them damaged",
            judge([film, *(pair(film, str(n), rng, False)[1] for n in hurt)]),
        )


def originals() -> Iterator[tuple[str, dict[str, bool]]]:
    """Judge pairs made of untouched originals of the sources that the regression did not read."""
    rng = np.random.default_rng(1)
    raw = pd.read_csv(RAW / "raw.csv")
    for image in raw.loc[raw["source"].isin(HELD_OUT), "image"]:
        film = read_radiograph(RAW / image)
        for name in PAIR_DAMAGES:
            part = name if name not in DETAIL else name.split(",")[0]
            yield f"originals: {part}", judge(list(pair(film, name, rng, False)[:2]))


def rows_of(parts: Iterator[tuple[str, pd.DataFrame]]) -> list[dict[str, object]]:
    """Give the share of clean copies kept, with 95 % limits, by rule."""
    rows = []
    for name, part in parts:
        shares = {rule: wilson(int(part[rule].sum()), len(part)) for rule in RULES}
        rows.append({"damage": name, "pairs": len(part), **shares})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Write the shares as a Markdown table."""
    told = pd.DataFrame(rows)
    for rule in RULES:
        told[rule] = told[rule].map(lambda share: percent(share, 1))
    return markdown(
        told.rename(columns={rule: f"{rule}: clean copy kept, % (95 %)" for rule in RULES})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=60, help="films that other makers damage")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    first = report_like(options.folder, 1, None)
    more = pd.concat([first, *(report_like(options.folder, seed, 3000) for seed in MORE)])
    seed_1, pooled = rows_of(kinds(first)), rows_of(kinds(more))
    others = pd.DataFrame(
        [{"damage": n, **hit} for n, hit in (*other_makers(options.films), *originals())]
    )
    by_maker = rows_of((str(n), part) for n, part in others.groupby("damage", sort=False))
    keep("pair_reduction", {"seed_1": seed_1, "pooled": pooled, "other_makers": by_maker})
    told = f"Measured on {stamp(machine())}, by `benchmarks/pair_reduction.py`."
    quoted = f"{told}\n\n{table(seed_1)}"
    text = (
        f"{quoted}\n\nSeed 1 with seeds {', '.join(map(str, MORE))} (3,000 acquisitions each):\n\n"
        f"{table(pooled)}\n\nOther makers' damage, films of {' and '.join(HELD_OUT)}:\n\n{table(by_maker)}\n"
    )
    write_text(RESULTS / "pair_reduction.md", text)
    page = DOCS / "collections.md"
    begin, end = "<!-- pair_reduction: begin -->", "<!-- pair_reduction: end -->"
    whole = page.read_text(encoding="utf-8")
    before, after = whole.partition(begin)[0], whole.partition(end)[2]
    write_text(page, f"{before}{begin}\n{quoted}\n{end}{after}")
    print(text)


if __name__ == "__main__":
    main()
