"""Readers of folders: a class a folder, the published sets that come so, DICOM files anywhere below.

A reader returns a `Reading`: the set as it was found. What all readers share is here.
"""

import hashlib
import hmac
import os
import re
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.collections.collection import SIDES, read_collection
from cxrlens.collections.tables import LABELS, Words, folded
from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.dicom import RADIOGRAPHS, read_dataset, years
from cxrlens.radiographs.dicom_tags import VIEW_TAGS, first_text, view_of
from cxrlens.radiographs.read import find_films, is_dicom, open_film, other_files

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
        What radiologists drew on the films, a row a box; see `cxrlens.collections.collection`. None where the
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


NAMES = {
    "normal": "normal",
    "healthy": "normal",
    "pneumonia": "pneumonia",
    "tuberculosis": "tuberculosis",
    "tb": "tuberculosis",
}
"""Folder names, in any case, and the label that each means; the user may name more."""


def read_folders(folder: Path, words: Words | None = None) -> Reading:
    """List the films of a folder with one subfolder a class.

    Patients are not known in this layout: every film counts as its own patient until the table gets
    a column ``patient``. Films in a folder of another name, or beside the classes' folders, and files that
    are no films are left out and counted.

    Parameters
    ----------
    folder
        Holds the classes' folders.
    words
        What other names of folders mean, e.g. ``covid=`` for one to leave out.

    Raises
    ------
    CollectionError
        If no subfolder is named like a class, one holds no film, or `words` names one that is not there.
    """
    below = [path for path in sorted(folder.iterdir() if folder.is_dir() else ()) if path.is_dir()]
    below = [path for path in below if not path.name.startswith(".")]
    meant = NAMES | dict(words.values if words else {})
    for name in meant.keys() - NAMES.keys() - {folded(path.name) for path in below}:
        raise CollectionError(f"{folder} has no subfolder {name!r}: correct --map")
    if not any(meant.get(folded(path.name)) for path in below):
        there = f"only {', '.join(path.name for path in below[:9])}" if below else "nor any other"
        raise CollectionError(
            f"{folder} has no subfolder named like a class, {there}: {', '.join(NAMES)} are known; "
            f"--map NAME=LABEL says what another means, {', '.join(LABELS)}"
        )
    rows: list[dict[str, object]] = []
    left_out: Counter[str] = Counter()
    for path in below:
        films, label = find_films([path]), meant.get(folded(path.name))
        if label is None:
            offer = shlex.quote(f"{path.name}=LABEL")
            left_out[f"in {path.name}, which names no class: say --map {offer}"] += len(films)
        elif not label:
            left_out[f"in {path.name}, by --map"] += len(films)
        else:
            if not films:
                raise CollectionError(f"{path} holds no film")
            rows += [{"image": str(film.resolve()), "label": label} for film in films]
            for kind, count in other_files(path).items():
                left_out[f"{kind} in the classes' folders: no kind of film that can be read"] += (
                    count
                )
    beside = [film for film in find_films([folder]) if film.parent == folder]
    left_out["beside the classes' folders, in none of them"] += len(beside)
    return Reading(table_of(rows, folder, "its class folders are empty"), dict(left_out))


PARTS = ("train", "val", "test")
KERMANY = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}

_PERSON = re.compile(r"(person\d+|(?:NORMAL2-)?IM-\d+)(?!\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:NORMAL|BACTERIA|VIRUS)-(\d+)-", re.IGNORECASE)
_GERM = re.compile(r"bacteria|virus", re.IGNORECASE)


def read_kermany(folder: Path) -> Reading:
    """Read ``chest_xray`` with its train, val and test.

    ``patient`` comes from the name; one number is one patient in whatever part and with whatever germ
    it stands, so that no child can be in two splits. A name of another form counts as a patient of
    its own. The published part is in ``published_split``, bacteria or virus in ``finding``.

    Raises
    ------
    CollectionError
        If the folder does not hold the set, or a class holds no film.
    """
    root = set_within(
        folder,
        [f"train/{name}" for name in KERMANY],
        "train/NORMAL and train/PNEUMONIA, as in chest_xray",
    )
    rows: list[dict[str, object]] = []
    for part in PARTS:
        for name, label in KERMANY.items():
            place = root / part / name
            films = find_films([place]) if place.is_dir() else []
            if part == "train" and not films:
                raise CollectionError(f"{place} holds no film")
            for film in films:
                germ = _GERM.search(film.stem)
                whose = _PERSON.match(film.stem) or _NUMBER.match(film.stem)
                rows.append(
                    {
                        "image": str(film),
                        "label": label,
                        "patient": f"kermany-{whose[1] if whose else film.stem}",
                        "source": "kermany",
                        "finding": germ[0].lower() if germ and label == "pneumonia" else label,
                        "published_split": part,
                    }
                )
    return Reading(table_of(rows, folder, "its class folders are empty"))


def _by_class(source: str, classes: Mapping[str, str], sought: str) -> Callable[[Path], Reading]:
    def read(folder: Path) -> Reading:
        root = set_within(folder, classes, sought)
        return Reading(table_of(rows_by_class(root, classes, source), folder, "it is empty"))

    read.__doc__ = f"Read the set {source}; patients are not known, each film counts as one."
    return read


read_mendeley = _by_class(
    "mendeley",
    {"Normal Chest X-rays": "normal", "TB Chest X-rays": "tuberculosis"},
    "the folders 'Normal Chest X-rays' and 'TB Chest X-rays'",
)
read_qatar = _by_class(
    "qatar",
    {"Normal": "normal", "Tuberculosis": "tuberculosis"},
    "the folders Normal and Tuberculosis, as in TB_Chest_Radiography_Database",
)


