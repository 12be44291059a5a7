"""Train a recipe on a collection, from the table of films to a run folder with predictions."""

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import LABELS, OUTSIDE, Collection
from cxrlens.collections.combine import fold, split
from cxrlens.collections.same_films import Same, refuse_contradictions, same_rows
from cxrlens.errors import CollectionError, CxrlensError, RunError
from cxrlens.models.classifier import FilmClassifier
from cxrlens.models.evidence import build_model
from cxrlens.prediction.predictor import Predictor
from cxrlens.progress import Stages
from cxrlens.quality.chain import Chain
from cxrlens.recipes.leave_out import leave_out, refuse_missing_classes, without
from cxrlens.recipes.recipe import Recipe
from cxrlens.runs.run import PREDICTED, Run, make_room
from cxrlens.runs.stored import write_weights
from cxrlens.training.baselines import fit_baseline
from cxrlens.training.films import batches, part, read_drawn, training_part
from cxrlens.training.module import KeepEpochs, SafetensorsCheckpoints, TrainingModule
from cxrlens.training.precision import apply_precision, choose_precision

INNER = ("train", "validation")
"""The splits that folds are dealt out over."""

Member = tuple[Recipe, Collection]


def members_of(
    recipe: Recipe, collection: Collection, same: Same | None = None
) -> dict[str, Member]:
    """Derive each member's recipe and collection.

    Parameters
    ----------
    recipe
        With folds or one-vs-all; a recipe with both gives fold members that are one-vs-all themselves.
    collection
        With a split. Folds are dealt out over its training and validation films, by patient, unless
        it has a column ``fold`` already; its test films stay.
    same
        Which films are the same; see `cxrlens.collections.combine.fold`.

    Returns
    -------
    dict
        By the member's name; empty for a recipe of a single network.

    Raises
    ------
    CollectionError
        If a class has fewer patients than folds, or the column ``fold`` does not fit.
    """
    # What judges the whole is trained once, not for each member.
    leave_out = recipe.leave_out.model_copy(update={"in_turn": ()})
    recipe = recipe.model_copy(update={"leave_out": leave_out})
    if recipe.folds:
        dealt = _dealt(recipe, collection, same)
        single = recipe.model_copy(update={"folds": 0})
        return {
            name: (single, _held_out(dealt, number)) for number, name in enumerate(recipe.members)
        }
    if recipe.one_vs_all:
        return {
            label: (recipe.model_copy(update={"one_vs_all": False, "target": label}), collection)
            for label in LABELS
        }
    return {}


def _dealt(recipe: Recipe, collection: Collection, same: Same | None) -> Collection:
    films = collection.films
    if "fold" not in films:
        return fold(collection, recipe.folds, recipe.seed, same)
    inner = films[films["split"].isin(INNER)]
    found = sorted(inner["fold"].dropna().astype(int).unique().tolist())
    if inner["fold"].isna().any() or found != list(range(recipe.folds)):
        raise CollectionError(
            f"the column fold holds {found}, the recipe wants 0 to {recipe.folds - 1} for every film outside "
            "the test split: make it with cxrlens split --folds, or leave it out"
        )
    if "patient" in films:
        shared = inner.groupby("patient")["fold"].nunique()
        if (shared > 1).any():
            raise CollectionError(
                f"patient {shared[shared > 1].index[0]} has films in several folds: fold by patient"
            )
    return collection


def _held_out(dealt: Collection, number: int) -> Collection:
    films = dealt.films
    split = films["split"].mask(films["split"].isin(INNER), "train")
    # Films of other splits have no fold, and what is missing must not count as a match.
    split = split.mask(films["fold"].eq(number).fillna(False).astype(bool), "validation")
    return Collection(films.assign(split=split).drop(columns="fold"))


OnEpoch = Callable[[int, float], None]
"""Called after each epoch with its number and its validation accuracy; what it raises ends training."""


