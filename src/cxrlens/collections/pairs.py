"""Pair reduction: of the copies of one exposure, the cleanest stays (the 2023 study, section 2).

Copies share an ``acquisition``; a patient's follow-up films do not and are never touched. Nothing is
deleted: films that leave are listed with the reason in a table beside the reduced collection.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection
from cxrlens.collections.copies import blame_copies
from cxrlens.errors import CollectionError, FilmError
from cxrlens.progress import Progress
from cxrlens.radiographs.grey import log_response, resize
from cxrlens.radiographs.read import read_radiograph

SIDE = 224
"""Copies are compared at one size: the sum over more pixels would be larger by itself."""

SIGMA = 1.0
"""Standard deviation, in pixels at `SIDE`, of the Gaussian before the Laplacian; the report gives none."""


@dataclass(frozen=True)
class Judged:
    """What a rule says about one of several copies.

    Attributes
    ----------
    score
        The copy with the lowest stays.
    faults
        What is wrong with it, in words; empty if the rule gives no more than the score.
    pixels
        Of copies with equal scores the one with most stays.
    """

    score: float
    faults: str = ""
    pixels: int = 0


Rule = Callable[[Sequence[NDArray[np.uint8]]], list[Judged]]
"""Judges the copies of one acquisition, two or more, as decoded."""


def log_sum(film: NDArray[np.uint8]) -> float:
    """Sum of the absolute Laplacian of Gaussian of a film, brought to one size.

    The report's rule: noise answers to the filter, so the noisier copy has the larger sum. A blurred
    copy has a smaller one and wins; that is the rule's known fault.
    """
    return float(np.abs(log_response(resize(film, SIDE), SIGMA)).sum())


def _by_log_sum(films: Sequence[NDArray[np.uint8]]) -> list[Judged]:
    return [Judged(log_sum(film)) for film in films]


def _by_blame(films: Sequence[NDArray[np.uint8]]) -> list[Judged]:
    blames = blame_copies(films)
    return [Judged(blame.score, blame.words(), blame.pixels) for blame in blames]


RULES: Mapping[str, Rule] = {"report": _by_log_sum, "robust": _by_blame}
"""The report's rule, and ours, which holds the copies against each other."""


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
    rule: str = "robust",
    progress: Progress | None = None,
) -> Reduced:
    """Keep the cleanest copy of every acquisition.

    Parameters
    ----------
    collection
        Films with a column ``acquisition``; films without a value there stay as they are.
    rule
        A key of `RULES`: ``robust`` (`cxrlens.collections.copies`) or ``report``.
    progress
        Called with films read and films to read; only acquisitions with copies are read.

    Raises
    ------
    CollectionError
        If the column is missing, the rule is unknown, or copies of one acquisition differ in label
        or patient.

    Examples
    --------
    >>> from cxrlens.collections.collection import read_collection
    >>> reduced = reduce_pairs(read_collection("films.csv"))
    >>> len(reduced.kept), len(reduced.left)
    (48, 0)
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
    groups = [group for _, group in copies.groupby("acquisition", sort=False)]
    rows: list[dict[str, object]] = []
    failures: dict[str, str] = {}
    done = 0
    with ThreadPoolExecutor() as pool:
        judgements = pool.map(lambda group: _judge(group["image"].tolist(), RULES[rule]), groups)
        for group, (judged, broken) in zip(groups, judgements, strict=True):
            failures |= broken
            rows += _leaving(group, judged, broken, rule)
            done += len(group)
            if progress:
                progress(done, len(copies))
    left = pd.DataFrame(rows, columns=[*films.columns, "score", "kept", "kept_score", "reason"])
    kept = films[~films["image"].isin(left["image"])].reset_index(drop=True)
    return Reduced(collection.of(kept), left, failures | dict(collection.missing))


def _judge(images: list[str], rule: Rule) -> tuple[dict[str, Judged], dict[str, str]]:
    films: dict[str, NDArray[np.uint8]] = {}
    broken: dict[str, str] = {}
    for image in images:
        try:
            films[image] = read_radiograph(image)
        except FilmError as error:
            broken[image] = str(error)
    judged = rule(list(films.values())) if len(films) > 1 else [Judged(0.0) for _ in films]
    return dict(zip(films, judged, strict=True)), broken


def _leaving(
    group: pd.DataFrame, judged: dict[str, Judged], broken: dict[str, str], rule: str
) -> list[dict[str, object]]:
    """List the rows of a group that leave; if no copy can be read, the first by name stays."""

    def rank(image: str) -> tuple[bool, float, int, str]:
        one = judged.get(image, Judged(0.0))
        return image in broken, one.score, -one.pixels, image

    best = min(group["image"], key=rank)
    rows: list[dict[str, object]] = []
    for _, row in group.iterrows():
        image = str(row["image"])
        if image == best:
            continue
        score, kept_score, reason = np.nan, np.nan, broken.get(image, "")
        if best in judged:
            kept_score = judged[best].score
        if image in judged:
            score = judged[image].score
            reason = _reason(rule, judged[image], judged[best])
        rows.append(
            {**row, "score": score, "kept": best, "kept_score": kept_score, "reason": reason}
        )
    return rows


def _reason(rule: str, leaving: Judged, best: Judged) -> str:
    scores = f"{rule}: score {leaving.score:.6g} against {best.score:.6g} of the copy that stays"
    if leaving.faults:
        other = f" (that one: {best.faults})" if best.faults else ""
        return f"{rule}: {leaving.faults}{other}"
    if leaving.score > best.score:
        return scores
    if leaving.pixels < best.pixels:
        return f"{rule}: no fault found; smaller than the copy that stays"
    return f"{rule}: no fault found; as good as the copy that stays, which is first by name"


def _refuse_contradictions(films: pd.DataFrame) -> None:
    for column in ("label", "patient"):
        if column in films:
            values = films.groupby("acquisition")[column].nunique()
            if (values > 1).any():
                raise CollectionError(
                    f"copies of acquisition {values.idxmax()!r} differ in {column}: correct the table, "
                    f"since copies of one exposure show one {column}"
                )
