"""Several collections as one, each film still knowing where it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cxrlens.collections.collection import Collection, collection_from, read_collection
from cxrlens.collections.outlines import Boxes, Lungs, beside, read_boxes, read_lungs
from cxrlens.collections.same_films import same_bytes
from cxrlens.errors import CollectionError

OVERLAPS = {
    frozenset({"nih", "rsna"}): "the films of rsna are a part of nih",
    frozenset({"nih", "qatar"}): "most normal films of qatar come from rsna, and so from nih",
    frozenset({"rsna", "qatar"}): "most normal films of qatar come from rsna",
    frozenset({"montgomery", "qatar"}): "qatar holds films of montgomery",
    frozenset({"shenzhen", "qatar"}): "qatar holds films of shenzhen",
}
"""Public sets that share films under other names and sizes; docs/datasets.md says how that is known."""


@dataclass(frozen=True)
class Merged:
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
    """
    if len(paths) < 2:
        raise CollectionError("merging needs at least two collections")
    collections = [read_collection(path) for path in paths]
    tables = [_sourced(of, Path(path)) for of, path in zip(collections, paths, strict=True)]
    films = pd.concat(tables, ignore_index=True)
    table = pd.Series([str(path) for path, of in zip(paths, tables, strict=True) for _ in of.index])
    if "patient" in films:
        _refuse_clashing_patients(films, table)
        films["patient"] = films["patient"].fillna(films["source"] + "-" + _film_names(films))
    _refuse_repeated_films(films["image"], table)
    origin = " + ".join(Path(path).name for path in paths)
    missing = {image: why for of in collections for image, why in of.missing.items()}
    merged = replace(collection_from(films, Path.cwd(), origin), missing=missing)
    boxes = [
        read_boxes(of).table for path in paths if (of := beside(Path(path), "boxes")).is_file()
    ]
    lungs = [
        read_lungs(of).table for path in paths if (of := beside(Path(path), "lungs")).is_file()
    ]
    return Merged(
        merged,
        tuple(_notes(films)),
        Boxes(pd.concat(boxes, ignore_index=True)) if boxes else None,
        Lungs(pd.concat(lungs, ignore_index=True)) if lungs else None,
    )


def _sourced(collection: Collection, path: Path) -> pd.DataFrame:
    films = collection.films
    source = films["source"] if "source" in films else pd.Series(pd.NA, films.index, "string")
    return films.assign(source=source.fillna(path.stem))


def _film_names(films: pd.DataFrame) -> pd.Series:
    """Name films by file, and where two of one source have the same name, by number too."""
    names = films["image"].map(lambda image: Path(image).stem).astype("string")
    repeats = names.groupby([films["source"], names]).cumcount()
    return names.where(repeats == 0, names + "#" + (repeats + 1).astype("string"))


def _refuse_clashing_patients(films: pd.DataFrame, table: pd.Series) -> None:
    known = films.assign(table=table).dropna(subset="patient").groupby("patient")
    places = known[["source", "table"]].nunique()
    clashing = places.index[(places["source"] > 1) & (places["table"] > 1)]
    if len(clashing):
        sources = sorted(set(known.get_group(clashing[0])["source"]))
        raise CollectionError(
            f"{len(clashing)} patients occur in two tables under two sources, for example "
            f"{clashing[0]!r} under {' and '.join(sources)}: if they are different people, put the "
            "source before their ids in one table; if they are the same, their films would be "
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
