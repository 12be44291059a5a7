"""NLM's tuberculosis sets: Montgomery County (``MCUCXR_0001_0.png``) and Shenzhen (``CHNCXR_0001_0.png``).

Jaeger et al. 2014. The films lie in ``CXR_png``, the radiologists' readings beside it in
``ClinicalReadings``; the last digit of the name is 0 for normal and 1 for tuberculosis.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cxrlens.collections.readers.age import years
from cxrlens.collections.readers.reading import Reading, table_of
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
