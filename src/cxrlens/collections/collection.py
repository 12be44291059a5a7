"""A collection: a table that says which radiographs, whose, labelled what; and what is drawn on them.

The columns are a promise to users (see `COLUMNS`): only ``image`` is always there, and columns that
we do not know are carried along.

Drawings are tables beside it, with paths relative to their own folder. Boxes: ``image``, ``finding``,
``x0``, ``y0``, ``x1``, ``y1`` as fractions of the film's width and height, a row a box. Lungs: ``image`` and
``mask``, a picture of the film's own proportions, black outside the lungs; a film whose lungs lie in two
pictures has two rows. Other columns are carried along.
"""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.tables import COLUMNS as COLUMNS
from cxrlens.collections.tables import LABELS as LABELS
from cxrlens.collections.tables import OUTSIDE as OUTSIDE
from cxrlens.collections.tables import SPLITS as SPLITS
from cxrlens.collections.tables import (
    Words,
    as_html,
    as_text,
    folded,
    named,
    nearly,
    persons,
    read_text_table,
    said,
    unknown,
)
from cxrlens.errors import CollectionError, FilmError, need
from cxrlens.files import moved_into_place, refuse_existing
from cxrlens.radiographs.grey import Mask
from cxrlens.radiographs.integrity import OLDEST
from cxrlens.radiographs.read import read_radiograph

_NO_NUMBER = {"na", "n/a", "nan", "null", "none", "<na>", "#n/a", "nil", "-", "?", "."}
"""Words that programs write where a number is missing."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Collection:
    """A validated table of films.

    Attributes
    ----------
    films
        One row a film, with those of `COLUMNS` that are known and any others. ``image`` is an
        absolute path here; text columns are strings, ``age`` is float, ``fold`` a nullable integer.
    missing
        Path and sentence of each film that the table names and that is not there; none of them is in
        `films`.
    left_out
        Films that the user said to leave out, by the label that they have.
    """

    films: pd.DataFrame
    missing: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        said = f"{len(self)} films"
        if counts := self.counts():
            said += f" ({', '.join(f'{count} {label}' for label, count in counts.items())})"
        if "patient" in self.films:
            said += f" of {persons(self.films['patient']).nunique()} patients"
        if "split" in self.films:
            shares = self.films["split"].value_counts()
            said += f"; {', '.join(f'{shares[name]} {name}' for name in SPLITS if name in shares)}"
        lost = f"; {len(self.missing)} are not there" if self.missing else ""
        return f"<Collection: {said}{lost}>"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self.films.head())

    def of(self, films: pd.DataFrame) -> "Collection":
        """Return a collection of other rows, or other columns, that lacks the same films."""
        return replace(self, films=films)

    def __len__(self) -> int:
        return len(self.films)

    def counts(self) -> dict[str, int]:
        """Films by label, in the order of `LABELS`; empty without labels."""
        if "label" not in self.films:
            return {}
        counts = self.films["label"].value_counts()
        return {label: int(counts[label]) for label in LABELS if label in counts}

    def split(self, name: str) -> pd.DataFrame:
        """Rows of one split, in the table's order."""
        return self.films[self.films["split"] == name].reset_index(drop=True)

    def need(self, *columns: str) -> None:
        """Raise `CollectionError` unless every film has a value in each of `columns`."""
        for column in columns:
            if column not in self.films:
                there = ", ".join(map(str, self.films))
                near = nearly(column, self.films, maybe=True)
                offer = (
                    f"; did you mean {near!r}? {said('TABLE', f'{column}={near}')}" if near else ""
                )
                raise CollectionError(
                    f"the collection has no column {column!r}, only {there}; "
                    f"add it to the table ({COLUMNS.get(column, 'one value a film')}){offer}"
                )
            empty = self.films[column].isna()
            if empty.any():
                raise CollectionError(
                    f"{int(empty.sum())} films have no {column}, the first is "
                    f"{self.films.loc[empty, 'image'].iloc[0]}: fill the column or drop those rows"
                )

    def write(self, path: Path, force: bool = False, private: bool = False) -> Path:
        """Write as CSV, or as Parquet if `path` ends so, with paths relative to `path`'s folder.

        With `private` only the owner may read it.

        Raises
        ------
        OutputError
            If the file exists and `force` is false, or it cannot be written.
        """
        refuse_existing(path, force)
        parquet = path.suffix == ".parquet"
        if parquet:
            need("parquet", what=f"{path}, a Parquet file,")
        folder = path.resolve().parent
        table = self.films.assign(
            image=[os.path.relpath(image, folder) for image in self.films["image"]]
        )
        with moved_into_place(path, private) as draft:
            if parquet:
                table.to_parquet(draft, index=False)
            else:
                table.to_csv(draft, index=False)
        return path


