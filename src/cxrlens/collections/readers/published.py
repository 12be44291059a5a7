"""Public sets with tables of their own: NIH ChestX-ray14 and RSNA's films of it, NLM's two, TBX11K.

And what is known of these and other sources beyond their tables.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel
from pydantic_core import from_json

from cxrlens.collections.readers.folders import (
    Reading,
    cut_boxes,
    described,
    published_parts,
    rows_by_class,
    set_within,
    table_of,
    tags_of,
)
from cxrlens.collections.tables import read_text_table
from cxrlens.errors import CollectionError, FilmError
from cxrlens.radiographs.dicom import years
from cxrlens.radiographs.read import find_films

_OWN = "is it the set's own table?"

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
NIH_LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}

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
    root = set_within(folder, TABLES, " or ".join(TABLES), any)
    table = next(root / name for name in TABLES if (root / name).is_file())
    entries = read_text_table(table, _COLUMNS, _OWN)
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
    if parts := published_parts(root, NIH_LISTS):
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
    root = set_within(folder, (BOXES, CLASSES), f"{BOXES} and {CLASSES}")
    boxes = read_text_table(root / BOXES, ("patientId", "Target", *_BOX), _OWN)
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
    places = {Path(str(image)).stem: str(image) for image in table["image"]}
    drawn = boxes[(boxes["Target"] == "1") & boxes["patientId"].isin(list(places))]
    sides = drawn[list(_BOX)].apply(pd.to_numeric, errors="coerce").to_numpy(float) / SIDE
    rows_of_boxes = [
        (places[patient], "LungOpacity", *of)
        for patient, of in zip(drawn["patientId"], sides.tolist(), strict=True)
    ]
    return Reading(table, left_out, boxes=cut_boxes(rows_of_boxes))


def _labelled(root: Path, boxes: pd.DataFrame) -> pd.DataFrame:
    """One row a film: patientId, finding (the detailed class) and label."""
    classes = read_text_table(root / CLASSES, ("patientId", "class"), _OWN)
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
    """Read RSNA's list of what its films are called at NIH; empty where it is not there."""
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


FOLDER = "CXR_png"
SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
NLM_LABELS = {"0": "normal", "1": "tuberculosis"}

_NAME = re.compile(r"(MCUCXR|CHNCXR)_(\d+)_([01])")
_ABOUT = re.compile(r"\b(sex|age)\b|\b(fe)?male?|\d\s*[ymwd]", re.IGNORECASE)
_WORDS = {"f": "F", "female": "F", "femal": "F", "m": "M", "male": "M"}


def read_nlm(folder: Path) -> Reading:
    """Read one of the two sets, or a folder that holds both; the hospital is the ``source``.

    Only folders named ``CXR_png`` are searched: the lung masks of the set bear the films' names. Age, sex
    and the text of the reading (``finding``) are there where a reading is, lung masks where they lie beside
    the films: Montgomery's left and right ones in ``ManualMask``, Shenzhen's (Stirenko 2018) in ``mask``.

    Raises
    ------
    CollectionError
        If no such film lies there, or one lies there twice.
    """
    rows: list[dict[str, object]] = []
    places: dict[str, Path] = {}
    for film in _films(folder.resolve()):
        if not (name := _NAME.fullmatch(film.stem)):
            continue
        if film.stem in places:
            raise CollectionError(
                f"{folder} holds {film.name} twice, in {places[film.stem]} and {film.parent}: "
                "name one of the copies of the set"
            )
        places[film.stem] = film.parent
        source = SOURCES[name[1]]
        row: dict[str, object] = {
            "image": str(film),
            "label": NLM_LABELS[name[3]],
            "patient": f"{source}-{name[2]}",
            "source": source,
        }
        rows.append(row | reading_of(film.parent.parent / "ClinicalReadings" / f"{film.stem}.txt"))
    table = table_of(
        rows,
        folder,
        f"looked for {FOLDER}/MCUCXR_0001_0.png (Montgomery) and {FOLDER}/CHNCXR_0001_0.png (Shenzhen)",
    )
    masks = [
        {"image": image, "mask": str(mask)}
        for image in table["image"]
        for mask in _masks(Path(str(image)))
    ]
    return Reading(table, lungs=pd.DataFrame(masks) if masks else None)


def _masks(film: Path) -> list[Path]:
    """Find the masks of a film's lungs, of both lungs or of each."""
    root = film.parent.parent
    places = (
        root / "ManualMask" / "leftMask" / film.name,
        root / "ManualMask" / "rightMask" / film.name,
        root / "mask" / f"{film.stem}_mask.png",
    )
    return [place for place in places if place.is_file()]


def reading_of(path: Path) -> dict[str, object]:
    """Read age, sex and text of a reading; the spelling varies from file to file.

    Montgomery writes "Patient's Sex: F", "Patient's Age: 027Y" and the finding, Shenzhen "male 45yrs"
    and the finding, with ages of children in months or days.
    """
    if not path.is_file():
        return {}
    text = path.read_bytes().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    about = [line for line in lines[:2] if _ABOUT.search(line)]
    words = re.findall("[a-z]+", " ".join(about).lower())
    ages = [age for line in about if not math.isnan(age := years(line))]
    return {
        "age": ages[0] if ages else math.nan,
        "sex": next((_WORDS[word] for word in words if word in _WORDS), None),
        "finding": " ".join(lines[len(about) :]) or None,
    }


