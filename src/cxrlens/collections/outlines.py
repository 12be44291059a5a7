"""Drawings on films: boxes round findings, and masks of the lungs.

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

import pandas as pd

from cxrlens.collections.collection import Collection
from cxrlens.collections.tables import read_text_table
from cxrlens.errors import CollectionError, FilmError
from cxrlens.files import moved_into_place, refuse_existing
from cxrlens.radiographs.grey import Mask
from cxrlens.radiographs.read import read_radiograph

SIDES = ("x0", "y0", "x1", "y1")
PROPORTIONS = 0.02
"""Share by which a mask's proportions may differ from the film's: rounding of small masks."""


@dataclass(frozen=True)
class _Outlines:
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def of(self, collection: Collection, origin: str) -> Self:
        """Keep the rows of a collection's films; rows of other films that are there are passed over.

        Raises
        ------
        CollectionError
            If a film is unknown, neither in the collection nor on disk, if no row is of the collection, or
            a mask is not there.
        """
        images = self.table["image"]
        ours = images.isin([*collection.films["image"], *collection.missing])
        unknown = [image for image in images[~ours].unique() if not os.path.isfile(image)]
        if unknown:
            raise CollectionError(
                f"{origin} names {len(unknown)} films that are neither in the collection nor on disk, the "
                f"first is {unknown[0]}; paths are relative to the table's own folder"
            )
        kept = self.table[ours].reset_index(drop=True)
        if kept.empty:
            raise CollectionError(
                f"none of the {len(self)} rows of {origin} is of a film of the collection, the first is of "
                f"{images.iloc[0]}: give the table that belongs to it"
            )
        masks = [mask for mask in kept.get("mask", []) if not os.path.isfile(mask)]
        if masks:
            raise CollectionError(
                f"{origin} names {len(masks)} masks that are not there, the first is {masks[0]}; "
                "paths are relative to the table's own folder"
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

    def mask(self, row: int, film: tuple[int, int]) -> Mask:
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


def beside(collection: Path, kind: str) -> Path:
    """Return where the boxes or the lungs of a collection's file lie, if it has any: ``FILE-boxes.csv``."""
    return collection.with_name(f"{collection.stem}-{kind}.csv")


def read_boxes(path: Path) -> Boxes:
    """Read a table of boxes.

    Raises
    ------
    CollectionError
        If it cannot be read, lacks a column, or a box has no area or reaches out of its film.
    """
    table = _read(path, ("image", *SIDES), "image, finding, x0, y0, x1, y1")
    if "finding" not in table:
        table["finding"] = ""
    table["finding"] = table["finding"].fillna("").astype(str)
    for side in SIDES:
        # A German or French spreadsheet writes 0,5.
        text = table[side].astype("string").str.strip().str.replace(",", ".", regex=False)
        table[side] = pd.to_numeric(text, errors="coerce").astype(float)
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
        If it cannot be read or lacks a column.
    """
    return Lungs(_read(path, ("image", "mask"), "image, mask"))


def _read(path: Path, columns: Sequence[str], sought: str) -> pd.DataFrame:
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: give a CSV with the columns {sought}")
    table = read_text_table(path)
    for column in columns:
        if column not in table:
            raise CollectionError(
                f"{path} has no column {column!r}, only {', '.join(map(str, table))}: it needs {sought}"
            )
    if table.empty:
        raise CollectionError(f"{path} has no row")
    folder = path.resolve().parent
    for column in set(columns) & {"image", "mask"}:
        if table[column].isna().any():
            raise CollectionError(
                f"{path}: {int(table[column].isna().sum())} rows have no {column}"
            )
        table[column] = [
            os.path.normpath(os.path.join(folder, str(of).strip())) for of in table[column]
        ]
    return table
