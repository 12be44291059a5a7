"""Is it the lungs that it reads: ask a network about films of which only the lungs are left, or all but the lungs.

    python benchmarks/lungs_alone.py RUN [RUN ...] [--cache DIR] [--threads 1]

Needs the shared radiographs beside the project, and runs of `left_out.py`, whose left-out sources are asked. Lungs
are those that the house's network finds on the film as the network gets it, with a margin of a twentieth of the
side. What is hidden is filled in four ways that no network was trained on: the mean of what stays, a strong blur,
grain, and inpainting from what stays. Writes results/lungs_alone.{json,md}.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.files import write_text
from cxrlens.lungs import find_lungs
from cxrlens.quality.chain import Chain
from cxrlens.runs import Run
from left_out import auc_with_interval, scores_of, within_sources
from looks import looked
from real_films import CXR
from record import RESULTS, keep, kept, markdown, stamp

Film = NDArray[np.uint8]
MARGIN = 0.05
MOST = 400
"""Films of one source and class."""


def inside(film: Film) -> NDArray[np.bool_]:
    """Find the lungs and a margin round them."""
    fields = find_lungs(film).completed().astype(np.uint8)
    reach = round(MARGIN * len(fields))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.resize(cv2.dilate(fields, kernel), film.shape[::-1]).astype(np.bool_)


def mean(film: Film, hidden: NDArray[np.bool_], rng: np.random.Generator) -> Film:
    """Fill with the mean of what stays."""
    return np.full_like(film, film[~hidden].mean())


def blur(film: Film, hidden: NDArray[np.bool_], rng: np.random.Generator) -> Film:
    """Fill with the film, blurred over a sixth of its side."""
    return cv2.GaussianBlur(film, (0, 0), len(film) / 6)


def grain(film: Film, hidden: NDArray[np.bool_], rng: np.random.Generator) -> Film:
    """Fill with grain about the mean of what stays."""
    grey = rng.normal(film[~hidden].mean(), film[~hidden].std() / 2, film.shape)
    return grey.clip(0, 255).astype(np.uint8)


def inpainting(film: Film, hidden: NDArray[np.bool_], rng: np.random.Generator) -> Film:
    """Continue what stays, at a quarter of the resolution."""
    small = cv2.resize(film, (56, 56), interpolation=cv2.INTER_AREA)
    where = cv2.resize(hidden.astype(np.uint8), (56, 56), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(cv2.inpaint(small, where, 3, cv2.INPAINT_TELEA), film.shape[::-1])


FILLS: dict[str, Callable[[Film, NDArray[np.bool_], np.random.Generator], Film]] = {
    fill.__name__: fill for fill in (mean, blur, grain, inpainting)
}


def asked_films(films: pd.DataFrame, left_out: tuple[str, ...]) -> NDArray[np.bool_]:
    """Choose at most so many films of each source and class, always the same."""
    order = films.sample(frac=1, random_state=0)
    chosen = order[order["source"].isin(left_out)].groupby(["source", "label"]).head(MOST).index
    return np.asarray(films.index.isin(chosen), np.bool_)


def measured(run: Run, cache: Path | None) -> list[dict[str, Any]]:
    """Ask a run about its left-out sources, films whole and in parts."""
    films = read_collection(CXR / "collection.csv").films
    own = set(run.films().loc[run.films()["split"] == "train", "source"])
    left_out = tuple(sorted(set(films["source"]) - own))
    chain = Chain.named(run.recipe.quality, run.recipe.side, lungs=run.recipe.lungs)
    cached = cache_films(films["image"].tolist(), chain, cache)
    chosen = asked_films(films, left_out)
    of_chosen = films[chosen].reset_index(drop=True)
    whole = np.stack([cached.pixels[row] for row in cached.rows[chosen]])
    masks = np.stack([inside(film) for film in whole])
    known = masks.any(axis=(1, 2)) & ~masks.all(axis=(1, 2))
    of_chosen, whole, masks = of_chosen[known].reset_index(drop=True), whole[known], masks[known]
    rows = np.arange(len(whole))
    found = []
    for part, fill in [("whole", None)] + [
        (p, f) for p in ("lungs alone", "lungs gone") for f in FILLS
    ]:
        pictures = whole
        if fill is not None:
            hidden = ~masks if part == "lungs alone" else masks
            rng = np.random.default_rng(0)
            pictures = np.stack(
                [
                    np.where(away, FILLS[fill](film, away, rng), film)
                    for film, away in zip(whole, hidden, strict=True)
                ]
            )
        of_part = CachedFilms(pictures, rows, cached.findings.iloc[:0], {})
        scores = scores_of(run, of_part, np.ones(len(rows), np.bool_))
        for of in within_sources(of_chosen, scores, left_out):
            found.append({"run": run.path.name, "part": part, "fill": fill or "–"} | of)
        seen = {of["source"]: of["auc"] for of in found if of["part"] == part}
        looked(f"{run.path.name}, {part}, {fill}", tuple(seen), "lungs_alone.py", seen)
        print(run.path.name, part, fill, seen, flush=True)
    return found


def page(content: dict[str, Any]) -> str:
    """Put it into a table."""
    rows = [
        {
            "run": of["run"],
            "asked": of["source"],
            "what": of["disease"],
            "film": of["part"],
            "filled with": of["fill"],
            "AUC (95 %)": auc_with_interval(of),
            "diseased + normal": f"{of['diseased']} + {of['normal']}",
        }
        for of in content["rows"]
    ]
    return (
        f"Written by `benchmarks/lungs_alone.py` on {stamp(content['machine'])}. Sources that the run was not trained on; "
        f"at most {MOST} films of a source and class.\n\n{markdown(pd.DataFrame(rows))}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep(
        "lungs_alone",
        {"rows": [row for at in arguments.runs for row in measured(Run(at), arguments.cache)]},
    )
    write_text(RESULTS / "lungs_alone.md", page(kept("lungs_alone")))
