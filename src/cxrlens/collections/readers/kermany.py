"""Kermany et al. 2018: children of Guangzhou, ``chest_xray/train/PNEUMONIA/person23_bacteria_78.jpeg``.

The set is published under two schemes of names. In both, a number in the name says whose film it is:
``person23_bacteria_78``, ``IM-0115-0001``, ``NORMAL2-IM-0381-0001``, or ``BACTERIA-1135262-0001``.
"""

import re
from pathlib import Path

from cxrlens.collections.readers.reading import Reading, set_within, table_of
from cxrlens.errors import CollectionError
from cxrlens.radiographs.read import find_films

PARTS = ("train", "val", "test")
CLASSES = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}

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
        lambda path: all((path / "train" / name).is_dir() for name in CLASSES),
        "train/NORMAL and train/PNEUMONIA, as in chest_xray",
    )
    rows: list[dict[str, object]] = []
    for part in PARTS:
        for name, label in CLASSES.items():
            place = root / part / name
            films = find_films([place]) if place.is_dir() else []
            if part == "train" and not films:
                raise CollectionError(f"{place} holds no film")
            for film in films:
                germ = _GERM.search(film.stem)
                rows.append(
                    {
                        "image": str(film),
                        "label": label,
                        "patient": f"kermany-{patient_of(film.stem)}",
                        "source": "kermany",
                        "finding": germ[0].lower() if germ and label == "pneumonia" else label,
                        "published_split": part,
                    }
                )
    return Reading(table_of(rows, folder, "its class folders are empty"))


def patient_of(stem: str) -> str:
    """Give the part of a file's name that says whose film it is; all of it where none is known."""
    for pattern in (_PERSON, _NUMBER):
        if found := pattern.match(stem):
            return found[1]
    return stem
