"""A folder a class: ``DIR/normal/...``, ``DIR/pneumonia/...``, ``DIR/tuberculosis/...``."""

from pathlib import Path

import pandas as pd

from cxrlens.errors import CollectionError
from cxrlens.radiographs.read import find_films

NAMES = {
    "normal": "normal",
    "healthy": "normal",
    "pneumonia": "pneumonia",
    "tuberculosis": "tuberculosis",
    "tb": "tuberculosis",
}
"""Folder names in lower case, and the label that each means."""


def read_folders(folder: Path) -> pd.DataFrame:
    """List the films of a folder with one subfolder a class.

    Patients are not known in this layout: every film counts as its own patient until the table gets
    a column ``patient``.

    Raises
    ------
    CollectionError
        If no subfolder is named like a class, or one holds no film.
    """
    classes = {
        path: NAMES[path.name.lower()]
        for path in sorted(folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() and path.name.lower() in NAMES
    }
    if not classes:
        raise CollectionError(
            f"{folder} has no subfolder named like a class: {', '.join(NAMES)} are known"
        )
    rows = []
    for path, label in classes.items():
        films = find_films([path])
        if not films:
            raise CollectionError(f"{path} holds no film")
        rows += [{"image": str(film.resolve()), "label": label} for film in films]
    return pd.DataFrame(rows)
