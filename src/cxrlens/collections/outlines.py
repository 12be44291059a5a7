"""What was drawn on films: boxes round findings, and masks of the lungs.

Both are tables beside a collection, with paths relative to their own folder. Boxes: ``image``, ``finding``,
``x0``, ``y0``, ``x1``, ``y1`` as fractions of the film's width and height, a row a box. Lungs: ``image`` and
``mask``, a picture of the film's own proportions, black outside the lungs; a film whose lungs lie in two
pictures has two rows. Other columns are carried along.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.read import read_radiograph
from cxrlens.writing import moved_into_place, refuse_existing

SIDES = ("x0", "y0", "x1", "y1")
PROPORTIONS = 0.02
"""Share by which a mask's proportions may differ from the film's: rounding of small masks."""


@dataclass(frozen=True)
class _Outlines:
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def of(self, images: Sequence[str], origin: str = "the table") -> Self:
        """Keep the rows of some films.

        Raises
        ------
        CollectionError
            If there is none.
        """
        kept = self.table[self.table["image"].isin(list(images))].reset_index(drop=True)
        if kept.empty:
            raise CollectionError(
                f"none of the {len(self)} rows of {origin} is of a film of the collection, the first is of "
                f"{self.table['image'].iloc[0]}: give the table that belongs to it"
            )
        return type(self)(kept)

    def write(self, path: Path, force: bool = False) -> Path:
        """Write as CSV, with paths relative to `path`'s folder.

        Raises
        ------
        OutputError
            If the file exists and `force` is false, or it cannot be written.
        """
        refuse_existing(path, force)
        folder = path.resolve().parent
        paths = {
            column: [os.path.relpath(of, folder) for of in self.table[column]]
            for column in ("image", "mask")
            if column in self.table
        }
        with moved_into_place(path) as draft:
            self.table.assign(**paths).to_csv(draft, index=False)
        return path


@dataclass(frozen=True)
class Boxes(_Outlines):
    """A validated table of boxes.

    Attributes
    ----------
    table
        One row a box: ``image`` (absolute), ``finding``, ``x0``, ``y0``, ``x1``, ``y1`` (float, from the left
        and from the top, in [0, 1]), and any others.
    """


@dataclass(frozen=True)
class Lungs(_Outlines):
    """A validated table of lung masks.

    Attributes
    ----------
    table
        ``image`` and ``mask`` (absolute), and any others; what several masks of a film hold are its lungs.
    """

    def mask(self, row: int, film: tuple[int, int]) -> NDArray[np.bool_]:
        """Read the mask of a row, true inside the lungs, in its own size.

        Parameters
        ----------
        row
            Of `table`.
        film
            Height and width of the film, which the mask must have the proportions of.

        Raises
        ------
        CollectionError
            If the mask cannot be read, is empty, or has other proportions.
        """
        path = str(self.table["mask"].iloc[row])
        try:
            mask = read_radiograph(path) > 127
        except FilmError as error:
            raise CollectionError(f"lung mask that cannot be read: {error}") from error
        own, films = mask.shape[1] / mask.shape[0], film[1] / film[0]
        # A pixel more or less of a small mask is rounding, not another proportion.
        if abs(own / films - 1) > PROPORTIONS + 1 / min(mask.shape):
            raise CollectionError(
                f"the lung mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels, its film "
                f"{self.table['image'].iloc[row]} {film[1]} x {film[0]}: a mask has its film's proportions"
            )
        if not mask.any():
            raise CollectionError(
                f"the lung mask {path} is empty: drop its row, or draw the lungs in white on black"
            )
        return mask


def read_boxes(path: Path) -> Boxes:
    """Read a table of boxes.

    Raises
    ------
    CollectionError
        If it cannot be read, lacks a column, names a film that is not there, or a box has no area or
        reaches out of its film.
    """
    table = _read(path, ("image", *SIDES), "image, finding, x0, y0, x1, y1")
    if "finding" not in table:
        table["finding"] = ""
    table["finding"] = table["finding"].fillna("").astype(str)
    for side in SIDES:
        table[side] = pd.to_numeric(table[side], errors="coerce").astype(float)
    x0, y0, x1, y1 = (table[side].to_numpy() for side in SIDES)
    good = (x0 >= 0) & (y0 >= 0) & (x1 <= 1) & (y1 <= 1) & (x0 < x1) & (y0 < y1)
    if not good.all():
        line = int((~good).argmax())
        values = ", ".join(f"{side} {table[side].iloc[line]:g}" for side in SIDES)
        raise CollectionError(
            f"{path}, row {line + 2}: the box {values} lies outside its film or has no area "
            f"({int((~good).sum())} rows so): sides are fractions of width and height, 0 <= x0 < x1 <= 1"
        )
    return Boxes(table)


def read_lungs(path: Path) -> Lungs:
    """Read a table of lung masks; the masks themselves are read by `Lungs.mask`.

    Raises
    ------
    CollectionError
        If it cannot be read, lacks a column, or a film or mask is not there.
    """
    return Lungs(_read(path, ("image", "mask"), "image, mask"))


def _read(path: Path, columns: Sequence[str], sought: str) -> pd.DataFrame:
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: give a CSV with the columns {sought}")
    try:
        table = pd.read_csv(path, dtype={"image": "string", "mask": "string", "finding": "string"})
    except (ValueError, OSError) as error:
        detail = " ".join(str(error).split())
        raise CollectionError(f"{path} is no table that can be read: {detail}") from error
    for column in columns:
        if column not in table:
            raise CollectionError(
                f"{path} has no column {column!r}, only {', '.join(map(str, table))}: it needs {sought}"
            )
    if table.empty:
        raise CollectionError(f"{path} has no row")
    for column in set(columns) & {"image", "mask"}:
        if table[column].isna().any():
            raise CollectionError(
                f"{path}: {int(table[column].isna().sum())} rows have no {column}"
            )
        folder = path.resolve().parent
        found = [os.path.normpath(os.path.join(folder, of)) for of in table[column]]
        missing = [of for of in dict.fromkeys(found) if not os.path.isfile(of)]
        if missing:
            raise CollectionError(
                f"{path} names {len(missing)} files that are not there ({column}), the first is "
                f"{missing[0]}; paths are relative to the table's own folder"
            )
        table[column] = found
    return table
