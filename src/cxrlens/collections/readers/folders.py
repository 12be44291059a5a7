"""A folder a class: ``DIR/normal/...``, ``DIR/pneumonia/...``, ``DIR/tuberculosis/...``."""

import shlex
from collections import Counter
from pathlib import Path

from cxrlens.collections.naming import LABELS, Words, folded
from cxrlens.collections.readers.reading import Reading, table_of
from cxrlens.errors import CollectionError
from cxrlens.radiographs.read import find_films, other_files

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
