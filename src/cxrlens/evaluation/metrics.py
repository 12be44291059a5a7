"""Confusion matrix, accuracy, precision, recall, F1 and one-vs-rest AUC of a table of predictions."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.collection import patient_codes
from cxrlens.errors import CollectionError
from cxrlens.evaluation.measured import ClassMetrics, Metrics
from cxrlens.prediction.trust import UNSURE


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
    counts = np.zeros((len(classes), len(classes)), np.int64)
    rows, columns = (numbered(pd.Series(list(names)), classes) for names in (label, predicted))
    np.add.at(counts, (rows, columns), 1)
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


TOLERANCE = 0.01
"""How far from 1 the probabilities of a film may sum: tables may be rounded to two decimals."""


def unsure(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which films (N,) of a table no class is named for."""
    return predictions["predicted"].astype(str).str.lower().eq(UNSURE).to_numpy(bool)


def forced(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Name a class for unsure films, too: what the column ``suggests`` has, else the likeliest one.

    A table without unsure films is returned as it is.
    """
    if "predicted" not in predictions or not (left := unsure(predictions)).any():
        return predictions
    shares = predictions[list(classes)].to_numpy(np.float64)
    likely = pd.Series(np.array(list(classes), object)[shares.argmax(1)], predictions.index)
    if "suggests" in predictions:
        suggested = predictions["suggests"].astype("string").str.lower().astype(object)
        likely = suggested.where(suggested.isin(list(classes)), likely)
    return predictions.assign(predicted=predictions["predicted"].astype(object).mask(left, likely))


def check_predictions(predictions: pd.DataFrame, classes: Sequence[str]) -> None:
    """Refuse a table that cannot be measured.

    Parameters
    ----------
    predictions
        Columns ``label``, ``predicted`` and one of probabilities for each class.
    classes
        The classes of the model.

    Raises
    ------
    CollectionError
        If the table is empty, lacks a column, holds a label or prediction that is no class of the
        model, or probabilities that are missing, out of [0, 1], or do not sum to 1.
    """
    missing = [c for c in ("label", "predicted", *classes) if c not in predictions.columns]
    if missing:
        raise CollectionError(
            f"the predictions lack the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}: evaluation needs label, predicted and a column a class"
        )
    if predictions.empty:
        raise CollectionError("the table of predictions has no films: there is nothing to measure")
    for column in ("label", "predicted"):
        without = int(predictions[column].isna().sum())
        if without:
            raise CollectionError(
                f"{without} of {len(predictions)} films have no {column}: "
                "leave them out, or add what is missing"
            )
        unknown = sorted(set(predictions[column].astype(str)) - set(classes))
        if unknown:
            raise CollectionError(
                f"the column {column} holds {', '.join(map(repr, unknown))}, "
                f"which the model does not know: its classes are {', '.join(classes)}"
            )
    scores = probabilities(predictions, classes)
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise CollectionError(
            f"the columns {', '.join(classes)} must hold probabilities between 0 and 1 "
            "for every film"
        )
    worst = int(np.abs(scores.sum(axis=1) - 1).argmax())
    if abs(scores[worst].sum() - 1) > TOLERANCE:
        name = predictions["image"].iloc[worst] if "image" in predictions else f"row {worst + 1}"
        raise CollectionError(
            f"the probabilities of {name} sum to {scores[worst].sum():.3f}, not to 1"
        )


def probabilities(predictions: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the classes' probabilities as an array (films, classes)."""
    return predictions[list(classes)].to_numpy(dtype=np.float64)


def numbered(names: pd.Series, classes: Sequence[str]) -> NDArray[np.intp]:
    """Return the place of each name among the classes, shape (films,)."""
    return pd.Index(classes).get_indexer(pd.Index(names.astype(str))).astype(np.intp)


def certainty(predictions: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the probability of the class that each film was called, shape (films,)."""
    called = numbered(forced(predictions, classes)["predicted"], classes)
    return probabilities(predictions, classes)[np.arange(len(predictions)), called]


def measure(predictions: pd.DataFrame, classes: Sequence[str]) -> Metrics:
    """Measure a table of predictions.

    Parameters
    ----------
    predictions
        A film a row: ``label``, ``predicted``, a column of probabilities for each class, and
        ``patient`` where known; other columns are left alone.
    classes
        The classes of the model, in the order in which to show them.

    Returns
    -------
    Metrics
        Without intervals and without sources; `cxrlens.evaluation.assess.assess` adds both.

    Raises
    ------
    CollectionError
        If the table cannot be measured; see `check_predictions`.

    Examples
    --------
    >>> films = pd.DataFrame(
    ...     {
    ...         "label": ["normal", "normal", "pneumonia"],
    ...         "predicted": ["normal", "pneumonia", "pneumonia"],
    ...         "normal": [0.9, 0.4, 0.2],
    ...         "pneumonia": [0.1, 0.6, 0.8],
    ...     }
    ... )
    >>> found = measure(films, ["normal", "pneumonia"])
    >>> found.confusion, round(found.accuracy, 3), found.by_class["normal"].recall
    ([[1, 1], [0, 1]], 0.667, 0.5)
    """
    predictions = forced(predictions, classes)
    check_predictions(predictions, classes)
    names = list(classes)
    label = predictions["label"].astype(str).to_numpy()
    predicted = predictions["predicted"].astype(str).to_numpy()
    scores = probabilities(predictions, classes)
    confusion = confusion_matrix(label, predicted, names)
    films, called, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    # What is 0 of 0 counts as 0 here; below it becomes None where it cannot be measured.
    precision = right / np.maximum(called, 1)
    recall = right / np.maximum(films, 1)
    f1 = 2 * right / np.maximum(films + called, 1)
    occurs = films + called > 0
    aucs = [_auc(label == name, scores[:, i]) for i, name in enumerate(names)]
    measured = [auc for auc in aucs if auc is not None]
    return Metrics(
        classes=tuple(names),
        films=len(predictions),
        patients=int(np.unique(patient_codes(predictions)).size),
        confusion=confusion.tolist(),
        accuracy=float(right.sum() / len(predictions)),
        macro_precision=float(precision[occurs].mean()),
        macro_recall=float(recall[occurs].mean()),
        macro_f1=float(f1[occurs].mean()),
        macro_auc=float(np.mean(measured)) if measured else None,
        by_class={
            name: ClassMetrics(
                films=int(films[i]),
                predicted=int(called[i]),
                precision=float(precision[i]) if called[i] else None,
                recall=float(recall[i]) if films[i] else None,
                f1=float(f1[i]) if occurs[i] else None,
                auc=aucs[i],
                specificity=_specificity(int(films[i]), int(called[i]), int(right[i]), len(label)),
            )
            for i, name in enumerate(names)
        },
    )


def _specificity(films: int, called: int, right: int, of: int) -> float | None:
    others = of - films
    return (others - (called - right)) / others if others else None


def _auc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float | None:
    if positive.all() or not positive.any():
        return None
    return roc_auc(positive, score)
