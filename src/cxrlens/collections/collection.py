"""A collection: a table that says which radiographs, whose, labelled what.

The columns are a promise to users (see `COLUMNS`): only ``image`` is always there, and columns that
we do not know are carried along.
"""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxrlens.errors import CollectionError
from cxrlens.writing import moved_into_place, refuse_existing

LABELS = ("normal", "pneumonia", "tuberculosis")
SPLITS = ("train", "validation", "test")
COLUMNS = {
    "image": "path of the film, relative to the table's own folder",
    "label": "normal, pneumonia or tuberculosis",
    "patient": "who it is; films of one patient never stand in two splits",
    "acquisition": "copies of one exposure share it",
    "source": "where the film comes from",
    "view": "PA, AP, ...",
    "age": "years",
    "sex": "F, M or O",
    "split": "train, validation or test",
    "fold": "0, 1, ... for cross-validation",
}


@dataclass(frozen=True)
class Collection:
    """A validated table of films.

    Attributes
    ----------
    films
        One row a film, with those of `COLUMNS` that are known and any others. ``image`` is an
        absolute path here; text columns are strings, ``age`` is float, ``fold`` a nullable integer.
    """

    films: pd.DataFrame

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
                raise CollectionError(
                    f"the collection has no column {column!r}, only {there}; "
                    f"add it to the table ({COLUMNS.get(column, 'one value a film')})"
                )
            empty = self.films[column].isna()
            if empty.any():
                raise CollectionError(
                    f"{int(empty.sum())} films have no {column}, the first is "
                    f"{self.films.loc[empty, 'image'].iloc[0]}: fill the column or drop those rows"
                )

    def write(self, path: Path, force: bool = False) -> Path:
        """Write as CSV, or as Parquet if `path` ends so, with paths relative to `path`'s folder.

        Raises
        ------
        OutputError
            If the file exists and `force` is false, or it cannot be written.
        """
        refuse_existing(path, force)
        folder = path.resolve().parent
        table = self.films.assign(
            image=[os.path.relpath(image, folder) for image in self.films["image"]]
        )
        with moved_into_place(path) as draft:
            if path.suffix == ".parquet":
                table.to_parquet(draft, index=False)
            else:
                table.to_csv(draft, index=False)
        return path


def collection_from(films: pd.DataFrame, folder: Path, origin: str) -> Collection:
    """Validate a table whose image paths are relative to `folder`.

    Parameters
    ----------
    films
        At least a column ``image``.
    folder
        What relative paths start from.
    origin
        The table's name in messages.

    Raises
    ------
    CollectionError
        If a promise is broken: a column missing, an unknown label or split, an image missing or listed
        twice, a patient in two splits.
    """
    films = films.reset_index(drop=True).copy()
    if "image" not in films:
        raise CollectionError(
            f"{origin} has no column 'image', only {', '.join(map(str, films.columns)) or 'nothing'}; "
            "name the column with the files' paths so"
        )
    if films.empty:
        raise CollectionError(f"{origin} lists no film")
    if films["image"].isna().any():
        raise CollectionError(f"{origin}: {int(films['image'].isna().sum())} rows have no image")
    for column in ("label", "patient", "acquisition", "source", "view", "sex", "split"):
        if column in films:
            films[column] = _text(films[column])
    for column, allowed in (("label", LABELS), ("split", SPLITS)):
        if column in films:
            films[column] = films[column].str.lower()
            _refuse_unknown(films, column, allowed, origin)
    for column in ("age", "fold"):
        if column in films:
            films[column] = _numbers(films, column, origin)
    films["image"] = _resolved(films["image"].astype(str), folder, origin)
    _refuse_shared_patients(films, origin)
    return Collection(films)


def read_collection(path: str | Path) -> Collection:
    """Read a collection from a CSV or Parquet file.

    Raises
    ------
    CollectionError
        If the file cannot be read or breaks a promise; see `collection_from`.
    """
    path = Path(path)
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: cxrlens collect makes one from a folder")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            text = dict.fromkeys(("patient", "acquisition", "source", "label", "image"), "string")
            table = pd.read_csv(path, dtype=text)
    except (ValueError, OSError) as error:
        detail = " ".join(str(error).split())
        raise CollectionError(f"{path} is no table that can be read: {detail}") from error
    return collection_from(table, path.resolve().parent, str(path))


def _refuse_unknown(films: pd.DataFrame, column: str, allowed: Iterable[str], origin: str) -> None:
    wrong = films[column].notna() & ~films[column].isin(list(allowed))
    if wrong.any():
        first = str(films.loc[wrong, column].iloc[0])
        near = difflib.get_close_matches(first, list(allowed), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CollectionError(
            f"{origin}, row {_line(wrong)}: unknown {column} {first!r} ({int(wrong.sum())} rows "
            f"so), allowed are {', '.join(allowed)}{hint}"
        )


def _text(column: pd.Series) -> pd.Series:
    stripped = column.astype("string").str.strip()
    return stripped.mask(stripped == "")


def _line(wrong: pd.Series) -> int:
    """Give the line of the first wrong row, the header being line 1."""
    return int(wrong.to_numpy(bool).argmax()) + 2


def _numbers(films: pd.DataFrame, column: str, origin: str) -> pd.Series:
    values = pd.to_numeric(films[column], errors="coerce")
    wrong = values.isna() & films[column].notna()
    if column == "fold":
        wrong |= values.notna() & ((values < 0) | (values % 1 != 0))
    if wrong.any():
        raise CollectionError(
            f"{origin}, row {_line(wrong)}: {column} {films.loc[wrong, column].iloc[0]!r} "
            f"is no number that can be one"
        )
    return values.astype("Int64") if column == "fold" else values.astype(float)


def _resolved(images: pd.Series, folder: Path, origin: str) -> list[str]:
    paths = [os.path.normpath(os.path.join(folder, image)) for image in images]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise CollectionError(
            f"{origin}: {len(missing)} of {len(paths)} images are not there, the first is {missing[0]}; "
            "paths are relative to the table's own folder"
        )
    repeated = pd.Series(paths)[pd.Series(paths).duplicated()]
    if len(repeated):
        raise CollectionError(
            f"{origin} lists {len(repeated)} images more than once, the first is {repeated.iloc[0]}"
        )
    return paths


def _refuse_shared_patients(films: pd.DataFrame, origin: str) -> None:
    if "patient" not in films:
        return
    for column in ("split", "fold"):
        if column not in films:
            continue
        places = films.dropna(subset=["patient", column]).groupby("patient")[column].nunique()
        shared = places[places > 1]
        if len(shared):
            raise CollectionError(
                f"{origin}: {len(shared)} patients stand in more than one {column}, for example "
                f"{shared.index[0]!r}: cxrlens split makes splits by patient"
            )
