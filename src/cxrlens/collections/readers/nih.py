"""NIH ChestX-ray14, and the RSNA challenge of 2018 on films of it."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic_core import from_json

from cxrlens.collections.outlines import SIDES
from cxrlens.collections.readers.dicom import described, tags_of
from cxrlens.collections.readers.reading import (
    Reading,
    read_published_table,
    set_within,
    table_of,
    years,
)
from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.read import find_films

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}

_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")


def read_nih(folder: Path) -> Reading:
    """Read the films with "No Finding" as normal and those with Pneumonia as pneumonia.

    A film with pneumonia and something else is pneumonia; ``finding`` keeps all labels. Other films
    are left out, and so are those of archives that were not downloaded. Ages above 120 are left empty.

    Raises
    ------
    CollectionError
        If the table is missing or not the set's own, or none of its films is there.
    """
    root = set_within(
        folder,
        lambda path: any((path / name).is_file() for name in TABLES),
        " or ".join(TABLES),
    )
    table = next(root / name for name in TABLES if (root / name).is_file())
    entries = read_published_table(table, _COLUMNS)
    images = {film.name: str(film) for film in find_films([root])}
    labels = entries["Finding Labels"].fillna("").map(_label)
    here = entries["Image Index"].isin(list(images))
    kept = here & labels.notna()
    if not kept.any():
        raise CollectionError(
            f"{root} holds no film that {table.name} lists as 'No Finding' or 'Pneumonia': "
            "unpack the archives beside it, as images_001/images/00000001_000.png"
        )
    chosen = entries[kept]
    sex = next((name for name in ("Patient Gender", "Patient Sex") if name in entries), None)
    films = pd.DataFrame(
        {
            "image": chosen["Image Index"].map(images),
            "label": labels[kept],
            "patient": [f"nih-{number:05d}" for number in _patients(chosen["Patient ID"], table)],
            "source": "nih",
            "view": chosen["View Position"],
            "age": chosen["Patient Age"].fillna("").map(years).astype(float),
            "sex": chosen[sex].str.strip() if sex else pd.NA,
            "finding": chosen["Finding Labels"],
        }
    )
    parts = _published_parts(root)
    if parts:
        films["published_split"] = chosen["Image Index"].map(parts)
    left_out = {
        "no file in this folder": int((~here).sum()),
        "neither 'No Finding' nor pneumonia": int((here & labels.isna()).sum()),
    }
    return Reading(films.reset_index(drop=True), left_out)


def _patients(column: pd.Series, table: Path) -> list[int]:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any():
        raise CollectionError(
            f"{table}: {int(numbers.isna().sum())} films have no number as Patient ID, so nobody can tell "
            "whose they are: take the table from the set's own page"
        )
    return [int(number) for number in numbers]


def _label(findings: str) -> str | float:
    named = {name.strip() for name in findings.split("|")}
    if "Pneumonia" in named:
        return "pneumonia"
    return "normal" if named == {"No Finding"} else np.nan


def _published_parts(root: Path) -> dict[str, str]:
    return {
        line.strip(): part
        for name, part in LISTS.items()
        if (root / name).is_file()
        for line in (root / name).read_text(encoding="utf-8").splitlines()
    }


BOXES = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
IMAGES = "stage_2_train_images"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"

SIDE = 1024
"""Pixels of the side of every film of the challenge, in which the boxes are given."""

_BOX = ("x", "y", "width", "height")
_LABELS = {"Lung Opacity": "pneumonia", "Normal": "normal"}


def read_rsna(folder: Path) -> Reading:
    """Read films with a suspected pneumonia (a lung opacity with a box) and normal ones.

    The boxes round the opacities come along. "No Lung Opacity / Not Normal" is left out. View, age and sex
    come from the DICOM tags. With
    ``pneumonia-challenge-dataset-mappings_2018.json`` beside the tables, ``patient`` is NIH's and
    ``nih_image`` the film's name there; without it every film counts as a patient of its own.

    Raises
    ------
    CollectionError
        If a table or the films are missing, or the tables contradict each other.
    """
    root = set_within(
        folder,
        lambda path: (path / CLASSES).is_file() and (path / BOXES).is_file(),
        f"{BOXES} and {CLASSES}",
    )
    boxes = read_published_table(root / BOXES, ("patientId", "Target", *_BOX))
    films = _labelled(root, boxes)
    names_at_nih = _names_at_nih(root / MAPPING)
    rows: list[dict[str, object]] = []
    left_out = {
        "neither normal nor a lung opacity": int(films["label"].isna().sum()),
        "no readable file in this folder": 0,
    }
    for film in films.dropna(subset="label").itertuples(index=False):
        path = root / IMAGES / f"{film.patientId}.dcm"
        try:
            tags = tags_of(path)
        except FilmError:
            left_out["no readable file in this folder"] += 1
            continue
        row: dict[str, object] = {
            "image": str(path),
            "label": film.label,
            "patient": f"rsna-{film.patientId}",
            "source": "rsna",
            **described(tags),
            "finding": film.finding,
        }
        if nih := names_at_nih.get(str(film.patientId)):
            row |= {"patient": f"nih-{int(nih.split('_')[0]):05d}", "nih_image": nih}
        rows.append(row)
    table = table_of(rows, folder, f"unpack the films into {IMAGES}")
    return Reading(table, left_out, boxes=_boxes(boxes, table["image"].tolist()))


def _boxes(published: pd.DataFrame, images: list[object]) -> pd.DataFrame | None:
    """Make the table of the boxes of films that are there, cut off at the film's edge."""
    places = {Path(str(image)).stem: str(image) for image in images}
    rows = published[(published["Target"] == "1") & published["patientId"].isin(list(places))]
    if rows.empty:
        return None
    x, y, width, height = (
        pd.to_numeric(rows[side], errors="coerce").astype(float) / SIDE for side in _BOX
    )
    sides = dict(zip(SIDES, (x, y, x + width, y + height), strict=True))
    return pd.DataFrame(
        {
            "image": rows["patientId"].map(places).astype(str),
            "finding": "LungOpacity",
            **{name: of.clip(0, 1) for name, of in sides.items()},
        }
    ).reset_index(drop=True)


def _labelled(root: Path, boxes: pd.DataFrame) -> pd.DataFrame:
    """One row a film: patientId, finding (the detailed class) and label."""
    classes = read_published_table(root / CLASSES, ("patientId", "class"))
    films = classes.drop_duplicates().rename(columns={"class": "finding"})
    films["label"] = films["finding"].map(_LABELS).astype("string")
    positive = set(boxes.loc[boxes["Target"] == "1", "patientId"])
    differ = films["patientId"].isin(positive) != (films["label"] == "pneumonia").fillna(False)
    if differ.any() or films["patientId"].duplicated().any():
        raise CollectionError(
            f"{BOXES} and {CLASSES} in {root} contradict each other on "
            f"{films.loc[differ, 'patientId'].iloc[0] if differ.any() else 'a film with two classes'}: "
            "take both from the same stage of the challenge"
        )
    return films


def _names_at_nih(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        entries = from_json(path.read_bytes())
        names = {str(entry["subset_img_id"]): str(entry["img_id"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise CollectionError(f"{path} is not RSNA's list of the films' names at NIH") from error
    for name in names.values():
        if not name.split("_")[0].isdigit():
            raise CollectionError(f"{path}: {name!r} is no film's name at NIH (00000013_005.png)")
    return names