def collection_from(
    films: pd.DataFrame,
    folder: Path,
    origin: str,
    words: Words | None = None,
    missing_too: bool = False,
    shared_too: bool = False,
) -> Collection:
    """Validate a table whose image paths are relative to `folder`.

    Parameters
    ----------
    films
        At least a column ``image``.
    folder
        What relative paths start from.
    origin
        The table's name in messages.
    words
        What the user says that its columns and labels mean.
    missing_too
        Keep the rows of films that are not there, as a run's own table of what it learnt from does.
    shared_too
        Let patients stand in two splits: an audit is there to report them.

    Raises
    ------
    CollectionError
        If a promise is broken: a column missing or only nearly there, an unknown label or split, no
        image there at all, an image listed twice, a patient in two splits.
    """
    words = words or Words()
    films = named(films.reset_index(drop=True), words, origin).copy()
    if "image" not in films:
        raise CollectionError(
            f"{origin} has no column 'image', only {', '.join(map(str, films.columns)) or 'nothing'}; "
            "name the column with the files' paths so"
        )
    if films.empty:
        raise CollectionError(f"{origin} lists no film")
    if films["image"].isna().any():
        raise CollectionError(f"{origin}: {int(films['image'].isna().sum())} rows have no image")
    for column in films.columns.intersection([*COLUMNS]).difference(["image", "age", "fold"]):
        films[column] = as_text(films[column])
    films, left_out = _in_our_words(films, words, origin)
    for column in films.columns.intersection(["age", "fold"]):
        films[column] = _numbers(films, column, origin)
    films["image"] = _resolved(films["image"].astype(str), folder)
    there = films["image"].map(os.path.isfile).to_numpy(bool)
    missing = {
        image: f"{image} is not there ({origin} names it)" for image in films["image"][~there]
    }
    if not (missing_too or there.any()):
        raise CollectionError(
            f"{origin}: {len(missing)} of {len(films)} images are not there, the first is "
            f"{next(iter(missing))}; paths are relative to the table's own folder"
        )
    if not missing_too:
        films = films[there].reset_index(drop=True)
    repeated = films["image"][films["image"].duplicated()]
    if len(repeated):
        raise CollectionError(
            f"{origin} lists {len(repeated)} images more than once, the first is {repeated.iloc[0]}"
        )
    if "patient" in films and not shared_too:
        _refuse_shared_patients(films, origin)
    return Collection(films, missing, left_out)


def read_collection(
    path: str | Path,
    words: Words | None = None,
    missing_too: bool = False,
    shared_too: bool = False,
) -> Collection:
    """Read a collection from a CSV or Parquet file.

    Every column but ``age`` and ``fold`` is text, as it stands in the table; an empty field is missing.

    Parameters
    ----------
    path
        The table; see `cxrlens.collections.tables.read_text_table` for what may be in it.
    words, missing_too, shared_too
        See `collection_from`.

    Raises
    ------
    CollectionError
        If the file cannot be read or breaks a promise; see `collection_from`.

    Examples
    --------
    >>> films = read_collection("films.csv")
    >>> films.counts()
    {'normal': 19, 'pneumonia': 15, 'tuberculosis': 14}
    """
    path = Path(path)
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: cxrlens collect makes one from a folder")
    folder = path.resolve().parent
    table = read_text_table(path)
    return collection_from(table, folder, str(path), words, missing_too, shared_too)