def _films(folder: Path) -> Iterator[Path]:
    places = [folder] if folder.name == FOLDER else sorted(folder.rglob(FOLDER))
    yield from find_films([place for place in places if place.is_dir()])


TBX_CLASSES = {"health": "normal", "tb": "tuberculosis"}
LEFT_OUT = {
    "sick": "sick, but not of tuberculosis: no class for them",
    "test": "test films, whose labels are not published",
    "extra": "films of other sets (extra): collect those from their own sets",
}
"""Folders that are not collected, and why."""

TBX_LISTS = {
    "TBX11K_train.txt": "train",
    "TBX11K_val.txt": "val",
    "all_train.txt": "train",
    "all_val.txt": "val",
}

COCO = ("all_trainval.json", "TBX11K_trainval.json", "TBX11K_trainval_only_tb.json")
"""Annotations of the same films, the widest first."""

_Box = tuple[str, str, float, float, float, float]


def read_tbx11k(folder: Path) -> Reading:
    """Read the healthy and the tuberculous; patients are not known, each film counts as one.

    Active and healed tuberculosis lie in one folder and get one label; ``finding`` names the kinds of
    the boxes on a film, where the annotations are there, and the boxes come along. ``published_split`` says
    which list names it.

    Raises
    ------
    CollectionError
        If the folder does not hold the set, a class holds no film, or the annotations are no COCO file.
    """
    root = set_within(
        folder,
        [f"imgs/{name}" for name in TBX_CLASSES],
        "imgs/health and imgs/tb, as in TBX11K",
    )
    films = table_of(rows_by_class(root / "imgs", TBX_CLASSES, "tbx11k"), folder, "it is empty")
    keys = films["image"].map(lambda image: "/".join(Path(image).parts[-2:]))
    drawn = _drawn(root / "annotations" / "json")
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for name, kind, *_ in drawn:
        kinds[name].add(kind)
    for column, known in (
        ("published_split", published_parts(root / "lists", TBX_LISTS)),
        ("finding", {name: "|".join(sorted(of)) for name, of in kinds.items()}),
    ):
        if known:
            films[column] = keys.map(known).astype("string")
    left_out = {
        why: len(find_films([root / "imgs" / name]))
        for name, why in LEFT_OUT.items()
        if (root / "imgs" / name).is_dir()
    }
    places = dict(zip(keys, films["image"], strict=True))
    rows = [(places[name], *box) for name, *box in drawn if name in places]
    return Reading(films, left_out, boxes=cut_boxes(rows))


def _drawn(folder: Path) -> list[_Box]:
    """Read film ("tb/tb0001.png"), kind and sides of the boxes of the first COCO file that is there."""
    path = next((folder / name for name in COCO if (folder / name).is_file()), None)
    if path is None:
        return []
    boxes: list[_Box] = []
    try:
        coco = from_json(path.read_bytes())
        films = {image["id"]: image for image in coco["images"]}
        categories = {category["id"]: category["name"] for category in coco["categories"]}
        for box in coco["annotations"]:
            film = films[box["image_id"]]
            x, y, width, height = (float(side) for side in box["bbox"])
            across, down = float(film["width"]), float(film["height"])
            name = "/".join(Path(film["file_name"]).parts[-2:])
            kind = categories[box["category_id"]]
            boxes.append((name, kind, x / across, y / down, width / across, height / down))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CollectionError(f"{path} is no COCO file of boxes, as TBX11K has it") from error
    return boxes


class KnownSource(BaseModel):
    """What is known of a public source beyond its own table; empty is what nobody told us.

    Attributes
    ----------
    who, terms, reference
        Whose films, on which terms, and what their labels rest on.
    youngest
        Age in years of its youngest patients, where its table does not tell.
    """

    who: str = ""
    terms: str = ""
    reference: str = ""
    youngest: float | None = None


@cache
def _known_sources() -> dict[str, KnownSource]:
    text = files("cxrlens.collections").joinpath("sources.json").read_text("utf-8")
    return {name: KnownSource.model_validate(of) for name, of in json.loads(text).items()}


def known_source(name: str) -> KnownSource:
    """Look up a source by its name in ``source``; of others nothing is known."""
    return _known_sources().get(name, KnownSource())


def sources_of(films: pd.DataFrame) -> list[str]:
    """List the sources of a table of films; none where it does not tell."""
    return sorted(films["source"].dropna().astype(str).unique()) if "source" in films else []


ADULT = 15.0
"""Years from which WHO recommends computer-aided detection of tuberculosis (consolidated guidelines on
tuberculosis, module 2, 2021, recommendation 10)."""


def youngest(films: pd.DataFrame, classes: Iterable[str]) -> dict[str, float]:
    """Return the age in years of the youngest patient of each class, as far as it is known.

    Parameters
    ----------
    films
        ``label``, and ``age`` and ``source`` where they are known.
    classes
        The classes.

    Returns
    -------
    dict of str to float
        By class. Tuberculosis of which no age is known counts as adults', from `ADULT` on; other classes of
        which none is known are missing.
    """
    found: dict[str, float] = {}
    for name in classes:
        of = films[films["label"] == name]
        told = [age for one in sources_of(of) if (age := known_source(one).youngest) is not None]
        told += of["age"].dropna().tolist() if "age" in of else []
        if told or name == "tuberculosis":
            found[name] = float(min(told, default=ADULT))
    return found
