"""One network out of several trainings: the mean of their weights (a model soup, Wortsman 2022).

Networks that began from the same weights and differ in how their films were changed lie close enough for
the mean of their weights to answer about as well as the mean of their answers, at the cost of one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxrlens.errors import RunError
from cxrlens.progress import Stages
from cxrlens.runs.run import Run, make_room
from cxrlens.runs.stored import read_weights, write_weights
from cxrlens.training.films import read_drawn
from cxrlens.training.fit import Training, cached_films


def blend(
    runs: Sequence[Path],
    out: Path,
    *,
    cache: Path | None = None,
    force: bool = False,
    progress: Stages | None = None,
) -> Run:
    """Average the weights of finished runs into a run of its own, and predict its films.

    Parameters
    ----------
    runs
        At least two, of one network, seed, side, chain and collection: all that may differ is how they
        were trained. The first gives the recipe and the collection.
    out
        The run folder to make.
    cache, force, progress
        See `cxrlens.training.fit.train`.

    Raises
    ------
    RunError
        If a run is unfinished, or differs in more than its training.
    OutputError
        If `out` exists or cannot be written.
    """
    found = [Run(path) for path in runs]
    if len(found) < 2:
        raise RunError("a blend is of two runs or more: name another run")
    first = found[0]
    for run in found:
        run.need_finished()
        if _origin(run) != _origin(first):
            raise RunError(
                f"{run.path} and {first.path} differ in more than their training: a blend needs the same "
                "network, seed, side, quality chain, lungs and films"
            )
    make_room(out, force)
    versions = first.versions()
    kept = ("device", "threads", "chain", "predicted", "precision", "weights")
    facts = {name: versions[name] for name in kept if name in versions}
    facts["blended"] = [run.digest for run in found]
    collection = first.collection()
    blended = Run.create(out, first.recipe, collection, facts)
    boxes, lungs = (path if path.is_file() else None for path in (first.boxes, first.lungs))
    read_drawn(first.recipe, collection, boxes, lungs).write(blended)
    stacks = [read_weights(run.weights) for run in found]
    mean = {
        # Whole numbers only count batches.
        name: np.mean([stack[name] for stack in stacks], axis=0).astype(value.dtype)
        for name, value in stacks[0].items()
    }
    with blended.alone():
        write_weights(out / "weights.safetensors", mean)
        films = cached_films(collection, first.recipe, cache, progress)
        training = Training(blended, collection, films, cache, progress, None, first.predicted)
        blended.write_skipped(films.failures)
        for name in first.predicted:
            training.predict(films, name)
    return blended


def _origin(run: Run) -> tuple[object, ...]:
    """Tell what decides which weights a training begins with, and what it may see."""
    recipe, films = run.recipe, run.films()
    return (
        recipe.network,
        recipe.seed,
        recipe.side,
        recipe.quality,
        recipe.lungs,
        tuple(films["image"]),
        tuple(films["split"]),
    )
