"""Fit a baseline: the training films fit it for each value of a grid, the validation films choose.

Everything ends as one linear map from features to scores: standardisation and principal components
are folded into its weights, so that no scikit-learn object has to be kept.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import RidgeClassifier  # type: ignore[import-untyped]
from sklearn.metrics import f1_score  # type: ignore[import-untyped]
from sklearn.svm import LinearSVC  # type: ignore[import-untyped]

from cxrlens.prediction.networks import film_features
from cxrlens.recipes.recipe import Baseline

Films = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
"""Pixels of a store (M, S, S), rows of the films in it (N,), their labels (N,)."""


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

    Attributes
    ----------
    weight
        (C, D) float32.
    bias
        (C,) float32.
    facts
        For ``versions.json``: the value that was chosen, what each gave, and the seconds.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    facts: dict[str, Any]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Name the arrays as the run's weights do."""
        return {"weight": self.weight, "bias": self.bias}


def fit_baseline(settings: Baseline, seed: int, train: Films, validation: Films) -> Fitted:
    """Fit a baseline and choose its one setting.

    Parameters
    ----------
    settings
        A recipe's baseline part. The value of its grid with the best macro F1 of the validation films
        is taken; of equals the one that regularises most.
    seed
        Of the principal components and of the SVM's solver.
    train, validation
        See `Films`; every class stands in `train`.
    """
    began = time.perf_counter()
    x, y = _described(settings, train), train[2]
    mean = x.mean(axis=0)
    components = _components(settings, seed, x, mean)
    inner = (x - mean) @ components.T if components is not None else x - mean
    spread = inner.std(axis=0)
    spread[spread < 1e-8] = 1.0
    inner /= spread
    held = _described(settings, validation)
    ridge = settings.kind == "thumbnail-ridge"
    found: dict[float, float] = {}
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    counts = np.bincount(y)
    weights = (
        {i: len(y) / count for i, count in enumerate(counts)} if settings.class_weights else None
    )
    unsettled = []
    for value in sorted(settings.grid, reverse=ridge):
        model = (
            RidgeClassifier(alpha=value, class_weight=weights)
            if ridge
            else LinearSVC(C=value, class_weight=weights, random_state=seed, max_iter=5000)
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(inner, y)
        if any(issubclass(one.category, ConvergenceWarning) for one in said):
            unsettled.append(value)
        coefficients = model.coef_ / spread
        weight = coefficients @ components if components is not None else coefficients
        bias = model.intercept_ - weight @ mean
        called = (held @ weight.T + bias).argmax(axis=1)
        found[value] = float(f1_score(validation[2], called, average="macro"))
        if best is None or found[value] > best[0]:
            best = (found[value], weight, bias)
            chosen = value
    assert best is not None, "a grid has at least one value"
    setting = "alpha" if ridge else "C"
    facts: dict[str, Any] = {
        "baseline": {
            "chosen": {setting: chosen},
            "validation_macro_f1": {f"{setting} {value:g}": f1 for value, f1 in found.items()},
        },
        "weights": "none: fitted in one go",
        "seconds": round(time.perf_counter() - began, 2),
    }
    if unsettled:
        facts["baseline"]["stopped_before_convergence"] = unsettled
    return Fitted(best[1].astype(np.float32), best[2].astype(np.float32), facts)


def _described(settings: Baseline, films: Films) -> NDArray[np.float64]:
    pixels, rows, _ = films
    parts: Sequence[NDArray[np.float32]] = [film_features(pixels[row], settings) for row in rows]
    return np.stack(parts).astype(np.float64)


def _components(
    settings: Baseline, seed: int, x: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Principal components (K, D) of the training films; at most as many as the films allow."""
    if settings.kind != "pca-svm":
        return None
    count = min(settings.components, x.shape[0] - 1, x.shape[1])
    found: NDArray[np.float64] = (
        PCA(count, svd_solver="randomized", random_state=seed).fit(x - mean).components_
    )
    return found
