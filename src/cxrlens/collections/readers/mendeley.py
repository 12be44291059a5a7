"""Kiran and Jabeen 2024, from Pakistan: ``Normal Chest X-rays`` and ``TB Chest X-rays``."""

from pathlib import Path

from cxrlens.collections.readers.reading import Reading, rows_by_class, set_within, table_of

CLASSES = {"Normal Chest X-rays": "normal", "TB Chest X-rays": "tuberculosis"}


def read_mendeley(folder: Path) -> Reading:
    """Read the set of 10.17632/8j2g3csprk; patients are not known, each film counts as one.

    Raises
    ------
    CollectionError
        If the folder does not hold the set, or a class holds no film.
    """
    root = set_within(
        folder,
        lambda path: all((path / name).is_dir() for name in CLASSES),
        "the folders 'Normal Chest X-rays' and 'TB Chest X-rays'",
    )
    return Reading(table_of(rows_by_class(root, CLASSES, "mendeley"), folder, "it is empty"))
