"""What was published on the report's own set of films, as tables to stand beside ours.

The report is A. Arneodo, D. Beretta and P. Giaccaglia, "Pneumonia and Tuberculosis recognition from
human lungs X-Ray images", Politecnico di Milano, January 2023: ``overall.csv`` is its Table 1,
``per_class.csv`` its Table 2, ``training.csv`` the epochs and accuracies of its training chapter. A
second group worked on the same set; ``second_group.csv`` holds the means of its five folds. All
shares are fractions of 1.
"""

from importlib.resources import files

import pandas as pd

TEST_FILMS = {"normal": 1463, "pneumonia": 660, "tuberculosis": 292}
"""Test films of the report by class, from the denominators of its recalls (660 or 661)."""

CAUTION = (
    "The report's numbers were measured on other films: its set is not public, and its 2,415 or so "
    "test films are not among ours. Rows of ours and rows of the report cannot be ranked "
    "against each other, and no test between them is possible; the order of the systems within "
    "each is what can be set side by side."
)
"""What must stand wherever published and measured numbers meet."""


def overall() -> pd.DataFrame:
    """Read the report's Table 1: ``system``, ``accuracy``, ``precision``, ``recall``, ``f1`` (macro).

    Examples
    --------
    >>> overall().set_index("system").loc["effnet_svm_voting", "f1"]
    np.float64(0.9662)
    """
    return _read("overall.csv")


def per_class() -> pd.DataFrame:
    """Read the report's Table 2: ``system``, ``class``, ``precision``, ``recall``, ``f1``."""
    return _read("per_class.csv")


def training() -> pd.DataFrame:
    """Read how long the report trained: ``system``, ``member``, ``epochs`` (text), accuracies."""
    return _read("training.csv")


def second_group() -> pd.DataFrame:
    """Read the second group's means over five folds: accuracy with its spread, F1 of each class."""
    return _read("second_group.csv")


def _read(name: str) -> pd.DataFrame:
    with files("cxrlens.evaluation.published").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"system": "string", "member": "string", "epochs": "string"})
