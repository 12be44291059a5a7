"""TBX11K (Liu et al. 2020): ``imgs/{health,sick,tb,test,extra}`` and ``lists/all_train.txt``."""

from pathlib import Path

import pandas as pd

from cxrlens.collections.readers.reading import Reading, rows_by_class, set_within, table_of
from cxrlens.radiographs.read import find_films

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


def read_tbx11k(folder: Path) -> Reading:
    """Read the healthy and the tuberculous; patients are not known, each film counts as one.

    Active, latent and healed tuberculosis lie in one folder and get one label. ``published_split`` says
    which list names a film.

    Raises
    ------
    CollectionError
        If the folder does not hold the set, or a class holds no film.
    """
    root = set_within(
        folder,
        lambda path: all((path / "imgs" / name).is_dir() for name in CLASSES),
        "imgs/health and imgs/tb, as in TBX11K",
    )
    films = table_of(rows_by_class(root / "imgs", CLASSES, "tbx11k"), folder, "it is empty")
    parts = _published_parts(root / "lists")
    if parts:
        keys = films["image"].map(lambda image: "/".join(Path(image).parts[-2:]))
        films["published_split"] = keys.map(parts).astype("string")
    left_out = {
        why: len(find_films([root / "imgs" / name]))
        for name, why in LEFT_OUT.items()
        if (root / "imgs" / name).is_dir()
    }
    return Reading(pd.DataFrame(films), left_out)


def _published_parts(lists: Path) -> dict[str, str]:
    """Map "tb/tb0001.png" to its part; lists differ in whether "imgs/" stands before it."""
    return {
        "/".join(Path(line.split()[0]).parts[-2:]): part
        for name, part in LISTS.items()
        if (lists / name).is_file()
        for line in (lists / name).read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
