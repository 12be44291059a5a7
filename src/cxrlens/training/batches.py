"""Batches of cached films, in an order that only the seed and the epoch decide."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor]


class CachedBatches(Dataset[Batch]):
    """Whole batches out of the memory map: indices in, uint8 films (N, S, S) and labels (N,) out."""

    def __init__(
        self, pixels: NDArray[np.uint8], rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        self.pixels = pixels
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """Copy the films of `indices` out of the map."""
        films = np.stack([self.pixels[row] for row in self.rows[indices]])
        return torch.from_numpy(films), torch.from_numpy(self.labels[indices])


class BatchOrder(Sampler[list[int]]):
    """Indices of each batch; shuffled afresh every epoch, from the seed and the epoch's number alone.

    A last batch of a single film is left out when shuffling, since batch norm cannot learn from one.
    """

    def __init__(self, films: int, batch: int, seed: int | None) -> None:
        self.films = films
        self.batch = batch
        self.seed = seed
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
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        for start in range(len(self)):
            yield order[start * self.batch : (start + 1) * self.batch].tolist()


def batches(films: CachedBatches, batch: int, seed: int | None = None) -> DataLoader[Batch]:
    """Make a loader; with a seed it shuffles. It reads in this process, at memory speed."""
    return DataLoader(films, batch_size=None, sampler=BatchOrder(len(films), batch, seed))
