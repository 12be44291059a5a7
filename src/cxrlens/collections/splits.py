"""Splits and folds: by patient, never by film, with equal shares of every class and source.

Patients are dealt out within their stratum (their classes and sources), the ones with most films
first, each to the part that lacks most films of that stratum; ties fall by a seeded shuffle. Patients who
share a film, found by its content, are dealt out as one.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection
from cxrlens.collections.same_films import Same, people, same_bytes
from cxrlens.errors import CollectionError

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.20}


def split(
    collection: Collection,
    seed: int = 0,
    shares: Mapping[str, float] = SHARES,
    same: Same | None = None,
) -> Collection:
    """Add a column ``split`` by patient, stratified by class and, where it is known, by source.

    Parameters
    ----------
    collection
        Films with a label; without a column ``patient`` every film counts as its own patient.
    seed
        The same seed and films give the same split, in whatever order the films stand.
    shares
        The part of the films that each split should get; they sum to 1.
    same
        Which films are the same, so that their patients stay together; default those with the same
        bytes. See `cxrlens.collections.same_films`.

    Raises
    ------
    CollectionError
        If a label is missing or a class has fewer patients than there are splits.
    """
    collection.need("label")
    names = list(shares)
    parts = _deal(collection.films, np.array([shares[name] for name in names]), seed, same)
    films = collection.films.assign(split=pd.array([names[part] for part in parts], dtype="string"))
    return collection.of(films)


def fold(
    collection: Collection, folds: int = 5, seed: int = 0, same: Same | None = None
) -> Collection:
    """Add a column ``fold`` (0 … folds - 1) to the films outside the test split.

    The test split, if there is one, stays as it is and gets no fold; so do films outside. `same` is as for
    `split`.

    Raises
    ------
    CollectionError
        If a label is missing or a class has fewer patients than folds.
    """
    collection.need("label")
    films = collection.films
    dealt = (
        films["split"].isin(["train", "validation"])
        if "split" in films
        else pd.Series(True, index=films.index)
    )
    inner = None if same is None else same[dealt.to_numpy(bool)]
    parts = _deal(films[dealt], np.full(folds, 1 / folds), seed, inner)
    column = pd.Series(pd.NA, index=films.index, dtype="Int64")
    column[dealt] = parts
    return collection.of(films.assign(fold=column))


def _deal(
    films: pd.DataFrame, shares: NDArray[np.float64], seed: int, same: Same | None
) -> NDArray[np.int64]:
    patient = people(films, same_bytes(films["image"].tolist()) if same is None else same)
    source = films["source"].fillna("") if "source" in films else pd.Series("", index=films.index)
    keys = (
        (films["label"] + "/" + source).groupby(patient).agg(lambda of: "+".join(sorted(set(of))))
    )
    _refuse_too_few(films["label"].groupby(patient).agg(set), len(shares))

    sizes = patient.value_counts()
    # Sorted first, so that the deal does not depend on the order in which films are listed.
    order = np.array(sorted(keys.index))
    np.random.default_rng(seed).shuffle(order)
    order = order[np.argsort(-sizes[order].to_numpy(), kind="stable")]
    part_of: dict[str, int] = {}
    held: dict[str, NDArray[np.float64]] = {}
    totals = sizes.groupby(keys).sum()
    overall = np.zeros(len(shares))
    for name in order:
        key = keys[name]
        have = held.setdefault(key, np.zeros(len(shares)))
        lack = shares * totals[key] - have
        # Where rounding leaves a stratum undecided, the part that lacks most films overall takes it.
        short = shares * len(films) - overall
        part = int(np.lexsort((-short, -np.round(lack, 9)))[0])
        part_of[name] = part
        have[part] += sizes[name]
        overall[part] += sizes[name]
    return np.array([part_of[name] for name in patient], dtype=np.int64)


def _refuse_too_few(labels: pd.Series, parts: int) -> None:
    for label in sorted(set().union(*labels)):
        count = sum(label in of for of in labels)
        if count < parts:
            raise CollectionError(
                f"{label} has {count} patients, fewer than the {parts} parts they should go into: "
                "add films of that class, or ask for fewer parts"
            )
