"""One reader a layout: from a folder as it lies on a user's disk to a collection."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cxrlens.collections.collection import Boxes, Collection, Lungs, collection_from
from cxrlens.collections.readers.folders import (
    Reading,
    read_dicom,
    read_folders,
    read_kermany,
    read_mendeley,
    read_qatar,
    read_report,
    read_table,
)
from cxrlens.collections.readers.published import read_nih, read_nlm, read_rsna, read_tbx11k
from cxrlens.collections.tables import Words
from cxrlens.errors import CollectionError

LAYOUTS: dict[str, Callable[..., Reading]] = {
    "csv": read_table,
    "folders": read_folders,
    "report": read_report,
    "kermany": read_kermany,
    "nih": read_nih,
    "rsna": read_rsna,
    "nlm": read_nlm,
    "tbx11k": read_tbx11k,
    "qatar": read_qatar,
    "mendeley": read_mendeley,
    "dicom": read_dicom,
}
"""Layouts by the name that a user types; each reader returns a table with absolute image paths."""

_WORDED = ("csv", "folders")
"""Layouts whose names are the user's own."""


class Collected(NamedTuple):
    """A set that was read.

    Attributes
    ----------
    collection
        Its films.
    left_out
        Films of the set that are not in the collection: how many, by the reason; none is zero.
    boxes, lungs
        What was drawn on its films; None where the set tells nothing.
    """

    collection: Collection
    left_out: Mapping[str, int]
    boxes: Boxes | None = None
    lungs: Lungs | None = None


def collect(
    layout: str, folder: Path, salt: str | None = None, words: Words | None = None
) -> Collection:
    """Read a folder that lies in a known layout; see `collect_and_count`.

    Examples
    --------
    >>> len(collect("csv", Path("films.csv"))), len(collect("csv", Path()))
    (48, 48)
    """
    return collect_and_count(layout, folder, salt, words).collection


def collect_and_count(
    layout: str, folder: Path, salt: str | None = None, words: Words | None = None
) -> Collected:
    """Read a folder that lies in a known layout, and say what of it was left out.

    Parameters
    ----------
    layout
        A key of `LAYOUTS`.
    folder
        Where the set lies.
    salt
        For layout "dicom" only: key of the hash that stands for a patient, see
        `cxrlens.collections.readers.folders.read_dicom`.
    words
        For layouts "csv" and "folders" only: what columns, labels and names of folders mean.

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
    if words and layout not in _WORDED:
        raise CollectionError(
            f"layout {layout} has names of its own: only {' and '.join(_WORDED)} take --map"
        )
    told = {"dicom": (salt,), **dict.fromkeys(_WORDED, (words,))}.get(layout, ())
    reading = LAYOUTS[layout](folder, *told)
    left_out = {why: count for why, count in reading.left_out.items() if count}
    collection = collection_from(reading.films, folder.resolve(), str(folder))
    return Collected(
        replace(collection, missing=reading.missing),
        left_out,
        None if reading.boxes is None else Boxes(reading.boxes),
        None if reading.lungs is None else Lungs(reading.lungs),
    )
