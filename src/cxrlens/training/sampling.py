"""How often a film is met in an epoch, and what its source alone tells of its label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.02
"""Share that is added to each class of a source, so that no class is impossible there."""


@dataclass(frozen=True)
class Sampling:
    """Films of one source and class are a cell; each cell has its number of films an epoch.

    Attributes
    ----------
    cells
        (N,) int64, the cell of each film.
    draws
        (cells,) int64, films of each cell that an epoch meets.
    """

    cells: NDArray[np.int64]
    draws: NDArray[np.int64]

    @property
    def films(self) -> int:
        """Films that an epoch meets."""
        return int(self.draws.sum())

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw an epoch's films (M,), in random order.

        No film of a cell comes again before all others of it came.
        """
        chosen = []
        for cell, draws in enumerate(self.draws):
            members = np.flatnonzero(self.cells == cell)
            rounds = [rng.permutation(members) for _ in range(-(-int(draws) // len(members)))]
            chosen.append(np.concatenate(rounds)[:draws])
        return rng.permutation(np.concatenate(chosen))


def shuffled(labels: NDArray[np.int64], sources: NDArray[np.int64]) -> Sampling:
    """Meet every film once an epoch."""
    _, cells = np.unique(np.stack([sources, labels]), axis=1, return_inverse=True)
    cells = cells.reshape(-1).astype(np.int64)
    return Sampling(cells, np.bincount(cells).astype(np.int64))


def balanced(
    labels: NDArray[np.int64], sources: NDArray[np.int64], most: int | None = None
) -> Sampling:
    """Meet every class alike, and within a class each source by the square root of its films.

    Parameters
    ----------
    labels, sources
        (N,) int64 of each film.
    most
        Films of one cell that count; None for all. An epoch has as many films as count.
    """
    every = shuffled(labels, sources)
    counts = np.minimum(every.draws, most or every.draws.max())
    label_of = np.array([labels[every.cells == cell][0] for cell in range(len(counts))])
    weights = np.sqrt(counts)
    classes = np.unique(label_of)
    for label in classes:
        weights[label_of == label] /= weights[label_of == label].sum()
    draws = np.rint(counts.sum() * weights / len(classes)).astype(np.int64)
    return Sampling(every.cells, np.maximum(draws, 1))


def log_prior(
    sampling: Sampling, labels: NDArray[np.int64], sources: NDArray[np.int64], classes: int
) -> NDArray[np.float32]:
    """Give log P(label | source) as training meets it, smoothed, for each film.

    Added to the scores in training, it leaves nothing to gain from telling the source (Menon 2021, logit
    adjustment, here source by source); without it, the scores say what the film itself shows.

    Returns
    -------
    ndarray of float32
        (N, classes).
    """
    met = np.zeros((sources.max() + 1, classes))
    often = sampling.draws / np.bincount(sampling.cells)
    np.add.at(met, (sources, labels), often[sampling.cells])
    total = np.maximum(met.sum(axis=1, keepdims=True), 1e-12)
    share = (met / total + SMOOTHING) / (1 + SMOOTHING * classes)
    prior: NDArray[np.float32] = np.log(share).astype(np.float32)[sources]
    return prior
