"""Which films a training reads, how often, and with what it is taught beside their labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from cxrlens.collections.cache import CachedFilms
from cxrlens.collections.collection import LABELS, Collection
from cxrlens.collections.outlines import Boxes, Lungs, read_boxes, read_lungs
from cxrlens.errors import CollectionError, RecipeError
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe
from cxrlens.runs.run import Run
from cxrlens.training.batches import Batch, CachedBatches, batches
from cxrlens.training.guidance import draw_guidance
from cxrlens.training.losses import LossFunction, build_loss
from cxrlens.training.sampling import balanced, log_prior, shuffled


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
    for name, path in (("boxes", boxes), ("lungs", lungs)):
        if asked[name] and path is None:
            raise RecipeError(
                f"the recipe {recipe.name} teaches its map with {name}, and no table of them is given: "
                f"--{name} FILE, or --set map.{name}=0 to do without"
            )
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
