"""Metrics with everything: intervals, the same again for each source, and all splits of a run."""

from collections.abc import Sequence

import pandas as pd

from cxrlens.collections.collection import SPLITS
from cxrlens.errors import RunError
from cxrlens.evaluation.intervals import bootstrap
from cxrlens.evaluation.metrics import Metrics, measure, write_metrics
from cxrlens.runs.run import Run


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


def assess_run(run: Run, resamples: int = 1000, seed: int = 0) -> dict[str, Metrics]:
    """Measure each split of a run that has predictions, and keep it as ``metrics.json``.

    Parameters
    ----------
    run
        A run; metrics that it has already are replaced.
    resamples, seed
        See `assess`.

    Returns
    -------
    dict of str to Metrics
        By split, in the order train, validation, test.

    Raises
    ------
    RunError
        If the run has no predictions of any split.
    CollectionError
        If a table of predictions cannot be measured.
    """
    found = {
        split: assess(run.predictions(split), run.classes, resamples, seed)
        for split in SPLITS
        if (run.path / f"predictions-{split}.csv").is_file()
    }
    if not found:
        raise RunError(f"{run.path} has no predictions yet: cxrlens train --resume finishes it")
    write_metrics(run.path / "metrics.json", found, force=True)
    return found
