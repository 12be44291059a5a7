"""Train a recipe on a collection, from the table of films to a run folder with predictions."""

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.collections.collection import LABELS, OUTSIDE, Collection, shared_patients
from cxrlens.collections.combine import fold, split
from cxrlens.collections.same_films import Same, refuse_contradictions, same_rows
from cxrlens.errors import CollectionError, RecipeError, RunError, need
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.torch_network import accelerator, load_classifier
from cxrlens.progress import Epoch, OnEpoch, Stages, epochs_within, stage, within
from cxrlens.quality.chain import Chain
from cxrlens.recipes.leave_out import leave_out, refuse_missing_classes, without
from cxrlens.recipes.recipe import Baseline, Recipe
from cxrlens.runs.run import PREDICTED, Run, make_room, refuse_taken
from cxrlens.runs.saved import mean_weights, write_weights
from cxrlens.training.baselines import fit_baseline
from cxrlens.training.films import batches, part, read_drawn, training_part
from cxrlens.training.module import KeepEpochs, SafetensorsCheckpoints, TrainingModule
from cxrlens.training.precision import apply_precision, choose_precision
from cxrlens.training.trust import fit_trust

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
        for name in shared_patients(inner, "fold"):
            raise CollectionError(f"patient {name} has films in several folds: fold by patient")
    return collection


def _held_out(dealt: Collection, number: int) -> Collection:
    films = dealt.films
    split = films["split"].mask(films["split"].isin(INNER), "train")
    # Films of other splits have no fold, and what is missing must not count as a match.
    split = split.mask(films["fold"].eq(number).fillna(False).astype(bool), "validation")
    return Collection(films.assign(split=split).drop(columns="fold"))


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
        Tables of what was drawn on the films (`cxrlens.collections.collection`), for a recipe that teaches
        an evidence map with them; the run keeps them.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    cache
        Folder of the film cache.
    force
        Replace a run folder that exists, once all that can be checked before training is.
    progress
        See `cxrlens.progress.Stages`.
    on_epoch
        See `cxrlens.progress.OnEpoch`; of a recipe with members each member's are told, with its name.
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
    refuse_taken(out, force)
    collection.need("label")
    given = collection
    if "split" not in collection.films:
        collection = split(collection, recipe.seed)
    collection.need("split")
    asked = recipe
    if recipe.distil:
        raise RecipeError(
            "distil is of a network that runs teach: name them to cxrlens.training.together.distil, or leave "
            "the key out"
        )
    recipe, collection = leave_out(asked, collection)
    refuse_missing_classes(collection, recipe)
    members_of(recipe, collection)
    drawn = read_drawn(recipe, collection, boxes, lungs)
    if recipe.training.source_prior:
        collection.need("source")
    facts = {
        "device": accelerator(device),
        "threads": torch.get_num_threads(),
        "chain": Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs).version,
        "predicted": list(predicted),
    }
    # Before the films are read, which takes longer than to learn that a hub does not answer.
    model = None if recipe.baseline else _new_model(recipe)
    cached = cached_films(collection, recipe, cache, progress)
    same = same_rows(cached.pixels, cached.rows)
    if "split" not in given.films:
        # Now that the films are decoded, copies that were saved anew are known, too.
        collection = split(given, recipe.seed, same=same)
    recipe, collection = leave_out(asked, collection, same)
    refuse_missing_classes(collection, recipe)
    refuse_contradictions(collection.films, same)
    if model is None:
        facts["device"] = "cpu"
    elif recipe.members:
        model = None  # each makes its own
    else:
        loss, loader = training_part(recipe, collection, cached, drawn)
        films, labels, *_ = next(iter(loader))
        films = films[:, : recipe.training.side, : recipe.training.side]
        target = torch.device(str(facts["device"]))
        precision = choose_precision(
            recipe.training.precision, model.to(target), films.to(target), labels.to(target), loss
        )
        model.cpu()
        facts |= {"precision": precision, "weights": model.backbone.origin}
    with make_room(out, force):
        run = Run.create(out, recipe, collection, facts)
        drawn.write(run)
    with run.alone():
        training = Training(run, collection, cached, cache, progress, on_epoch, predicted)
        return training.finish(model)


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
        collection = run.collection()
        done = (run.path / f"predictions-{predicted[-1]}.csv").is_file()
        cached = None if done else cached_films(collection, run.recipe, cache, progress)
        return Training(run, collection, cached, cache, progress, on_epoch, predicted).finish()


