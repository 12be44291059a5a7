"""A table that is nearly a collection already: a CSV or Parquet file, or a folder that holds one."""

from pathlib import Path

import pandas as pd

from cxrlens.collections.collection import read_collection
from cxrlens.errors import CollectionError

NAMES = ("collection.csv", "films.csv", "labels.csv", "collection.parquet", "films.parquet")


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with at least a column ``image``, its paths relative to the table.

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
    return read_collection(path).films
