"""The confusion matrix and the ROC curve in NumPy, so that no core verb waits for scikit-learn.

Both are defined as scikit-learn's are, and held against them in the tests.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(
    label: Iterable[str], predicted: Iterable[str], classes: Sequence[str]
) -> NDArray[np.int64]:
    """Count films by label and prediction.

    Parameters
    ----------
    label, predicted
        (N,) names, all of them among `classes`.
    classes
        Names of the rows and columns.

    Returns
    -------
    ndarray of int64
        (C, C), a row a label, a column a prediction.
    """
    place = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    pairs = [[place[name] for name in names] for names in (label, predicted)]
    np.add.at(counts, (pairs[0], pairs[1]), 1)
    return counts


def roc_curve(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Follow the ROC curve from no film called so to all of them.

    Parameters
    ----------
    positive
        (N,) which films are so; of both kinds there is at least one.
    score
        (N,) higher for films that are more likely so. Films of one score are called together.

    Returns
    -------
    tuple of ndarray
        For each of the K corners of the curve the share of the others that is called so
        (1 - specificity), and of those that are so (sensitivity); both rise from 0 to 1. Points on a
        straight line between their neighbours are left out.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    right = np.concatenate([[0], np.cumsum(positive[order])[ends]])
    wrong = np.concatenate([[0], 1 + ends]) - right
    # A corner is where the step changes: where it goes on by the same step the curve runs straight.
    bends = np.logical_or(np.diff(right, 2), np.diff(wrong, 2))
    corner = np.concatenate([[True], bends, [True]])
    return wrong[corner] / wrong[-1], right[corner] / right[-1]


def roc_auc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Measure the area under `roc_curve`: the chance that a film that is so scores above one that is not.

    Films of one score count a half (Hanley and McNeil 1982).
    """
    wrong, right = roc_curve(positive, score)
    return float(np.trapezoid(right, wrong))