def _in_our_words(
    films: pd.DataFrame, words: Words, origin: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Write labels and splits in our words; leave out films of the labels that the user does not want."""
    left_out: dict[str, int] = {}
    used = set()
    kept = pd.Series(True, index=films.index)
    for column, allowed in (("label", LABELS), ("split", SPLITS)):
        if column not in films:
            continue
        meant = {
            word: ours
            for word, ours in words.values.items()
            if ours in allowed or (column == "label" and not ours)
        }
        keys = films[column].map(folded, na_action="ignore").astype("string")
        used |= set(meant) & set(keys.dropna())
        unwanted = keys.isin([word for word, ours in meant.items() if not ours])
        left_out |= {
            str(word): int(n) for word, n in films[column][unwanted].value_counts().items()
        }
        kept &= ~unwanted
        films[column] = films[column].mask(keys.isin([*meant]), keys.map(meant))
        if sentence := unknown(films[column][~unwanted], allowed, origin):
            raise CollectionError(sentence)
        films[column] = films[column].map(folded, na_action="ignore").astype("string")
    for word in words.values:
        if word not in used:
            raise CollectionError(f"{origin} has no label or split {word!r}: correct --map")
    films = films[kept].reset_index(drop=True)
    if films.empty:
        raise CollectionError(f"{origin}: --map leaves every film out")
    return films, left_out


def _numbers(films: pd.DataFrame, column: str, origin: str) -> pd.Series:
    text = films[column].astype("string").str.strip()
    text = text.mask(text.str.lower().isin(_NO_NUMBER))
    if column == "age" and (coded := text.str.fullmatch("[0-9]{3}[DWMYdwmy]").fillna(False)).any():
        # DICOM's age strings; pydicom takes a while to load, and most tables have none.
        from cxrlens.radiographs.dicom import years

        text = text.mask(coded, text[coded].map(lambda age: str(years(age))))
    # A German or French spreadsheet writes 45,5.
    values = pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce")
    wrong = values.isna() & text.notna()
    wrong |= values.notna() & ~values.abs().lt(float("inf"))
    if column == "fold":
        wrong |= values.notna() & ((values < 0) | (values % 1 != 0))
    else:
        wrong |= values.notna() & ~values.between(0, OLDEST)
    if wrong.any():
        raise CollectionError(
            f"{origin}, row {int(wrong.to_numpy(bool).argmax()) + 2}: {column} "
            f"{films.loc[wrong, column].iloc[0]!r} is no number that can be one: correct it, or leave the "
            "field empty where it is not known"
        )
    return values.astype("Int64") if column == "fold" else values.astype(float)


def _resolved(images: pd.Series, folder: Path) -> list[str]:
    """Find where films lie; what a table from Windows says is read where it is no path of this machine."""
    paths = [_as_spelt_here(folder, image) for image in images]
    foreign = {
        place: image.replace("\\", "/")
        for place, (image, path) in enumerate(zip(images, paths, strict=True))
        if ("\\" in image or _DRIVE.match(image)) and not os.path.isfile(path)
    }
    root = _root(list(foreign.values()), folder)
    for place, image in foreign.items():
        image = image.removeprefix(root) if root else image
        if not _rooted(image):
            image = _DRIVE.sub("", image)
        paths[place] = os.path.normpath(os.path.join(folder, image))
    return paths


def _as_spelt_here(folder: Path, image: str) -> str:
    """Join a path; a letter with an accent may be one sign in the table and two on disk, or the reverse."""
    path = os.path.normpath(os.path.join(folder, image))
    if image.isascii() or os.path.isfile(path):
        return path
    for form in ("NFC", "NFD"):
        other = os.path.normpath(os.path.join(folder, unicodedata.normalize(form, image)))
        if os.path.isfile(other):
            return other
    return path


def _root(images: list[str], folder: Path) -> str:
    """Find the folder of another machine that is the table's own here: the first whose films are here."""
    for image in images:
        parts = image.split("/")
        for count in range(1, len(parts) if _rooted(image) else 0):
            if (folder / Path(*parts[count:])).is_file():
                return "/".join(parts[:count]) + "/"
    return ""


def _rooted(image: str) -> bool:
    return bool(_DRIVE.match(image) and image[2:3] == "/") or image.startswith("//")


def _refuse_shared_patients(films: pd.DataFrame, origin: str) -> None:
    for column in films.columns.intersection(["split", "fold"]):
        shared = shared_patients(films, column)
        if shared:
            raise CollectionError(
                f"{origin}: {len(shared)} patients stand in more than one {column}, for example "
                f"{shared[0]!r}: cxrlens split makes splits by patient"
            )


def shared_patients(films: pd.DataFrame, column: str) -> list[str]:
    """Name patients whose films stand in more than one part of a column, as first written; see `persons`."""
    known = films.dropna(subset=["patient", column])
    places = known.groupby(persons(known["patient"]))
    return [str(name) for name in places["patient"].first()[places[column].nunique() > 1]]


def patient_codes(table: pd.DataFrame) -> NDArray[np.intp]:
    """Return a number from 0 for each film's patient, shape (films,); same person, same number.

    A film without a patient, or a table without that column, counts as a patient of its own.
    """
    if "patient" not in table:
        return np.arange(len(table))
    codes, names = pd.factorize(persons(table["patient"]))
    unknown = codes < 0
    codes[unknown] = len(names) + np.arange(unknown.sum())
    return codes.astype(np.intp)


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
    table = _read_drawings(path, ("image", *SIDES), "image, finding, x0, y0, x1, y1")
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
    return Lungs(_read_drawings(path, ("image", "mask"), "image, mask"))


def _read_drawings(path: Path, columns: Sequence[str], sought: str) -> pd.DataFrame:
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: give a CSV with the columns {sought}")
    table = read_text_table(path, columns, f"it needs {sought}")
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
