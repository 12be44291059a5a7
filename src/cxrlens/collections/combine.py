"""Collections put together and taken apart: several as one, and one into splits and folds by patient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import (
    Boxes,
    Collection,
    Lungs,
    beside,
    collection_from,
    read_boxes,
    read_collection,
    read_lungs,
)
from cxrlens.collections.same_films import Same, people, same_bytes
from cxrlens.collections.tables import persons
from cxrlens.errors import CollectionError
from cxrlens.radiographs.grey import Floats

Drawn = TypeVar("Drawn", Boxes, Lungs)

OVERLAPS = {
    frozenset({"nih", "rsna"}): "the films of rsna are a part of nih",
    frozenset({"nih", "qatar"}): "most normal films of qatar come from rsna, and so from nih",
    frozenset({"rsna", "qatar"}): "most normal films of qatar come from rsna",
    frozenset({"montgomery", "qatar"}): "qatar holds films of montgomery",
    frozenset({"shenzhen", "qatar"}): "qatar holds films of shenzhen",
}
"""Public sets that share films under other names and sizes; docs/datasets.md says how that is known."""


class Merged(NamedTuple):
    """Several collections as one.

    Attributes
    ----------
    collection
        All films, table after table.
    notes
        What a user should know before splitting it, a sentence each.
    boxes, lungs
        What the tables beside the collections say was drawn on the films; None where there are none.
    """

    collection: Collection
    notes: tuple[str, ...]
    boxes: Boxes | None = None
    lungs: Lungs | None = None


def merge(paths: Sequence[str | Path]) -> Merged:
    """Merge collections.

    Columns that only some tables have are empty for the others' films. Films without a ``source`` get
    their table's name as one. Where some tables know patients, a film without one becomes a patient
    of its own. Boxes and lung masks that lie beside the tables come along.

    Parameters
    ----------
    paths
        At least two collections, CSV or Parquet.

    Raises
    ------
    CollectionError
        If a table breaks a promise of a collection; if one patient occurs in two tables under two
        sources, since those may be two people; if one film occurs in two tables, by its path or by its
        bytes; if the merged table breaks a promise.

    Examples
    --------
    >>> films = read_collection("films.csv")
    >>> here = films.films["patient"] < "H00020"
    >>> paths = [films.of(films.films[here]).write(Path("a.csv"))]
    >>> paths += [films.of(films.films[~here]).write(Path("b.csv"))]
    >>> merge(paths).collection.counts() == films.counts()
    True
    """
    if len(paths) < 2:
        raise CollectionError("merging needs at least two collections")
    collections = [read_collection(path) for path in paths]
    tables = [_sourced(of, Path(path)) for of, path in zip(collections, paths, strict=True)]
    films = pd.concat(tables, ignore_index=True)
    table = pd.Series([str(path) for path, of in zip(paths, tables, strict=True) for _ in of.index])
    if "patient" in films:
        _refuse_clashing_patients(films, table)
        films["patient"] = films["patient"].fillna(_new_patients(films))
    _refuse_repeated_films(films["image"], table)
    origin = " + ".join(Path(path).name for path in paths)
    missing = {image: why for of in collections for image, why in of.missing.items()}
    merged = replace(collection_from(films, Path.cwd(), origin), missing=missing)
    boxes, lungs = _drawn(paths, "boxes", read_boxes), _drawn(paths, "lungs", read_lungs)
    return Merged(merged, tuple(_notes(films)), boxes, lungs)


def _drawn(paths: Sequence[str | Path], kind: str, read: Callable[[Path], Drawn]) -> Drawn | None:
    found = [read(of) for path in paths if (of := beside(Path(path), kind)).is_file()]
    if not found:
        return None
    return type(found[0])(pd.concat([one.table for one in found], ignore_index=True))


def _sourced(collection: Collection, path: Path) -> pd.DataFrame:
    films = collection.films
    source = films["source"] if "source" in films else pd.Series(pd.NA, films.index, "string")
    return films.assign(source=source.fillna(path.stem))


def _film_names(films: pd.DataFrame) -> pd.Series:
    """Name films by file, and where two of one source have the same name, by number too."""
    names = films["image"].map(lambda image: Path(image).stem).astype("string")
    repeats = names.groupby([films["source"], names]).cumcount()
    return names.where(repeats == 0, names + "#" + (repeats + 1).astype("string"))


def _new_patients(films: pd.DataFrame) -> pd.Series:
    """Name a patient for each film that has none, as nobody else is called."""
    wanted = (films["source"] + "-" + _film_names(films))[films["patient"].isna()]
    names, known, number = wanted, persons(films["patient"]).dropna(), 1
    while (taken := persons(names).isin(known) | persons(names).duplicated()).any():
        number += 1
        names = names.mask(taken, wanted + f"#{number}")
    return names


def _refuse_clashing_patients(films: pd.DataFrame, table: pd.Series) -> None:
    known = films.assign(table=table).dropna(subset="patient")
    of_one = known.groupby(persons(known["patient"]))
    places = of_one[["source", "table"]].nunique()
    clashing = places.index[(places["source"] > 1) & (places["table"] > 1)]
    if len(clashing):
        first = of_one.get_group(clashing[0])
        sources = sorted(set(first["source"]))
        raise CollectionError(
            f"{len(clashing)} patients occur in two tables under two sources, for example "
            f"{first['patient'].iloc[0]!r} under {' and '.join(sources)}: if they are different people, put "
            "the source before their ids in one table; if they are the same, their films would be "
            "counted twice, so merge only one of the sources"
        )


def _refuse_repeated_films(images: pd.Series, table: pd.Series) -> None:
    """Refuse a path in two tables, and files of two tables that hold the same bytes."""
    repeated = images[images.duplicated()]
    if len(repeated):
        raise CollectionError(
            f"{len(repeated)} films are in two tables, the first is {repeated.iloc[0]}: "
            "each film may stand in one only"
        )
    same = same_bytes(images.tolist())
    for position, first in enumerate(same):
        if table[first] != table[position]:
            raise CollectionError(
                f"{images[first]} (in {table[first]}) and {images[position]} (in "
                f"{table[position]}) are the same film: drop one of them, or one of the tables"
            )


def _notes(films: pd.DataFrame) -> list[str]:
    sources = set(films["source"])
    notes = [
        f"{' and '.join(sorted(pair))} share films: {why}; train and test on one of them"
        for pair, why in OVERLAPS.items()
        if pair <= sources
    ]
    if "split" in films and films["split"].isna().any():
        notes.append(
            f"{int(films['split'].isna().sum())} films have no split: run cxrlens split on the merged table"
        )
    return notes


STEADY = 3
"""Patients of a stratum that its smallest part should get, from which on rounding does little."""

FEW = 3
"""Strata of a class whose rounding, a patient in each, does little to the class as a whole."""

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

    Examples
    --------
    >>> films = split(read_collection("films.csv"))
    >>> films.films["split"].value_counts().to_dict()
    {'train': 32, 'test': 9, 'validation': 7}
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

    Examples
    --------
    >>> films = fold(read_collection("films.csv"), folds=3)
    >>> sorted(films.films["fold"].unique().tolist())
    [0, 1, 2]
    """
    collection.need("label")
    films = collection.films
    learnt = ("train", "validation")
    dealt = films["split"].isin(learnt) if "split" in films else films["image"].notna()
    inner = None if same is None else same[dealt.to_numpy(bool)]
    parts = _deal(films[dealt], np.full(folds, 1 / folds), seed, inner)
    column = pd.Series(pd.NA, index=films.index, dtype="Int64")
    column[dealt] = parts
    return collection.of(films.assign(fold=column))


