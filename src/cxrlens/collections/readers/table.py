"""A table that is nearly a collection already: a CSV or Parquet file, or a folder that holds one."""

from pathlib import Path

from cxrlens.collections.collection import read_collection
from cxrlens.collections.naming import Words
from cxrlens.collections.readers.reading import Reading
from cxrlens.errors import CollectionError

NAMES = ("collection.csv", "films.csv", "labels.csv", "collection.parquet", "films.parquet")


def read_table(path: Path, words: Words | None = None) -> Reading:
    """Read a table with at least a column ``image``, its paths relative to the table.

    Parameters
    ----------
    path
        The table, or a folder that holds one of `NAMES`.
    words
        What its columns and labels mean.

    Raises
    ------
    CollectionError
        If a folder holds none of `NAMES`, or the table breaks a promise of a collection.
    """
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            raise CollectionError(
                f"{path} holds none of {', '.join(NAMES)}: name the table itself, for example {path}/my.csv"
            )
        path = found[0]
    collection = read_collection(path, words)
    left_out = {f"label {label!r}, by --map": n for label, n in collection.left_out.items()}
    return Reading(collection.films, left_out, collection.missing)
