"""How like a film is to those that a model has learnt from: by its features, and by its map of evidence.

Two distances. The *residual* of the pooled features is what the principal components of the training films do
not explain; it finds pictures of another kind. The *relative distance* of the map's statistics is the
Mahalanobis distance from the nearest class, less that from all films together (Ren et al. 2021,
arXiv:2106.09022); among films of one place it ranks errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COMPONENTS = 32
"""Principal components of the features at most; and no more than a quarter of the features."""

MAP_COMPONENTS = 8
"""Principal components of the map's statistics at most."""

SHRINKAGE = 0.1
"""Of a covariance towards a multiple of the identity."""

_STILL = 1e-6  # a feature that never moves would be divided by nothing


def map_statistics(maps: NDArray[np.float32]) -> Array:
    """Describe maps of evidence by five figures for each disease.

    Parameters
    ----------
    maps
        (N, D, h, w), before the sigmoid.

    Returns
    -------
    ndarray of float64
        (N, 5 D): each disease's maximum, then each one's mean, deviation, 95 % quantile, and share above 0.
    """
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    figures = (
        flat.max(2),
        flat.mean(2),
        flat.std(2),
        np.quantile(flat, 0.95, axis=2),
        (flat > 0).mean(2),
    )
    return np.concatenate(figures, axis=1)


@dataclass(frozen=True)
class Axes:
    """Principal axes of standardised figures of the training films.

    Attributes
    ----------
    mean, spread
        (C,) of each figure.
    components
        (k, C), orthonormal rows, the widest first.
    """

    mean: Array
    spread: Array
    components: Array

    @classmethod
    def fit(cls, figures: Array, most: int) -> Self:
        """Find at most `most` axes of (N, C) figures; N and C are at least 2."""
        mean, spread = figures.mean(0), figures.std(0) + _STILL
        _, _, axes = np.linalg.svd((figures - mean) / spread, full_matrices=False)
        # Stored in half precision: what is fitted on top must see the same numbers.
        return cls(mean, spread, axes[:most].astype(np.float16).astype(np.float64))

    def along(self, figures: Array) -> Array:
        """Coordinates (N, k) of figures (N, C)."""
        return self._standard(figures) @ self.components.T

    def residual(self, figures: Array) -> Array:
        """Give what the axes leave over of figures (N, C), as a sum of squares (N,)."""
        standard = self._standard(figures)
        rest: Array = (standard**2).sum(1) - ((standard @ self.components.T) ** 2).sum(1)
        return rest

    def _standard(self, figures: Array) -> Array:
        return (figures - self.mean) / self.spread


@dataclass(frozen=True)
class Familiarity:
    """The two distances, fitted on films of training.

    Attributes
    ----------
    features
        Axes of the pooled features; None for a model that gives none.
    shape
        Axes of the map's statistics; None for a model without a map.
    class_means, within, marginal
        Means (classes, k) of the coordinates in `shape`, and inverse covariances (k, k) round them and round
        the mean of all, which is 0.
    """

    features: Axes | None = None
    shape: Axes | None = None
    class_means: Array | None = None
    within: Array | None = None
    marginal: Array | None = None

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float32] | None,
        statistics: Array | None,
        labels: NDArray[np.int64],
    ) -> Self:
        """Learn what films of training look like.

        Parameters
        ----------
        features
            (N, C) pooled features, or None.
        statistics
            (N, 5 D) of `map_statistics`, or None.
        labels
            (N,) numbers of the classes from 0, each there.
        """
        axes = None
        if features is not None and (most := min(COMPONENTS, features.shape[1] // 4)):
            axes = Axes.fit(features.astype(np.float64), most)
        if statistics is None:
            return cls(axes)
        shape = Axes.fit(statistics, min(MAP_COMPONENTS, statistics.shape[1]))
        along = shape.along(statistics)
        means = np.stack([along[labels == label].mean(0) for label in range(labels.max() + 1)])
        return cls(axes, shape, means, _inverse(along - means[labels]), _inverse(along))

    def residual(self, features: NDArray[np.float32] | None) -> Array | None:
        """Say how far features (N, C) are from all that was learnt: (N,), or None where it cannot be said."""
        if self.features is None or features is None:
            return None
        return self.features.residual(features.astype(np.float64))

    def relative(self, maps: NDArray[np.float32] | None) -> Array | None:
        """Say how far maps (N, D, h, w) are from every class: (N,), or None where it cannot be said."""
        if self.shape is None or maps is None:
            return None
        assert self.class_means is not None
        assert self.within is not None
        assert self.marginal is not None
        along = self.shape.along(map_statistics(maps))
        apart = along[:, None] - self.class_means
        near: Array = np.einsum("nck,kl,ncl->nc", apart, self.within, apart).min(1)
        of_all: Array = np.einsum("nk,kl,nl->n", along, self.marginal, along)
        return near - of_all

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give what `from_arrays` reads."""
        found: dict[str, NDArray[Any]] = {}
        for name, axes in (("features", self.features), ("map", self.shape)):
            if axes is not None:
                found[f"{name}_mean"] = axes.mean.astype(np.float32)
                found[f"{name}_spread"] = axes.spread.astype(np.float32)
                found[f"{name}_components"] = axes.components.astype(np.float16)
        for name in _MATRICES:
            matrix = getattr(self, name)
            if matrix is not None:
                found[name] = matrix.astype(np.float32)
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` gave.

        Raises
        ------
        KeyError
            If an array of a distance is missing.
        """
        held = {name: array.astype(np.float64) for name, array in arrays.items()}
        features, shape = (
            Axes(*(held[f"{name}_{part}"] for part in ("mean", "spread", "components")))
            if f"{name}_mean" in held
            else None
            for name in ("features", "map")
        )
        matrices = [held[name] for name in _MATRICES] if shape else []
        return cls(features, shape, *matrices)


_MATRICES = ("class_means", "within", "marginal")


def _inverse(apart: Array) -> Array:
    """Invert the covariance of (N, k) deviations from means, shrunk."""
    covariance = apart.T @ apart / len(apart)
    size = len(covariance)
    even = np.trace(covariance) / size * np.eye(size)
    return np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * even + _STILL * np.eye(size))
