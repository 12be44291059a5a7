"""Which films a training reads, how often, in which order, and with what it is taught beside their labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from cxrlens.collections.cache import CachedFilms
from cxrlens.collections.collection import LABELS, Boxes, Collection, Lungs, read_boxes, read_lungs
from cxrlens.errors import CollectionError, RecipeError
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe
from cxrlens.runs.run import Run
from cxrlens.training.augment import Batch, Guidance, draw_guidance
from cxrlens.training.losses import LossFunction, build_loss

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


@dataclass(frozen=True)
class Drawn:
    """Tables of what was drawn on films; None where a recipe does not ask for it."""

    boxes: Boxes | None = None
    lungs: Lungs | None = None

    def write(self, run: Run) -> None:
        """Keep them in a run."""
        if self.boxes:
            self.boxes.write(run.boxes, force=True)
        if self.lungs:
            self.lungs.write(run.lungs, force=True)


def read_drawn(
    recipe: Recipe, collection: Collection, boxes: Path | None, lungs: Path | None
) -> Drawn:
    """Read the tables that a recipe teaches its map with.

    Raises
    ------
    RecipeError
        If the recipe asks for a table that is not given, or has no use for one that is.
    CollectionError
        If a table breaks a promise, or is of none of the collection's films.
    """
    asked = {
        "boxes": recipe.map.boxes if recipe.map else 0.0,
        "lungs": recipe.map.lungs if recipe.map else 0.0,
    }
    given = {"boxes": boxes, "lungs": lungs}
    if lacks := [name for name, path in given.items() if asked[name] and path is None]:
        raise RecipeError(
            f"the recipe {recipe.name} teaches its map with {' and '.join(lacks)}, and no table of them is "
            f"given: {' '.join(f'--{name} FILE' for name in lacks)}, or "
            f"{' '.join(f'--set map.{name}=0' for name in lacks)} to do without"
        )
    for name, path in given.items():
        if path is not None and not asked[name]:
            raise RecipeError(
                f"the recipe {recipe.name} has no map that {name} teach: take evidence-lite0, "
                f"or leave --{name} out"
            )
    return Drawn(
        read_boxes(boxes).of(collection, str(boxes)) if boxes else None,
        read_lungs(lungs).of(collection, str(lungs)) if lungs else None,
    )


def part(recipe: Recipe, collection: Collection, cached: CachedFilms, name: str) -> CachedBatches:
    """Films and labels of a split, those that could be read."""
    chosen = _chosen(collection, cached, name)
    label = collection.films["label"]
    numbers = label.ne(recipe.target) if recipe.target else label.map(LABELS.index)
    labels: NDArray[np.int64] = np.asarray(numbers, np.int64)
    return CachedBatches(cached.pixels, cached.rows[chosen], labels[chosen])


def training_part(
    recipe: Recipe, collection: Collection, cached: CachedFilms, drawn: Drawn
) -> tuple[LossFunction, DataLoader[Batch]]:
    """Make the loss and the training films' loader.

    Raises
    ------
    CollectionError
        If there are too few films, or a lung mask is at fault.
    """
    films = part(recipe, collection, cached, "train")
    chosen = _chosen(collection, cached, "train")
    settings = recipe.training
    sources = np.zeros(len(films), np.int64)
    if "source" in collection.films:
        # Films whose source is unknown count as one more source.
        named = collection.films.loc[chosen, "source"].fillna("").astype(str).to_numpy()
        sources = np.unique(named, return_inverse=True)[1].astype(np.int64)
    sampling = None
    if settings.sampling == "balanced":
        sampling = balanced(films.labels, sources, settings.films_per_cell)
    if settings.source_prior:
        met = sampling or shuffled(films.labels, sources)
        films.prior = log_prior(met, films.labels, sources, recipe.outputs)
    if recipe.map:
        known = collection.films.loc[chosen, "image"].tolist()
        repairs = ["" for _ in known]
        if "repairs" in cached.findings:
            repairs = cached.findings.loc[chosen, "repairs"].fillna("").astype(str).tolist()
        chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
        films.guidance = draw_guidance(known, repairs, chain, drawn.boxes, drawn.lungs)
    counts = np.bincount(films.labels, minlength=max(2, recipe.outputs))
    loader = batches(films, settings.batch, recipe.seed, sampling)
    if not len(loader):
        raise CollectionError("one training film is left, too few to train on")
    return build_loss(recipe.loss, counts.tolist()), loader


def _chosen(collection: Collection, cached: CachedFilms, name: str) -> NDArray[np.bool_]:
    chosen = (collection.films["split"] == name).to_numpy(bool) & (cached.rows >= 0)
    return np.asarray(chosen, np.bool_)