def train(
    recipe: Recipe,
    collection: Collection,
    out: Path,
    *,
    boxes: Path | None = None,
    lungs: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
    force: bool = False,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
    predicted: Sequence[str] = PREDICTED,
) -> Run:
    """Train a recipe into a new run folder and predict its validation and test films.

    Parameters
    ----------
    recipe
        Everything that decides how the model comes out.
    collection
        Films with labels; without a column ``split`` they are split by patient with the recipe's seed.
    out
        The run folder to make.
    boxes, lungs
        Tables of what was drawn on the films (`cxrlens.collections.outlines`), for a recipe that teaches
        an evidence map with them; the run keeps them.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    cache
        Folder of the film cache.
    force
        Replace a run folder that exists.
    progress
        See `cxrlens.progress.Stages`.
    on_epoch
        See `OnEpoch`; a recipe with members does not call it.
    predicted
        The splits to predict at the end; tuning leaves the test films alone. Sources that the recipe leaves
        out are the split ``outside``; where it leaves some out in turn, a run without each lies in
        ``outside/NAME/``.

    Returns
    -------
    Run
        With weights, history and predictions. Films that could not be read are in ``skipped.csv``.

    Raises
    ------
    CollectionError
        If labels, classes or needed sources are missing, a patient or a film stands in two splits, a film
        is there twice with two labels, or a table of boxes or lungs is at fault.
    RecipeError
        If the recipe asks for boxes or lungs that are not given, or has no use for them.
    OutputError
        If `out` exists or cannot be written.
    CxrlensError
        If the backbone, its weights or the device cannot be had.
    """
    make_room(out, force)
    collection.need("label")
    given = collection
    if "split" not in collection.films:
        collection = split(collection, recipe.seed)
    collection.need("split")
    asked = recipe
    recipe, collection = leave_out(asked, collection)
    refuse_missing_classes(collection, recipe)
    members_of(recipe, collection)
    drawn = read_drawn(recipe, collection, boxes, lungs)
    if recipe.training.source_prior:
        collection.need("source")
    facts = {
        "device": _accelerator(device),
        "threads": torch.get_num_threads(),
        "chain": Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs).version,
        "predicted": list(predicted),
    }
    cached = _cached(collection, recipe, cache, progress)
    same = same_rows(cached.pixels, cached.rows)
    if "split" not in given.films:
        # Now that the films are decoded, copies that were saved anew are known, too.
        collection = split(given, recipe.seed, same=same)
    recipe, collection = leave_out(asked, collection, same)
    refuse_missing_classes(collection, recipe)
    refuse_contradictions(collection.films, same)
    if recipe.baseline:
        facts["device"] = "cpu"
        run = _fit_baseline(out, recipe, collection, cached, facts, progress)
        return _train_outside(run, cache, progress)
    if recipe.members:
        run = Run.create(out, recipe, collection, facts)
        drawn.write(run)
        with run.alone():
            _train_members(run, collection, cached, cache, progress)
        return _train_outside(run, cache, progress)

    torch.manual_seed(recipe.seed)
    model = build_model(recipe.network, recipe.outputs)
    loss, loader = training_part(recipe, collection, cached, drawn)
    films, labels, *_ = next(iter(loader))
    films = films[:, : recipe.training.side, : recipe.training.side]
    target = torch.device(str(facts["device"]))
    precision = choose_precision(
        recipe.training.precision, model.to(target), films.to(target), labels.to(target), loss
    )
    model.cpu()
    facts |= {"precision": precision, "weights": model.backbone.origin}
    run = Run.create(out, recipe, collection, facts)
    drawn.write(run)
    with run.alone():
        _fit(run, model, collection, cached, progress, on_epoch, predicted)
    return _train_outside(run, cache, progress)


def resume(
    out: Path,
    *,
    cache: Path | None = None,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
    predicted: Sequence[str] = PREDICTED,
) -> Run:
    """Go on with a run that was interrupted, from its last whole epoch.

    On the same machine the weights come out as those of an uninterrupted run. A finished run is
    returned as it is; of a run with members, the finished ones are kept. See `train` for the rest.

    Raises
    ------
    RunError
        If `out` is no run folder, its device is not there, or another process trains it.
    """
    run = Run(out)
    with run.alone():
        if (run.path / f"predictions-{predicted[-1]}.csv").is_file():
            return _train_outside(run, cache, progress)
        collection = run.collection()
        cached = _cached(collection, run.recipe, cache, progress)
        if run.recipe.baseline:
            _fit_baseline(out, run.recipe, collection, cached, run.versions(), progress)
        elif run.recipe.members:
            _train_members(run, collection, cached, cache, progress)
        else:
            torch.manual_seed(run.recipe.seed)
            model = build_model(run.recipe.network, run.recipe.outputs)
            _fit(run, model, collection, cached, progress, on_epoch, predicted)
        return _train_outside(run, cache, progress)


