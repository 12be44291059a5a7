"""Metrics with everything: intervals, and the same again for each source."""

from collections.abc import Sequence

import pandas as pd

from cxrlens.evaluation.intervals import bootstrap
from cxrlens.evaluation.metrics import Metrics, measure


def assess(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    by_source: bool = True,
) -> Metrics:
    """Measure a table of predictions, with 95 % intervals, whole and source by source.

    Parameters
    ----------
    predictions
        A film a row: ``label``, ``predicted``, a column of probabilities for each class, and
        ``patient`` and ``source`` where known.
    classes
        The classes of the model, in the order in which to show them.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`; 0 resamples gives no intervals.
    by_source
        Also measure the films of each source alone, if there are two sources or more.

    Returns
    -------
    Metrics
        With `intervals` and, in alphabetical order, `by_source`.

    Raises
    ------
    CollectionError
        If the table cannot be measured; see `cxrlens.evaluation.metrics.check_predictions`.
    """
    whole = measure(predictions, classes)
    if resamples:
        whole = whole.model_copy(
            update={"intervals": bootstrap(predictions, classes, resamples, seed)}
        )
    if by_source and "source" in predictions.columns and predictions["source"].nunique() > 1:
        parts = {
            str(name): assess(part, classes, resamples, seed, by_source=False)
            for name, part in predictions.groupby("source", sort=True)
        }
        whole = whole.model_copy(update={"by_source": parts})
    return whole
