"""The worst mistakes as pictures: wrong films about which the model was most certain."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.errors import FilmError
from cxrlens.evaluation.metrics import probabilities
from cxrlens.pages.page import FilmCard
from cxrlens.quality.findings import DEFECTS
from cxrlens.radiographs.read import read_radiograph

HEALTHY = "normal"

KINDS = {
    "missed": "Missed: films with a disease that were called normal",
    "alarm": "False alarms: normal films that were called a disease",
    "confused": "One disease taken for the other",
}
"""The ways to be wrong, the gravest first, with their headings."""


def kind_of(label: str, predicted: str) -> str | None:
    """Name in `KINDS` of a mistake, or None if the prediction is right."""
    if label == predicted:
        return None
    if predicted == HEALTHY:
        return "missed"
    return "alarm" if label == HEALTHY else "confused"


def mistakes(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the wrong films, the most certain first.

    Parameters
    ----------
    predictions, classes
        As for `cxrlens.evaluation.metrics.measure`.

    Returns
    -------
    DataFrame
        The wrong rows with two more columns: ``kind`` (see `KINDS`) and ``certainty``, the
        probability of the class that was predicted.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    scores = probabilities(wrong, classes)
    numbers = {name: i for i, name in enumerate(classes)}
    chosen = np.array([numbers[str(name)] for name in wrong["predicted"]], dtype=np.intp)
    pairs = zip(wrong["label"].astype(str), wrong["predicted"].astype(str), strict=True)
    kinds = pd.array([kind_of(label, predicted) for label, predicted in pairs], dtype="string")
    return wrong.assign(kind=kinds, certainty=scores[np.arange(len(wrong)), chosen]).sort_values(
        "certainty", ascending=False, kind="stable"
    )


def film_card(row: pd.Series, classes: Sequence[str], folder: Path) -> FilmCard:
    """Show a film with its label, what it was called, and the probability of each class.

    Parameters
    ----------
    row
        A row of predictions; ``source`` and findings are shown where they are known.
    classes
        The classes, in order.
    folder
        What a relative ``image`` starts from.

    Returns
    -------
    FilmCard
        Without a film, but with the reason, if it can no longer be read.
    """
    path = folder / str(row["image"])
    source = row.get("source")
    details = [f"source: {source}"] if pd.notna(source) else []
    found = [name for name in DEFECTS if pd.notna(row.get(name)) and bool(row.get(name))]
    if found:
        details.append(f"quality: {', '.join(found)}")
    name = "/".join(path.parts[-2:])  # the rest is of no use to whoever reads the page elsewhere
    try:
        film = read_radiograph(path)
    except FilmError as error:
        film = None
        details.append(str(error).replace(str(path), name))
    else:
        details.append(name)
    origin = f" from {source}" if pd.notna(source) else ""
    return FilmCard(
        film=film,
        caption=f"{row['label']} called {row['predicted']}",
        alt=f"Radiograph{origin} with the label {row['label']}, called {row['predicted']}"
        + ("" if film is not None else "; the film cannot be read"),
        details=details,
        shares={name: float(row[name]) for name in classes},
    )