def _fit_baseline(
    out: Path,
    recipe: Recipe,
    collection: Collection,
    cached: CachedFilms,
    facts: Mapping[str, Any],
    progress: Stages | None,
) -> Run:
    assert recipe.baseline is not None
    parts = (part(recipe, collection, cached, name) for name in ("train", "validation"))
    train, validation = ((films.pixels, films.rows, films.labels) for films in parts)
    fitted = fit_baseline(recipe.baseline, recipe.seed, train, validation)
    run = Run.create(out, recipe, collection, {**facts, **fitted.facts})
    write_weights(run.path / "weights.safetensors", fitted.arrays())
    run.write_skipped(cached.failures)
    for name in PREDICTED:
        _predict_split(run, name, collection, cached, progress)
    return run


def _train_members(
    run: Run,
    collection: Collection,
    cached: CachedFilms,
    cache: Path | None,
    progress: Stages | None,
) -> Run:
    same = same_rows(cached.pixels, cached.rows)
    for name, (recipe, films) in members_of(run.recipe, collection, same).items():
        place = run.path / "members" / name
        _train_inner(run, place, recipe, films, cache, _named(progress, name))
    run.write_skipped(cached.failures)
    if run.recipe.folds:
        # Each film outside the test split is predicted by the member that was not trained on it.
        parts = [member.predictions("validation") for member in run.members().values()]
        run.write_predictions("validation", pd.concat(parts, ignore_index=True))
    else:
        _predict_split(run, "validation", collection, cached, progress)
    for name in PREDICTED[1:]:
        _predict_split(run, name, collection, cached, progress)
    return run


def _train_outside(run: Run, cache: Path | None, progress: Stages | None) -> Run:
    """Train once more without each group of sources in turn, and gather what is said of them."""
    if not run.recipe.outside:
        return run
    collection = run.collection()
    own = run.recipe.leave_out.sources
    parts = [t[t["source"].isin(own)] for t in ([run.predictions(OUTSIDE)] if own else [])]
    for name, group in run.recipe.outside.items():
        place, recipe = run.path / "outside" / name, without(run.recipe, group)
        say = _named(progress, f"without {' and '.join(group)}")
        table = _train_inner(run, place, recipe, collection, cache, say).predictions(OUTSIDE)
        parts.append(table[table["source"].isin(group)])
    run.write_predictions(OUTSIDE, pd.concat(parts, ignore_index=True))
    return run


def _train_inner(
    run: Run,
    place: Path,
    recipe: Recipe,
    collection: Collection,
    cache: Path | None,
    progress: Stages | None,
) -> Run:
    """Train a run inside another one, or go on with it."""
    if (place / "versions.json").is_file():
        return resume(place, cache=cache, progress=progress)
    shutil.rmtree(place, ignore_errors=True)
    return train(
        recipe,
        collection,
        place,
        boxes=_kept(run.boxes),
        lungs=_kept(run.lungs),
        device=run.versions()["device"],
        cache=cache,
        progress=progress,
    )


def _kept(table: Path) -> Path | None:
    return table if table.is_file() else None


def _named(progress: Stages | None, name: str) -> Stages | None:
    if progress is None:
        return None
    return lambda stage, done, of: progress(f"{name}: {stage}", done, of)


