"""The common ground of readers: a set as it was found, where it lies, its tables, ages and boxes."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.collections.outlines import SIDES
from cxrlens.collections.tables import read_text_table
from cxrlens.errors import CollectionError
from cxrlens.radiographs.read import find_films

OLDEST = 120.0
"""Years above which an age is a slip of the pen: NIH's first table has patients of 411."""

_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_AGE = re.compile(r"(\d{1,3})\s*([ymwd]?)", re.IGNORECASE)


def years(text: str) -> float:
    """Read the first age in a text: "058Y", "016M", "64days", "45yrs", "Patient's Age: 027Y", "58".

    Parameters
    ----------
    text
        A DICOM age string (PS3.5, AS: three digits and D, W, M or Y), a plain number, or a number
        with its unit spelled out.

    Returns
    -------
    float
        Years, a number without a unit counting as years; NaN where there is none from 0 to `OLDEST`.
    """
    found = _AGE.search(text)
    if not found:
        return math.nan
    age = int(found[1]) * _YEARS[found[2].lower() or "y"]
    return age if age <= OLDEST else math.nan


DEPTH = 2
"""Folders between the one that is named and the set: archives often unpack into one or two."""


@dataclass(frozen=True)
class Reading:
    """A set as one reader found it.

    Attributes
    ----------
    films
        One row a film, ``image`` an absolute path, the other columns as in
        `cxrlens.collections.collection.COLUMNS`, and what else the set tells.
    left_out
        Films of the set that are not in the table: how many, by the reason.
    missing
        Path and sentence of films that the set names and that are not there.
    boxes
        What radiologists drew on the films, a row a box; see `cxrlens.collections.outlines`. None where the
        set has none.
    lungs
        Masks of the lungs, a row a film, likewise.
    """

    films: pd.DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    boxes: pd.DataFrame | None = None
    lungs: pd.DataFrame | None = None


def set_within(
    folder: Path, names: Iterable[str], sought: str, found: Callable[[Iterable[bool]], bool] = all
) -> Path:
    """Find where a set lies: in the folder that is named, or up to `DEPTH` folders below it.

    Parameters
    ----------
    folder
        What the user named.
    names
        Files or folders of the set, all of which must be there, or `found` (``any``).
    sought
        What was looked for, for the message.

    Returns
    -------
    Path
        Absolute, links followed.

    Raises
    ------
    CollectionError
        If no folder is it, or two at the same depth are.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        sets = [path for path in level if found((path / name).exists() for name in names)]
        if len(sets) > 1:
            raise CollectionError(
                f"{folder} holds the set twice, in {sets[0].name} and {sets[1].name}: name one of them"
            )
        if sets:
            return sets[0].resolve()
        level = [below for path in level for below in _folders(path)]
    raise CollectionError(
        f"{folder} does not hold the set as it is published: looked for {sought}, there and "
        f"up to {DEPTH} folders below"
    )


def table_of(rows: list[dict[str, object]], folder: Path, why_empty: str) -> pd.DataFrame:
    """Make a table of at least one film.

    Raises
    ------
    CollectionError
        If there is none.
    """
    if not rows:
        raise CollectionError(f"{folder} holds no film to collect: {why_empty}")
    return pd.DataFrame(rows)


def rows_by_class(root: Path, classes: Mapping[str, str], source: str) -> list[dict[str, object]]:
    """List the films of a set with a folder a class, whose patients are not told apart.

    Every film counts as a patient of its own, named after its file.

    Parameters
    ----------
    root
        The folder that holds the classes' folders.
    classes
        Folder names, and the label that each means.
    source
        The set's name.

    Raises
    ------
    CollectionError
        If a class holds no film.
    """
    rows: list[dict[str, object]] = []
    for name, label in classes.items():
        films = find_films([root / name])
        if not films:
            raise CollectionError(f"{root / name} holds no film")
        rows += [
            {
                "image": str(film),
                "label": label,
                "patient": f"{source}-{film.stem}",
                "source": source,
            }
            for film in films
        ]
    return rows


def read_published_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV of a public set as text, and see that it has the columns of its description.

    Raises
    ------
    CollectionError
        If it cannot be read or a column is missing.
    """
    table = read_text_table(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise CollectionError(
            f"{path} has no column {missing[0]!r}, only {', '.join(table.columns)}: "
            "is it the set's own table?"
        )
    return table


def published_parts(folder: Path, lists: Mapping[str, str]) -> dict[str, str]:
    """Map the films of a set's own lists to the part that each list stands for.

    A film is named as the list does, by its last folder and its name: "00000013_005.png", "tb/tb0001.png".
    """
    return {
        "/".join(Path(line.split()[0]).parts[-2:]): part
        for name, part in lists.items()
        if (folder / name).is_file()
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
        if line.strip()
    }


def cut_boxes(rows: list[tuple[str, str, float, float, float, float]]) -> pd.DataFrame | None:
    """Make a table of boxes, cut off at the film's edge; None of no box.

    Parameters
    ----------
    rows
        Image, finding, and left, top, width, height as fractions of the film.
    """
    boxes = [
        (image, finding, *np.clip([x, y, x + width, y + height], 0, 1).tolist())
        for image, finding, x, y, width, height in rows
    ]
    return pd.DataFrame(boxes, columns=["image", "finding", *SIDES]) if boxes else None


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith((".", "__MACOSX"))]
