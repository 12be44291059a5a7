"""Sets about tuberculosis: NLM's Montgomery County and Shenzhen, and TBX11K."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic_core import from_json

from cxrlens.collections.outlines import SIDES
from cxrlens.collections.readers.reading import Reading, rows_by_class, set_within, table_of, years
from cxrlens.errors import CollectionError
from cxrlens.radiographs.read import find_films

FOLDER = "CXR_png"
SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
LABELS = {"0": "normal", "1": "tuberculosis"}

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
            "label": LABELS[name[3]],
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
    """Give age, sex and text of a reading; the spelling varies from file to file.

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


CLASSES = {"health": "normal", "tb": "tuberculosis"}
LEFT_OUT = {
    "sick": "sick, but not of tuberculosis: no class for them",
    "test": "test films, whose labels are not published",
    "extra": "films of other sets (extra): collect those from their own sets",
}
"""Folders that are not collected, and why."""

LISTS = {
    "TBX11K_train.txt": "train",
    "TBX11K_val.txt": "val",
    "all_train.txt": "train",
    "all_val.txt": "val",
}

BOXES = ("all_trainval.json", "TBX11K_trainval.json", "TBX11K_trainval_only_tb.json")
"""Annotations of the same films, the widest first."""


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
        lambda path: all((path / "imgs" / name).is_dir() for name in CLASSES),
        "imgs/health and imgs/tb, as in TBX11K",
    )
    films = table_of(rows_by_class(root / "imgs", CLASSES, "tbx11k"), folder, "it is empty")
    keys = films["image"].map(lambda image: "/".join(Path(image).parts[-2:]))
    drawn = _drawn(root / "annotations" / "json")
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for box in drawn:
        kinds[box.film].add(box.kind)
    for column, known in (
        ("published_split", _published_parts(root / "lists")),
        ("finding", {name: "|".join(sorted(of)) for name, of in kinds.items()}),
    ):
        if known:
            films[column] = keys.map(known).astype("string")
    left_out = {
        why: len(find_films([root / "imgs" / name]))
        for name, why in LEFT_OUT.items()
        if (root / "imgs" / name).is_dir()
    }
    return Reading(
        films, left_out, boxes=_boxes(drawn, dict(zip(keys, films["image"], strict=True)))
    )


def _published_parts(lists: Path) -> dict[str, str]:
    """Map "tb/tb0001.png" to its part; lists differ in whether "imgs/" stands before it."""
    return {
        "/".join(Path(line.split()[0]).parts[-2:]): part
        for name, part in LISTS.items()
        if (lists / name).is_file()
        for line in (lists / name).read_text(encoding="utf-8").splitlines()
        if line.strip()
    }


class _Box(NamedTuple):
    """A box as it is published: the film's key, the kind, and its sides as fractions."""

    film: str
    kind: str
    sides: tuple[float, float, float, float]


def _drawn(folder: Path) -> list[_Box]:
    """Read the boxes from the first COCO file that is there."""
    path = next((folder / name for name in BOXES if (folder / name).is_file()), None)
    if path is None:
        return []
    boxes = []
    try:
        coco = from_json(path.read_bytes())
        films = {image["id"]: image for image in coco["images"]}
        categories = {category["id"]: category["name"] for category in coco["categories"]}
        for box in coco["annotations"]:
            film = films[box["image_id"]]
            x, y, width, height = (float(side) for side in box["bbox"])
            across, down = float(film["width"]), float(film["height"])
            sides = (x / across, y / down, (x + width) / across, (y + height) / down)
            name = "/".join(Path(film["file_name"]).parts[-2:])
            boxes.append(_Box(name, categories[box["category_id"]], sides))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CollectionError(f"{path} is no COCO file of boxes, as TBX11K has it") from error
    return boxes


def _boxes(drawn: list[_Box], films: Mapping[str, str]) -> pd.DataFrame | None:
    """Make the table of the boxes of films that are there, cut off at the film's edge."""
    rows = [
        {
            "image": films[box.film],
            "finding": box.kind,
            **{side: min(max(at, 0.0), 1.0) for side, at in zip(SIDES, box.sides, strict=True)},
        }
        for box in drawn
        if box.film in films
    ]
    return pd.DataFrame(rows) if rows else None