@dataclass(frozen=True)
class Training:
    """A run on its way: its films, and who hears how far it is.

    Attributes
    ----------
    run
        The folder, with recipe, collection and versions.
    collection
        The run's films.
    films
        Their pixels; None where only what the recipe leaves out in turn is still to be trained.
    cache, progress, on_epoch, predicted
        See `train`.
    """

    run: Run
    collection: Collection
    films: CachedFilms | None
    cache: Path | None
    progress: Stages | None
    on_epoch: OnEpoch | None
    predicted: Sequence[str]

    def finish(self, model: FilmClassifier | None = None) -> Run:
        """Bring the run to its end, from wherever it stands.

        Parameters
        ----------
        model
            The network as it begins; made from the recipe's seed where it is not given.
        """
        recipe = self.run.recipe
        if self.films:
            if recipe.baseline:
                self._fit_baseline(self.films, recipe.baseline)
            elif recipe.members:
                same = same_rows(self.films.pixels, self.films.rows)
                for name, member in members_of(recipe, self.collection, same).items():
                    self._inner(f"members/{name}", name, *member)
            else:
                self._fit_network(self.films, model or _new_model(recipe))
            self.run.write_skipped(self.films.failures)
            films = self.collection.films.reset_index(drop=True)
            fit_trust(
                self.run,
                films,
                self.films,
                self.run.versions()["device"],
                stage(self.progress, "learn what is familiar"),
            )
            for name in self.predicted:
                self.predict(self.films, name)
            shutil.rmtree(self.run.path / "progress", ignore_errors=True)
        if recipe.outside:
            self._leave_out_in_turn()
        return self.run

    def _fit_baseline(self, films: CachedFilms, settings: Baseline) -> None:
        recipe = self.run.recipe
        parts = (part(recipe, self.collection, films, name) for name in ("train", "validation"))
        train, validation = ((of.pixels, of.rows, of.labels) for of in parts)
        fitted = fit_baseline(settings, recipe.seed, train, validation)
        self.run.note(fitted.facts)
        write_weights(self.run.path / "weights.safetensors", fitted.arrays())

    def _fit_network(self, films: CachedFilms, model: FilmClassifier) -> None:
        run, recipe = self.run, self.run.recipe
        drawn = read_drawn(recipe, self.collection, if_kept(run.boxes), if_kept(run.lungs))
        loss, train_loader = training_part(recipe, self.collection, films, drawn)
        validation = part(recipe, self.collection, films, "validation")
        taught_by = [
            teacher_at(run, number) for number, _ in enumerate(run.versions().get("taught_by", ()))
        ]
        teachers = [load_classifier(run, weights) for weights in taught_by]
        if taught_by:
            mean = mean_weights(taught_by).items()
            model.load_state_dict({name: torch.tensor(value) for name, value in mean})
        module = TrainingModule(model, loss, recipe, len(train_loader), teachers)
        keeper = KeepEpochs(run, recipe.seed)
        callbacks: list[Callback] = [keeper]
        if recipe.training.keep == "best":
            patience = recipe.training.patience
            callbacks.insert(0, EarlyStopping("validation_accuracy", mode="max", patience=patience))
        if self.progress:
            callbacks.append(_SayBatches(self.progress))
        if self.on_epoch:
            callbacks.append(_TellEpochs(run, self.on_epoch))
        with _quiet():
            trainer = lightning.Trainer(
                accelerator=run.versions()["device"],
                devices=1,
                precision=apply_precision(run.precision, model),
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

    def _leave_out_in_turn(self) -> None:
        """Train once more without each group of sources in turn, and gather what is said of them."""
        run, own = self.run, self.run.recipe.leave_out.sources
        parts = [t[t["source"].isin(own)] for t in ([run.predictions(OUTSIDE)] if own else [])]
        for name, group in run.recipe.outside.items():
            said = f"without {' and '.join(group)}"
            inner = self._inner(
                f"outside/{name}", said, without(run.recipe, group), self.collection
            )
            table = inner.predictions(OUTSIDE)
            parts.append(table[table["source"].isin(group)])
        run.write_predictions(OUTSIDE, pd.concat(parts, ignore_index=True))

    def _inner(self, place: str, said: str, recipe: Recipe, collection: Collection) -> Run:
        """Train a run inside this one, or go on with it."""
        out, progress = self.run.path / place, within(self.progress, said)
        on_epoch = epochs_within(self.on_epoch, said)
        if (out / "versions.json").is_file():
            return resume(out, cache=self.cache, progress=progress, on_epoch=on_epoch)
        shutil.rmtree(out, ignore_errors=True)
        return train(
            recipe,
            collection,
            out,
            boxes=if_kept(self.run.boxes),
            lungs=if_kept(self.run.lungs),
            device=self.run.versions()["device"],
            cache=self.cache,
            progress=progress,
            on_epoch=on_epoch,
        )

    def predict(self, cached: CachedFilms, name: str) -> None:
        """Predict the films of a split with the run's weights, and write the table."""
        run, films = self.run, self.collection.films
        if name == "validation" and run.recipe.folds:
            # Each film outside the test split is predicted by the member that was not trained on it.
            parts = [member.predictions(name) for member in run.members().values()]
            run.write_predictions(name, pd.concat(parts, ignore_index=True))
            return
        chosen = (films["split"] == name).to_numpy(bool) & (cached.rows >= 0)
        if name == OUTSIDE and not chosen.any():
            return
        table = Predictor.of(run, device=run.versions()["device"]).predict_cached(
            films.loc[chosen, "image"].tolist(),
            cached.pixels,
            cached.rows[chosen],
            cached.findings[chosen].reset_index(drop=True),
            stage(self.progress, f"predict {name}"),
            ages=films.loc[chosen].get("age"),
        )
        carried = [name for name in films if name not in {*table, "split", "fold", "acquisition"}]
        known = films.loc[chosen, carried].reset_index(drop=True)
        known["label"] = run.labels(known["label"])
        run.write_predictions(name, pd.concat([table, known], axis=1))


def _new_model(recipe: Recipe) -> FilmClassifier:
    torch.manual_seed(recipe.seed)
    return build_model(recipe.network, recipe.outputs)


def if_kept(table: Path) -> Path | None:
    """Give the path of a table that a run keeps, or None where it keeps none."""
    return table if table.is_file() else None


def cached_films(
    collection: Collection, recipe: Recipe, cache: Path | None, progress: Stages | None
) -> CachedFilms:
    """Take a collection's films through the recipe's chain into the cache; refuse what then lacks a class."""
    chain = Chain.named(recipe.quality, recipe.side, lungs=recipe.lungs)
    say = stage(progress, "read films")
    cached = cache_films(collection.films["image"].tolist(), chain, cache, progress=say)
    cached = replace(cached, failures=cached.failures | dict(collection.missing))
    readable = collection.of(collection.films[cached.rows >= 0])
    if cached.failures:
        refuse_missing_classes(readable, recipe)
    return cached


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
    """Counts the batches of all epochs, so that a bar knows how long the whole takes."""

    def __init__(self, progress: Stages) -> None:
        self.progress = progress
        self.done = 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        batches = int(trainer.num_training_batches)
        self.done = trainer.current_epoch * batches + batch_idx + 1
        self.progress("train batches", self.done, batches * (trainer.max_epochs or 1))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        # Training that stopped early is done, too.
        if self.done:
            self.progress("train batches", self.done, self.done)


class _TellEpochs(Callback):
    """Comes after `KeepEpochs`, so that an epoch is kept before anyone hears of it."""

    def __init__(self, run: Run, on_epoch: OnEpoch) -> None:
        self.run = run
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        history, settings = self.run.history(), self.run.recipe.training
        number = int(history["epoch"].iloc[-1]) + 1
        left = (settings.max_epochs - number) * float(history["seconds"].mean())
        row = {str(name): float(value) for name, value in history.iloc[-1].items()}
        self.on_epoch(Epoch(number, settings.max_epochs, settings.keep == "best", row, left))


def tensorboard(folder: Path) -> OnEpoch:
    """Return a listener that writes what each epoch gave for TensorBoard, counted from 1.

    Parameters
    ----------
    folder
        Gets a folder for each network, if there are several.

    Raises
    ------
    MissingExtraError
        If the extra ``tensorboard`` is not installed.
    """
    need("tensorboard", what="--log tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, SummaryWriter] = {}

    def write(epoch: Epoch) -> None:
        if epoch.whose not in writers:
            writers[epoch.whose] = SummaryWriter(folder.joinpath(*epoch.whose.split(": ")))
        for name, value in epoch.row.items():
            part, _, figure = name.partition("_")
            if part in INNER:
                writers[epoch.whose].add_scalar(f"{figure}/{part}", value, epoch.number)
            elif name != "epoch":
                writers[epoch.whose].add_scalar(name, value, epoch.number)
        writers[epoch.whose].flush()

    return write


def teacher_at(run: Run, number: int) -> Path:
    """Where the weights of a teacher lie while a run is taught."""
    return run.path / "progress" / "teachers" / f"{number}.safetensors"
