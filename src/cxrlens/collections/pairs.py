"""Pair reduction: of the copies of one exposure, the cleanest stays (SYSTEM §2).

Copies share an ``acquisition``; a patient's follow-up films do not and are never touched. Nothing is
deleted: films that leave are listed with the reason in a table beside the reduced collection.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection
from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.filters import log_response
from cxrlens.radiographs.read import read_radiograph
from cxrlens.radiographs.resize import resize

SIDE = 224
"""Copies are compared at one size: the sum over more pixels would be larger by itself."""

SIGMA = 1.0
"""Standard deviation, in pixels at `SIDE`, of the Gaussian before the Laplacian; the report gives none."""

Score = Callable[[NDArray[np.uint8]], float]
"""How damaged a film looks; the copy with the lowest score stays."""


def log_sum(film: NDArray[np.uint8]) -> float:
    """Sum of the absolute Laplacian of Gaussian of a film, brought to one size.

    The report's rule: noise answers to the filter, so the noisier copy has the larger sum. A blurred
    copy has a smaller one and wins; that is the rule's known fault.
    """
    return float(np.abs(log_response(resize(film, SIDE), SIGMA)).sum())


RULES: Mapping[str, Score] = {"report": log_sum}


@dataclass(frozen=True)
class Reduced:
    """What pair reduction gives.

    Attributes
    ----------
    kept
        The collection without the copies that left.
    left
        The rows of the films that left, with ``kept`` (the copy that stays), ``score``,
        ``kept_score`` and ``reason``.
    failures
        Image and sentence of each copy that could not be read; it left too.
    """

    kept: Collection
    left: pd.DataFrame
    failures: dict[str, str]


def reduce_pairs(
    collection: Collection,
    rule: str = "report",
    progress: Callable[[int, int], None] | None = None,
) -> Reduced:
    """Keep the cleanest copy of every acquisition.

    Parameters
    ----------
    collection
        Films with a column ``acquisition``; films without a value there stay as they are.
    rule
        A key of `RULES`.
    progress
        Called with films read and films to read; only acquisitions with copies are read.

    Raises
    ------
    CollectionError
        If the column is missing, the rule is unknown, or copies of one acquisition differ in label
        or patient.
    """
    films = collection.films
    if "acquisition" not in films:
        raise CollectionError(
            "the collection has no column 'acquisition', so no film is known to be a copy of another: "
            "nothing to reduce (collect report makes the column)"
        )
    if rule not in RULES:
        raise CollectionError(f"unknown rule {rule!r}: known are {', '.join(RULES)}")
    _refuse_contradictions(films)
    copies = films[films["acquisition"].notna() & films["acquisition"].duplicated(keep=False)]
    scores, failures = _scores(copies["image"].tolist(), RULES[rule], progress)

    rows = []
    for _, group in copies.groupby("acquisition", sort=False):
        ranked = group.assign(score=group["image"].map(scores)).sort_values(
            ["score", "image"], na_position="last"
        )
        best = ranked.iloc[0]
        for _, row in ranked.iloc[1:].iterrows():
            reason = failures.get(row["image"]) or (
                f"{rule}: score {row['score']:.6g} against {best['score']:.6g} of the copy that stays"
            )
            rows.append(
                {**row, "kept": best["image"], "kept_score": best["score"], "reason": reason}
            )
    left = pd.DataFrame(rows, columns=[*films.columns, "score", "kept", "kept_score", "reason"])
    kept = films[~films["image"].isin(left["image"])].reset_index(drop=True)
    return Reduced(Collection(kept), left, failures)


def _scores(
    images: list[str], score: Score, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, float], dict[str, str]]:
    def of(image: str) -> float | FilmError:
        try:
            return score(read_radiograph(image))
        except FilmError as error:
            return error

    scores: dict[str, float] = {}
    failures: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for done, (image, value) in enumerate(zip(images, pool.map(of, images), strict=True), 1):
            if isinstance(value, FilmError):
                failures[image] = str(value)
            else:
                scores[image] = value
            if progress:
                progress(done, len(images))
    return scores, failures


def _refuse_contradictions(films: pd.DataFrame) -> None:
    for column in ("label", "patient"):
        if column in films:
            values = films.groupby("acquisition")[column].nunique()
            if (values > 1).any():
                raise CollectionError(
                    f"copies of acquisition {values.idxmax()!r} differ in {column}: correct the table, "
                    f"since copies of one exposure show one {column}"
                )