def read_report(folder: Path) -> Reading:
    """Read a folder shaped like the set of the 2023 study; add ``acquisition`` from the file names.

    Raises
    ------
    CollectionError
        If ``labels.csv`` is missing or breaks a promise, or a file name has no underscore.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise CollectionError(f"{folder} has no labels.csv (image, label, patient)")
    collection = read_collection(table)
    films = collection.films
    stems = films["image"].map(lambda image: Path(image).stem)
    wrong = ~stems.str.contains("_")
    if wrong.any():
        raise CollectionError(
            f"{films.loc[wrong, 'image'].iloc[0]}: its name does not read ACQUISITION_COPY, "
            "for example P00017_2.png"
        )
    films["acquisition"] = stems.str.rsplit("_", n=1).str[0].astype("string")
    if "patient" not in films:
        films["patient"] = films["acquisition"]
    return Reading(films, missing=collection.missing)


TABLE_NAMES = ("collection.csv", "films.csv", "labels.csv", "collection.parquet", "films.parquet")


def read_table(path: Path, words: Words | None = None) -> Reading:
    """Read a table with at least a column ``image``, its paths relative to the table.

    Parameters
    ----------
    path
        The table, or a folder that holds one of `TABLE_NAMES`.
    words
        What its columns and labels mean.

    Raises
    ------
    CollectionError
        If a folder holds none of `TABLE_NAMES`, or the table breaks a promise of a collection.
    """
    if path.is_dir():
        found = [path / name for name in TABLE_NAMES if (path / name).is_file()]
        if not found:
            raise CollectionError(
                f"{path} holds none of {', '.join(TABLE_NAMES)}: "
                f"name the table itself, for example {path}/my.csv"
            )
        path = found[0]
    collection = read_collection(path, words)
    left_out = {f"label {label!r}, by --map": n for label, n in collection.left_out.items()}
    return Reading(collection.films, left_out, collection.missing)


_TAGS = [
    "Modality",
    "Rows",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientAge",
    "PatientSex",
    *VIEW_TAGS,
]
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")


class NoDicomError(FilmError):
    """A file of another kind."""


def read_dicom(folder: Path, salt: str | None = None) -> Reading:
    """List the radiographs of a tree of DICOM files; there are no labels in them.

    Parameters
    ----------
    folder
        Searched with all that lies below it.
    salt
        Key of the hash that stands for a patient. With the same salt a patient gets the same hash in
        every table, and whoever knows the salt can find out whose hash it is: keep it secret. Without
        one, a salt is drawn for this table and forgotten.

    Returns
    -------
    Reading
        ``patient`` is 16 hexadecimal digits of the hash of the patient's ID; where a file has none, of
        its study. ``view``, ``age`` and ``sex`` are there where the tags are; ``body_part`` too.
        Other files, other modalities and broken files are left out and counted.

    Raises
    ------
    CollectionError
        If there is no DICOM radiograph.
    FilmError
        If a folder may not be searched.
    """
    key = (salt or secrets.token_hex(16)).encode()
    rows: list[dict[str, object]] = []
    left_out: Counter[str] = Counter()
    for film in find_films([folder.resolve()]):
        try:
            tags = tags_of(film)
        except NoDicomError:
            left_out["no DICOM file"] += 1
            continue
        except FilmError:
            left_out["broken"] += 1
            continue
        if tags["Modality"] and tags["Modality"] not in RADIOGRAPHS:
            left_out["of another modality"] += 1
            continue
        if not tags["Rows"]:
            left_out["without an image, or cut off before it"] += 1
            continue
        whose = tags["PatientID"] or tags["StudyInstanceUID"] or tags["SOPInstanceUID"] or str(film)
        rows.append(
            {
                "image": str(film),
                "patient": f"dicom-{hmac.new(key, whose.encode(), hashlib.sha256).hexdigest()[:16]}",
                "source": "dicom",
                **described(tags),
                "body_part": _code(tags["BodyPartExamined"]),
            }
        )
    for kind, count in other_files(folder.resolve()).items():
        left_out[f"{kind}, no suffix of a film"] += count
    return Reading(table_of(rows, folder, "it has no DICOM radiograph"), dict(left_out))


def tags_of(path: Path) -> dict[str, str]:
    """Read the tags that say what a film is; an absent tag is an empty text.

    Raises
    ------
    FilmError
        If the file is no DICOM file (`NoDicomError`), or is broken.
    """
    try:
        with open_film(path) as file:
            if not is_dicom(file.read(132)):
                raise NoDicomError(f"{path} is no DICOM file")
            file.seek(0)
            with quietly():
                dataset = read_dataset(file, str(path), _TAGS)
                tags = {keyword: first_text(dataset, keyword) for keyword in _TAGS}
                return {**tags, "ViewPosition": view_of(dataset)}
    except FilmError:
        raise
    except Exception as error:  # a parser on arbitrary bytes can raise anything
        raise FilmError(f"{path} is a broken DICOM file: copy it again") from error


def described(tags: dict[str, str]) -> dict[str, object]:
    """Return view, age and sex, each only where the tag holds what it should."""
    sex = tags["PatientSex"].upper()
    return {
        "view": _code(tags["ViewPosition"]),
        "age": years(tags["PatientAge"]),
        "sex": sex if sex in ("F", "M", "O") else None,
    }


def _code(text: str) -> str | None:
    """Keep a code string as DICOM defines it (PS3.5, CS); free text could be private."""
    return text.upper() if _CODE.fullmatch(text.upper()) else None
