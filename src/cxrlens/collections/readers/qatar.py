"""Rahman et al. 2020: ``Normal/Normal-1.png`` and ``Tuberculosis/Tuberculosis-1.png``.

The set was put together from other sets (see docs/datasets.md). Its two Excel sheets are not read.
"""

from pathlib import Path

from cxrlens.collections.readers.reading import Reading, rows_by_class, set_within, table_of

CLASSES = {"Normal": "normal", "Tuberculosis": "tuberculosis"}


def read_qatar(folder: Path) -> Reading:
    """Read ``TB_Chest_Radiography_Database``; patients are not known, each film counts as one.

    Raises
    ------
    CollectionError
        If the folder does not hold the set, or a class holds no film.
    """
    root = set_within(
        folder,
        lambda path: all((path / name).is_dir() for name in CLASSES),
        "the folders Normal and Tuberculosis, as in TB_Chest_Radiography_Database",
    )
    return Reading(table_of(rows_by_class(root, CLASSES, "qatar"), folder, "it is empty"))
