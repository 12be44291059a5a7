"""Calibration: offsets, a temperature, and what is near the threshold or unlike what was learnt.

All is fitted on films whose labels are known. Throughout, z of a disease is the log of its probability over
that of the first class, normal, as the network gives both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

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


LEAST_FILMS, LEAST_OF_CLASS = 30, 5
"""Validation films, and of each class, from which trust is fitted; with fewer the model answers as it is."""

NEAR_SHARE, UNLIKE_SHARE = 0.07, 0.01
"""Share of the validation films that is near the threshold, and that each distance calls unlike."""

ROOM = 1.5
"""Times that the bound on the residual lies above that share: collections mostly hold small copies of films,
saved once more, and an original of the same film leaves more over."""

RANKS = 101
"""Quantiles that are kept of what ranks films."""

STEPS = 20
"""Steps between the quantiles, of a disease's films and of the normal ones, at which its curve is counted."""

_LEVEL = 1.959963984540054
"""Standard errors to each side that hold 95 % of a normal distribution."""

_FINITE = ConfigDict(allow_inf_nan=False, frozen=True)


class Rate(NamedTuple):
    """A rate with its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float


class Curve(BaseModel):
    """How thresholds of one disease part films with it from normal ones, were every film answered.

    Attributes
    ----------
    thresholds
        Rising, on the scale of z; the fit's own is one of them.
    missed, alarms
        Films with the disease that do not exceed each, and normal films that do.
    films, patients, normals, normal_patients
        What was counted: with the disease, and normal.
    """

    model_config = _FINITE

    thresholds: list[float] = Field(min_length=1, max_length=200)
    missed: list[NonNegativeInt]
    alarms: list[NonNegativeInt]
    films: PositiveInt
    patients: PositiveInt
    normals: PositiveInt
    normal_patients: PositiveInt

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        many = len(self.thresholds)
        if len(self.missed) != many or len(self.alarms) != many:
            raise ValueError("each threshold of a curve needs its counts")
        if max(self.missed) > self.films or max(self.alarms) > self.normals:
            raise ValueError("a curve counts more films than there are")
        return self

    @classmethod
    def of(cls, z: Array, ill: NDArray[np.bool_], patients: NDArray[np.intp], own: float) -> Self:
        """Count films of one disease and normal ones.

        Parameters
        ----------
        z, ill, patients
            (N,) of films of both kinds: z of the disease, whether they have it, numbers of their patients.
        own
            The threshold in use.
        """
        shares = np.linspace(0, 1, STEPS + 1)
        at = np.unique([*np.quantile(z[ill], shares), *np.quantile(z[~ill], shares), own])
        return cls(
            thresholds=at.tolist(),
            missed=np.searchsorted(np.sort(z[ill]), at, side="right").tolist(),
            alarms=(np.sum(~ill) - np.searchsorted(np.sort(z[~ill]), at, side="right")).tolist(),
            films=int(np.sum(ill)),
            patients=len(np.unique(patients[ill])),
            normals=int(np.sum(~ill)),
            normal_patients=len(np.unique(patients[~ill])),
        )

    @property
    def sensitivities(self) -> list[Rate]:
        """Share of the films with the disease that each threshold finds; see `wilson`."""
        return [wilson(1 - missed / self.films, self.patients) for missed in self.missed]

    @property
    def specificities(self) -> list[Rate]:
        """Share of the normal films below each threshold."""
        return [wilson(1 - alarms / self.normals, self.normal_patients) for alarms in self.alarms]


def wilson(rate: float, patients: int) -> Rate:
    """Give a rate its 95 % interval (Wilson 1927), as if each patient had brought one film.

    Films of one patient resemble each other: counted singly they would promise too much.

    Examples
    --------
    >>> [round(one, 3) for one in wilson(0.9, 50)]
    [0.9, 0.786, 0.957]
    """
    square = _LEVEL**2 / patients
    middle = (rate + square / 2) / (1 + square)
    half = _LEVEL / (1 + square) * np.sqrt((rate * (1 - rate) + square / 4) / patients)
    return Rate(rate, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


_Ranks = Annotated[list[float], Field(max_length=RANKS)]


class Numbers(BaseModel):
    """What is fitted to films whose labels are known.

    Attributes
    ----------
    offsets, temperature
        The probabilities are the softmax of 0 and (z - offset) / temperature: for classes that are equally
        frequent.
    thresholds
        A film is called a disease where z exceeds its threshold, and does so by more than the other's.
    margin
        A film is near the threshold where its answer is ahead of the next by less, on the scale of z.
    margins, relatives
        `RANKS` quantiles, rising, of how near films were and of their map's relative distance; none where
        there is no map.
    most_residual, most_relative
        Distances beyond which a film is unlike; None where they cannot be said.
    prevalence
        Share of each class, by which probabilities are weighted; None for equal shares.
    curves
        Of each disease, None where its films were not counted; empty where no threshold moves the answer.
    """

    model_config = _FINITE

    offsets: list[float]
    thresholds: list[float]
    temperature: float = Field(gt=0)
    margin: float
    margins: _Ranks = []
    relatives: _Ranks = []
    most_residual: float | None = None
    most_relative: float | None = None
    prevalence: list[Annotated[float, Field(gt=0, lt=1)]] | None = None
    curves: list[Curve | None] = []


@dataclass(frozen=True)
class Measures:
    """What is known of N films before anything is said of them.

    Attributes
    ----------
    z
        (N, D) float64.
    voted
        (N,) int64, the class that members voted for; None where nobody votes.
    residual, relative
        (N,) float64, see `cxrlens.prediction.calibration`; None where they cannot be said.
    """

    z: Array
    voted: NDArray[np.int64] | None = None
    residual: Array | None = None
    relative: Array | None = None

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Measures":
        """Keep some of the films."""
        return Measures(
            self.z[chosen],
            None if self.voted is None else self.voted[chosen],
            None if self.residual is None else self.residual[chosen],
            None if self.relative is None else self.relative[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence["Measures"]) -> Self:
        """Put films after one another."""

        def together(name: str) -> NDArray[np.float64] | None:
            held = [getattr(part, name) for part in parts]
            return None if held[0] is None else np.concatenate(held)

        z = np.concatenate([part.z for part in parts])
        voted = together("voted")
        whole = None if voted is None else voted.astype(np.int64)
        return cls(z, whole, together("residual"), together("relative"))


def fit_calibration(z: Array, labels: NDArray[np.int64], moves: bool = True) -> tuple[Array, float]:
    """Fit offsets and a temperature by the log loss, all classes that are there weighing the same.

    Parameters
    ----------
    z
        (N, D).
    labels
        (N,), 0 for normal, d for the disease of column d - 1; each from 0 to D is there.
    moves
        Whether offsets are fitted; 0 otherwise.

    Returns
    -------
    tuple
        Offsets (D,) and the temperature, as `Numbers` has them.

    Notes
    -----
    A logistic regression with one slope, by Newton's method; a weak pull of the slope towards 1 keeps it
    finite where the classes are parted without an error (Platt 1999 has the same care).
    """
    films, diseases = z.shape
    weight = 1 / np.bincount(labels, minlength=diseases + 1)[labels]
    weight /= weight.sum()
    truth = (labels[:, None] == np.arange(1, diseases + 1)).astype(np.float64)
    ways = np.zeros((films, diseases, 1 + diseases))
    ways[:, :, 0] = z
    if moves:
        ways[:, :, 1:] = np.eye(diseases)
    pull = np.full(1 + diseases, 1e-6)
    pull[0] = 1e-3
    found = np.zeros(1 + diseases)
    found[0] = 1.0
    start = found.copy()

    def loss(at: Array) -> float:
        logits = ways @ at
        shares = softmax(np.concatenate([np.zeros((films, 1)), logits], axis=1))
        own = np.maximum(shares[np.arange(films), labels], np.finfo(np.float64).tiny)
        return float(-(weight * np.log(own)).sum() + 0.5 * (pull * (at - start) ** 2).sum())

    for _ in range(100):
        shares = softmax(np.concatenate([np.zeros((films, 1)), ways @ found], axis=1))[:, 1:]
        slope = np.einsum("n,nd,ndk->k", weight, shares - truth, ways) + pull * (found - start)
        bend = np.einsum("n,nd,ndk,ndl->kl", weight, shares, ways, ways)
        mean = np.einsum("nd,ndk->nk", shares, ways)
        bend -= np.einsum("n,nk,nl->kl", weight, mean, mean)
        step = np.linalg.solve(bend + np.diag(pull), slope)
        size, before = 1.0, loss(found)
        while loss(found - size * step) > before and size > 1e-6:
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    sharp = max(float(found[0]), 0.05)  # a model that ranks films the wrong way round is no further
    return -found[1:] / sharp, 1 / sharp


def fit_numbers(
    films: Measures,
    labels: NDArray[np.int64],
    moves: bool,
    patients: NDArray[np.intp] | None = None,
) -> Numbers | None:
    """Fit what trust needs on films that the model was not trained on.

    Parameters
    ----------
    films, labels
        N films and their classes' numbers.
    moves
        Whether the answer may leave the network's own thresholds: half of the fitted offset is taken, since
        the whole one does not carry to other places.
    patients
        (N,) numbers of the films' patients, who are counted for the curves; by default each film has its own.

    Returns
    -------
    Numbers or None
        None with fewer than `LEAST_FILMS`, or `LEAST_OF_CLASS` of a class.
    """
    diseases = films.z.shape[1]
    counts = np.bincount(labels, minlength=diseases + 1)
    if len(labels) < LEAST_FILMS or counts.min() < LEAST_OF_CLASS:
        return None
    moves = moves and films.voted is None
    offsets, temperature = fit_calibration(films.z, labels, moves)
    numbers = fitted(films, offsets / 2, offsets / 2, temperature, NEAR_SHARE)
    own = np.arange(len(labels)) if patients is None else patients
    return numbers.model_copy(update={"curves": curves(films, labels, own, numbers.thresholds)})


def curves(
    films: Measures,
    labels: NDArray[np.int64],
    patients: NDArray[np.intp],
    thresholds: Sequence[float],
) -> list[Curve | None]:
    """Count each disease's `Curve`: None with too few films of it, none at all where members vote."""
    if films.voted is not None:
        return []
    found: list[Curve | None] = []
    for disease, own in enumerate(thresholds, 1):
        ill, both = labels == disease, (labels == disease) | (labels == 0)
        enough = ill.sum() >= LEAST_OF_CLASS
        z = films.z[:, disease - 1]
        found.append(Curve.of(z[both], ill[both], patients[both], own) if enough else None)
    return found


