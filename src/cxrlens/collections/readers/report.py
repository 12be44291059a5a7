"""The report's own layout: ``images/P00017_1.png``, ``images/P00017_2.jpg`` and ``labels.csv``.

The part of a file's name before the last underscore names the acquisition: copies of one exposure
share it. ``labels.csv`` has ``image``, ``label`` and ``patient``, who can have several acquisitions.
"""

from pathlib import Path

from cxrlens.collections.collection import read_collection
from cxrlens.collections.readers.reading import Reading
from cxrlens.errors import CollectionError


def read_report(folder: Path) -> Reading:
    """Read a folder shaped like the report's set; add ``acquisition`` from the file names.

    Raises
    ------
    CollectionError
        If ``labels.csv`` is missing or breaks a promise, or a file name has no underscore.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise CollectionError(f"{folder} has no labels.csv (image, label, patient)")
    collection = read_collection(table)
    films = collection.films
    stems = films["image"].map(lambda image: Path(image).stem)
    wrong = ~stems.str.contains("_")
    if wrong.any():
        raise CollectionError(
            f"{films.loc[wrong, 'image'].iloc[0]}: its name does not read ACQUISITION_COPY, "
            "for example P00017_2.png"
        )
    films["acquisition"] = stems.str.rsplit("_", n=1).str[0].astype("string")
    if "patient" not in films:
        films["patient"] = films["acquisition"]
    return Reading(films, missing=collection.missing)
