"""NIH ChestX-ray14: ``Data_Entry_2017.csv`` (or ``_v2020``) and ``images_001/images/00000001_000.png``.

Wang et al. 2017. The labels were mined from reports by a program; a film can carry several.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.collections.readers.age import years
from cxrlens.collections.readers.reading import Reading, read_published_table, set_within
from cxrlens.errors import CollectionError
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