def _deal(films: pd.DataFrame, shares: Floats, seed: int, same: Same | None) -> NDArray[np.int64]:
    patient = people(films, same_bytes(films["image"].tolist()) if same is None else same)
    source = films["source"].fillna("") if "source" in films else pd.Series("", index=films.index)
    named = films["label"].astype(str)
    classes = named.groupby(patient).agg(_all_of)
    strata = (named + "/" + source).groupby(patient).agg(_all_of)
    patients = patient.groupby(films["label"]).nunique()
    if (patients < len(shares)).any():
        label = patients.index[patients < len(shares)][0]
        raise CollectionError(
            f"{label} has {patients[label]} patients, fewer than the {len(shares)} parts they should go "
            "into: add films of that class, or ask for fewer parts"
        )
    sizes = patient.value_counts()
    # Sorted first, so that the deal does not depend on the order in which films are listed.
    order = np.array(sorted(strata.index))
    np.random.default_rng(seed).shuffle(order)
    order = order[np.argsort(-sizes[order].to_numpy(), kind="stable")]
    of_stratum, of_class = _Dealt(strata, sizes, shares), _Dealt(classes, sizes, shares)
    few = classes.map(strata.groupby(classes).nunique()) <= FEW
    steady = few | (shares.min() * strata.map(strata.value_counts()) >= STEADY)
    left = patients.to_dict()
    seen = {name: np.zeros(len(shares), bool) for name in left}
    overall = np.zeros(len(shares))
    part_of: dict[str, int] = {}

    def give(name: str, lack: Floats) -> None:
        labels = classes[name].split("+")
        bare = np.zeros(len(shares))
        for of in labels:
            if left[of] <= (~seen[of]).sum():
                bare += ~seen[of]  # or a part would get no patient of the class
        # Where that leaves it undecided, the part that lacks most films overall takes it.
        short = shares * len(films) - overall
        part = int(np.lexsort((-short, -np.round(lack, 9), -bare))[0])
        part_of[name] = part
        of_stratum.give(name, part)
        of_class.give(name, part)
        overall[part] += sizes[name]
        for of in labels:
            left[of] -= 1
            seen[of][part] = True

    # Where no part lacks a whole patient, rounding would favour the same part in every small stratum: such
    # patients wait, and go where their class lacks most.
    waiting = []
    for name in order:
        lack = of_stratum.lack(name)
        if steady[name] or lack.max() >= sizes[name]:
            give(name, lack)
        else:
            waiting.append(name)
    for name in waiting:
        give(name, of_class.lack(name))
    return np.array([part_of[name] for name in patient], dtype=np.int64)


def _all_of(words: pd.Series) -> str:
    return "+".join(sorted(set(words)))


class _Dealt:
    """What each part got of every group of patients, in films."""

    def __init__(self, groups: pd.Series, sizes: pd.Series, shares: Floats) -> None:
        self.groups = groups.to_dict()
        self.sizes = sizes.to_dict()
        totals = sizes.groupby(groups).sum()
        self.lacks: dict[str, Floats] = {str(of): shares * total for of, total in totals.items()}

    def lack(self, patient: str) -> Floats:
        """Return how many films of the patient's group each part should still get."""
        return self.lacks[self.groups[patient]]

    def give(self, patient: str, part: int) -> None:
        self.lacks[self.groups[patient]][part] -= self.sizes[patient]
