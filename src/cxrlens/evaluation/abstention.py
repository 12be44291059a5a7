"""What leaving films unsure is worth: what is answered, how often that is wrong, what is referred."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.evaluation.intervals import drawn_weights, percentiles, ratio, weighted_auc
from cxrlens.evaluation.measured import NORMAL, Abstention, Estimate, Referral
from cxrlens.evaluation.metrics import forced, probabilities, unsure

COVERAGES = tuple(round(0.05 * step, 2) for step in range(6, 21))
"""Shares of the films, the least doubtful first, at which the error is given: 0.3 to 1."""


def abstention(
    predictions: pd.DataFrame, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> Abstention | None:
    """Measure what abstaining gives; see `Abstention`.

    Parameters
    ----------
    predictions
        ``label``, ``predicted`` and a column of probabilities for each class; ``suggests``, ``reason``,
        ``doubt`` and ``patient`` are used where they are.
    classes
        The classes of the model.
    resamples, seed
        Of the intervals, which draw patients; 0 gives none.

    Returns
    -------
    Abstention or None
        None where no film is unsure and the table has no ``doubt``: nothing abstains there.
    """
    left = unsure(predictions)
    if not left.any() and "doubt" not in predictions:
        return None
    named = forced(predictions, classes)["predicted"].astype(str).to_numpy()
    label = predictions["label"].astype(str).to_numpy()
    wrong, answered = named != label, ~left
    diseases = [name for name in classes if name != NORMAL and (label == name).any()]
    counted = [np.ones(len(label), bool), answered, wrong, wrong & answered]
    for name in diseases:
        ill, hit = label == name, named == name
        counted += [ill, ill & hit, ill & hit & answered, ill & (hit | left)]
    likely = 1 - probabilities(predictions, classes).max(1)
    doubt = _doubt(predictions)
    kinds = np.stack(counted, 1).astype(np.float64)
    ranked = [likely] if doubt is None else [likely, doubt]
    draws = [np.ones((1, len(label)))]
    if resamples:
        draws += drawn_weights(predictions, resamples, seed)[1]
    parts = [_counted(weights, kinds, wrong, ranked) for weights in draws]
    sums, areas = (np.concatenate(of) for of in zip(*parts, strict=True))

    def share(top: int, bottom: int) -> Estimate:
        return _estimate(ratio(sums[:, top], sums[:, bottom]))

    order = np.argsort(likely if doubt is None else doubt, kind="stable")
    errors = np.cumsum(wrong[order])
    places = [max(1, round(share * len(label))) for share in COVERAGES]
    reasons = predictions["reason"] if "reason" in predictions else pd.Series("", predictions.index)
    told = reasons.fillna("").astype(str)[left].value_counts()
    return Abstention(
        films=len(label),
        answered=share(1, 0),
        by_class={
            name: float(answered[label == name].mean()) for name in classes if (label == name).any()
        },
        by_reason={str(name): int(count) for name, count in told.items()},
        error=share(3, 1),
        forced_error=share(2, 0),
        ratio=_estimate(ratio(ratio(sums[:, 3], sums[:, 1]), ratio(sums[:, 2], sums[:, 0]))),
        doubt=Estimate(value=None) if doubt is None else _estimate(areas[:, 1]),
        likelihood=_estimate(areas[:, 0]),
        diseases={
            name: Referral(
                films=int((label == name).sum()),
                forced=share(5 + 4 * i, 4 + 4 * i),
                as_miss=share(6 + 4 * i, 4 + 4 * i),
                as_referral=share(7 + 4 * i, 4 + 4 * i),
            )
            for i, name in enumerate(diseases)
        },
        curve=[
            (share, float(errors[place - 1] / place))
            for share, place in zip(COVERAGES, places, strict=True)
        ],
    )


def _counted(
    weights: NDArray[np.float64],
    kinds: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    ranked: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count films of each kind (R, K) for rows of weights (R, N), and how scores rank errors (R, S)."""
    areas = np.stack([weighted_auc(weights, wrong, score) for score in ranked], axis=1)
    return weights @ kinds, areas


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """Take the first as the figure, and the rest as its resamples."""
    value, drawn = float(values[0]), values[1:]
    if not np.isfinite(value):
        return Estimate(value=None)
    return Estimate(value=value, interval=percentiles(drawn, 0.95) if drawn.size else None)


def _doubt(predictions: pd.DataFrame) -> NDArray[np.float64] | None:
    if "doubt" not in predictions:
        return None
    doubt = pd.to_numeric(predictions["doubt"], errors="coerce").to_numpy(np.float64)
    return None if np.isnan(doubt).any() else doubt