def fitted(
    films: Measures, offsets: Array, thresholds: Array, temperature: float, near: float
) -> Numbers:
    """Fill in what the films themselves tell, without their labels; see `Numbers`.

    Parameters
    ----------
    near
        Share of the films that shall be near the threshold.
    """
    ahead = odds(films.z, thresholds)
    chosen = ahead.argmax(1) if films.voted is None else films.voted
    numbers = Numbers(
        offsets=offsets.tolist(),
        thresholds=thresholds.tolist(),
        temperature=temperature,
        margin=float(np.quantile(lead(ahead, chosen), near)),
        relatives=_quantiles(films.relative),
        most_residual=_beyond(films.residual, ROOM),
        most_relative=_beyond(films.relative),
    )
    margins = _quantiles(-band(films, chosen, numbers))
    return numbers.model_copy(update={"margins": margins})


def odds(z: Array, offsets: Array) -> Array:
    """Put normal's 0 before z less offsets: (N, 1 + D)."""
    return np.concatenate([np.zeros((len(z), 1)), z - offsets], axis=1)


def softmax(logits: Array) -> Array:
    """Turn (N, C) logits into shares whose rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def lead(against: Array, chosen: NDArray[np.int64]) -> Array:
    """How far the chosen class is ahead of the next (N,); below 0 where members outvoted the scores."""
    return rivals(against, chosen)[1]


def rivals(against: Array, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
    """Return the class next to the chosen one (N,), and the `lead` over it."""
    rows = np.arange(len(chosen))
    others = against.copy()
    others[rows, chosen] = -np.inf
    following: NDArray[np.int64] = others.argmax(1)
    return following, against[rows, chosen] - others[rows, following]


def band(films: Measures, chosen: NDArray[np.int64], numbers: Numbers) -> Array:
    """Lead by the thresholds or by the network's own, whichever is less: (N,)."""
    own = lead(odds(films.z, np.zeros(films.z.shape[1])), chosen)
    return np.minimum(lead(odds(films.z, np.array(numbers.thresholds)), chosen), own)


def _quantiles(values: Array | None) -> list[float]:
    if values is None:
        return []
    return [float(one) for one in np.quantile(values, np.linspace(0, 1, RANKS))]


def ranks(values: Array, quantiles: list[float]) -> Array:
    """Share of the films of the fit that are below each value, in [0, 1]."""
    return np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)))


def _beyond(values: Array | None, room: float = 1.0) -> float | None:
    return None if values is None else room * float(np.quantile(values, 1 - UNLIKE_SHARE))
