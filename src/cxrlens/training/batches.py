"""Batches of cached films, in an order that only the seed and the epoch decide."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cxrlens.training.guidance import Guidance, Guided
from cxrlens.training.sampling import Sampling


class Batch(NamedTuple):
    """N films and what is known of them.

    Attributes
    ----------
    films
        (N, S, S) uint8.
    labels
        (N,) int64.
    prior
        (N, classes) float32 to add to the scores in training; None for nothing.
    guided
        What an evidence map is taught with beside the labels, or None.
    """

    films: Tensor
    labels: Tensor
    prior: Tensor | None = None
    guided: Guided | None = None


class CachedBatches(Dataset[Batch]):
    """Whole batches out of the memory map: indices in, a `Batch` out."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        prior: NDArray[np.float32] | None = None,
        guidance: Guidance | None = None,
    ) -> None:
        self.pixels = pixels
        self.rows = rows
        self.labels = labels
        self.prior = prior
        self.guidance = guidance

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """Copy the films of `indices` out of the map."""
        films = np.stack([self.pixels[row] for row in self.rows[indices]])
        return Batch(
            torch.from_numpy(films),
            torch.from_numpy(self.labels[indices]),
            None if self.prior is None else torch.from_numpy(self.prior[indices]),
            None if self.guidance is None else self.guidance.of(indices),
        )


class BatchOrder(Sampler[list[int]]):
    """Indices of each batch; drawn afresh every epoch, from the seed and the epoch's number alone.

    Parameters
    ----------
    films
        How many there are.
    batch
        Films of a batch. A last batch of a single film is left out in training, since batch norm cannot
        learn from one.
    seed
        None keeps the films in their order.
    sampling
        How often a film is met; None for once.
    """

    def __init__(
        self, films: int, batch: int, seed: int | None, sampling: Sampling | None = None
    ) -> None:
        self.films = films if sampling is None else sampling.films
        self.batch = batch
        self.seed = seed
        self.sampling = sampling
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.films, self.batch)
        return whole + (rest > (1 if self.seed is not None else 0))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.films)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, self.epoch])
            if self.sampling is not None:
                order = self.sampling.epoch(rng)
            else:
                rng.shuffle(order)
        for start in range(len(self)):
            yield order[start * self.batch : (start + 1) * self.batch].tolist()


def batches(
    films: CachedBatches, batch: int, seed: int | None = None, sampling: Sampling | None = None
) -> DataLoader[Batch]:
    """Make a loader; with a seed it shuffles. It reads in this process, at memory speed."""
    order = BatchOrder(len(films), batch, seed, sampling)
    return DataLoader(films, batch_size=None, sampler=order)
