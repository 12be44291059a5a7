"""One reader a layout: from a folder as it lies on a user's disk to a collection."""

import difflib
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cxrlens.collections.collection import Collection, collection_from
from cxrlens.collections.readers.folders import read_folders
from cxrlens.collections.readers.report import read_report
from cxrlens.collections.readers.table import read_table
from cxrlens.errors import CollectionError

Reader = Callable[[Path], pd.DataFrame]

LAYOUTS: dict[str, Reader] = {"csv": read_table, "folders": read_folders, "report": read_report}
"""Layouts by the name that a user types; each reader returns a table with absolute image paths."""


def collect(layout: str, folder: Path) -> Collection:
    """Read a folder that lies in a known layout.

    Parameters
    ----------
    layout
        A key of `LAYOUTS`.
    folder
        Where the set lies.

    Raises
    ------
    CollectionError
        If the layout is unknown, the folder is not there, or it does not lie in that layout.
    """
    if layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise CollectionError(f"unknown layout {layout!r}; {hint}known are {', '.join(LAYOUTS)}")
    if not folder.exists():
        raise CollectionError(f"there is no folder {folder}")
    return collection_from(LAYOUTS[layout](folder), folder.resolve(), str(folder))