def _fit(
    run: Run,
    model: FilmClassifier,
    collection: Collection,
    cached: CachedFilms,
    progress: Stages | None,
    on_epoch: OnEpoch | None = None,
    predicted: Sequence[str] = PREDICTED,
) -> Run:
    recipe = run.recipe
    drawn = read_drawn(recipe, collection, _kept(run.boxes), _kept(run.lungs))
    loss, train_loader = training_part(recipe, collection, cached, drawn)
    validation = part(recipe, collection, cached, "validation")
    module = TrainingModule(model, loss, recipe, len(train_loader))
    keeper = KeepEpochs(run, recipe.seed)
    callbacks: list[Callback] = [keeper]
    if recipe.training.keep == "best":
        patience = recipe.training.patience
        callbacks.insert(0, EarlyStopping("validation_accuracy", mode="max", patience=patience))
    if progress:
        callbacks.append(_SayBatches(progress, recipe.training.max_epochs))
    if on_epoch:
        callbacks.append(_TellEpochs(run, on_epoch))
    facts = run.versions()
    precision = apply_precision(run.precision, model)
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=facts["device"],
            devices=1,
            precision=precision,
            max_epochs=recipe.training.max_epochs,
            callbacks=callbacks,
            plugins=[SafetensorsCheckpoints()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        started = keeper.progress if keeper.progress.is_file() else None
        try:
            trainer.fit(module, train_loader, batches(validation, 128), ckpt_path=started)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise RunError(
                f"training was interrupted; cxrlens train --resume -o {run.path} goes on"
            ) from stop
    run.write_skipped(cached.failures)
    for name in predicted:
        _predict_split(run, name, collection, cached, progress)
    shutil.rmtree(run.path / "progress", ignore_errors=True)
    return run


def _predict_split(
    run: Run, name: str, collection: Collection, cached: CachedFilms, progress: Stages | None
) -> None:
    films = collection.films
    chosen = (films["split"] == name).to_numpy(bool) & (cached.rows >= 0)
    if name == OUTSIDE and not chosen.any():
        return
    predictor = Predictor.of(run, device=run.versions()["device"])
    say = (lambda done, of: progress(f"predict {name}", done, of)) if progress else None
    table = predictor.predict_cached(
        films.loc[chosen, "image"].tolist(),
        cached.pixels,
        cached.rows[chosen],
        cached.findings[chosen].reset_index(drop=True),
        say,
    )
    carried = [name for name in films if name not in {*table, "split", "fold", "acquisition"}]
    known = films.loc[chosen, carried].reset_index(drop=True)
    known["label"] = run.labels(known["label"])
    run.write_predictions(name, pd.concat([table, known], axis=1))


def _cached(
    collection: Collection, recipe: Recipe, cache: Path | None, progress: Stages | None
) -> CachedFilms:
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    say = (lambda done, of: progress("read films", done, of)) if progress else None
    cached = cache_films(collection.films["image"].tolist(), chain, cache, progress=say)
    cached = replace(cached, failures=cached.failures | dict(collection.missing))
    readable = collection.of(collection.films[cached.rows >= 0])
    if cached.failures:
        refuse_missing_classes(readable, recipe)
    return cached


def _accelerator(device: str) -> str:
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next((name for name in ("cuda", "mps") if available[name]), "cpu")
    if device not in available:
        raise CxrlensError(f"--device {device}: known are auto, {', '.join(available)}")
    if not available[device]:
        there = ", ".join(name for name, here in available.items() if here)
        raise CxrlensError(
            f"--device {device}: this machine has none that PyTorch can use; it has {there}"
        )
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints to developers from our users."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The films lie in a memory map: worker processes would only copy them once more.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning's own use of a PyTorch name that is going away.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # Frozen layers stay in inference mode on purpose.
        warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class _SayBatches(Callback):
    def __init__(self, progress: Stages, epochs: int) -> None:
        self.progress = progress
        self.epochs = epochs

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = f"epoch {trainer.current_epoch + 1} of at most {self.epochs}"
        self.progress(done, batch_idx + 1, int(trainer.num_training_batches))


class _TellEpochs(Callback):
    """Comes after `KeepEpochs`, so that an epoch is kept before anyone hears of it."""

    def __init__(self, run: Run, on_epoch: OnEpoch) -> None:
        self.run = run
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        row = self.run.history().iloc[-1]
        self.on_epoch(int(row["epoch"]), float(row["validation_accuracy"]))
