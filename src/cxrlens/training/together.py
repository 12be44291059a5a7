"""One network of several trainings that began alike: the mean of their weights, or what they say together."""

from collections.abc import Sequence
from pathlib import Path

from cxrlens.collections.collection import Collection
from cxrlens.errors import RecipeError, RunError
from cxrlens.progress import OnEpoch, Stages
from cxrlens.recipes.recipe import Distilling, Recipe, read_recipe
from cxrlens.runs.run import Run, make_room
from cxrlens.runs.saved import mean_weights, read_weights, write_weights
from cxrlens.training.films import read_drawn
from cxrlens.training.fit import Training, cached_films, if_kept, teacher_at

CHANGES = ("name", "about", "training", "augmentation", "loss", "map", "distil")
"""Keys in which what is distilled may differ from its teachers."""


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
    found = _alike(runs)
    first = found[0]
    collection = first.collection()
    blended = _made_of(found, "blended", first.recipe, collection, out, force)
    with blended.alone():
        write_weights(out / "weights.safetensors", mean_weights([run.weights for run in found]))
        films = cached_films(collection, first.recipe, cache, progress)
        training = Training(blended, collection, films, cache, progress, None, first.predicted)
        blended.write_skipped(films.failures)
        for name in first.predicted:
            training.predict(films, name)
    return blended


def distil(
    runs: Sequence[Path],
    out: Path,
    *,
    settings: Sequence[str] = (),
    cache: Path | None = None,
    force: bool = False,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
) -> Run:
    """Teach one network what finished runs say together (Hinton 2015), film by film and place by place.

    It begins at the mean of their weights and is trained once more on their films, as the first was, beside
    labels, boxes and masks by the mean of the runs' scores and maps for the same changed films (Beyer 2022).
    An interrupted one goes on with `resume`.

    Parameters
    ----------
    runs
        As of `blend`.
    out
        The run folder to make.
    settings
        ``key=value`` changes to the first run's recipe, for example ``training.max_epochs=3``.
    cache, force, progress, on_epoch
        See `cxrlens.training.fit.train`.

    Raises
    ------
    RunError
        If a run is unfinished, or differs in more than its training.
    RecipeError
        If a setting is at fault, or changes what a network begins with.
    OutputError
        If `out` exists or cannot be written.
    """
    found = _alike(runs)
    first = found[0]
    recipe = read_recipe(first.path / "recipe.yaml", settings)
    kept = [name for name in Recipe.model_fields if name not in CHANGES]
    if other := [name for name in kept if getattr(recipe, name) != getattr(first.recipe, name)]:
        raise RecipeError(
            f"{', '.join(other)}: what is distilled begins as its teachers began; of their recipe only "
            f"{', '.join(CHANGES)} can change"
        )
    once = recipe.leave_out.model_copy(update={"in_turn": ()})
    recipe = recipe.model_copy(update={"distil": recipe.distil or Distilling(), "leave_out": once})
    collection = first.collection()
    taught = _made_of(found, "taught_by", recipe, collection, out, force)
    for number, run in enumerate(found):
        write_weights(teacher_at(taught, number), read_weights(run.weights))
    with taught.alone():
        films = cached_films(collection, recipe, cache, progress)
        of_films = Training(taught, collection, films, cache, progress, on_epoch, first.predicted)
        return of_films.finish()


def _alike(runs: Sequence[Path]) -> list[Run]:
    """Open runs; refuse what did not begin alike."""
    found = [Run(path) for path in runs]
    if len(found) < 2:
        raise RunError("what runs say together takes two runs or more: name another run")
    for run in found:
        run.need_finished()
        if run.recipe.members:
            raise RunError(f"{run.path} is of several networks that vote: name runs of one network")
        if _origin(run) != _origin(found[0]):
            raise RunError(
                f"{run.path} and {found[0].path} differ in more than their training: they need the same "
                "network, seed, side, quality chain, lungs and films"
            )
    return found


def _made_of(
    found: Sequence[Run], fact: str, recipe: Recipe, collection: Collection, out: Path, force: bool
) -> Run:
    """Make the run of what comes of several that began alike, and note their digests."""
    first = found[0]
    for run in found:
        if run.path.resolve() == out.resolve():
            raise RunError(
                f"{out} is one of the runs that it would be made of: choose another place"
            )
    versions = first.versions()
    kept = ("device", "threads", "chain", "predicted", "precision", "weights")
    facts = {name: versions[name] for name in kept if name in versions}
    facts[fact] = [run.digest for run in found]
    drawn = read_drawn(recipe, collection, if_kept(first.boxes), if_kept(first.lungs))
    with make_room(out, force):
        made = Run.create(out, recipe, collection, facts)
        drawn.write(made)
    return made


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
