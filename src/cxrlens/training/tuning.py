"""Tune a recipe: a study of trials, each a run that never meets the test films."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
import pandas as pd
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, Trial, TrialState
from sklearn.metrics import f1_score  # type: ignore[import-untyped]
from sqlalchemy.exc import SQLAlchemyError

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.combine import split
from cxrlens.errors import CxrlensError, OutputError, RecipeError, RunError
from cxrlens.files import Held, explained, lock, try_lock, write_text
from cxrlens.models.backbones import build_backbone
from cxrlens.progress import Epoch, OnEpoch, Stages, epochs_within, within
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs.run import Run
from cxrlens.training import fit

Value = float | int | str
"""A drawn setting."""

RATE_HIGH = (3e-5, 3e-3)
"""Bounds of the highest learning rate, drawn evenly in its logarithm."""

RATE_RATIO = (2.0, 100.0)
"""Bounds of the highest rate over the lowest, drawn evenly in its logarithm."""

WIDTHS = (64, 128, 256, 512, 1024)
"""Units of the head's hidden layer."""

DROPOUT = (0.0, 0.5, 0.05)
"""Bounds of the dropout, and its step."""


class Draw(Protocol):
    """What draws settings; Optuna's trials do."""

    def suggest_float(  # noqa: D102
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Space:
    """What is drawn for a recipe.

    Attributes
    ----------
    width, dropout
        Whether they are drawn.
    depths
        Values of ``model.frozen`` to choose from, the shallowest first; empty if it stays as it is.
    """

    width: bool
    dropout: bool
    depths: tuple[str, ...]

    def draw(self, trial: Draw) -> dict[str, Value]:
        """Draw one value of everything, by the names that `apply` reads."""
        drawn: dict[str, Value] = {
            "learning_rate_high": trial.suggest_float("learning_rate_high", *RATE_HIGH, log=True),
            "learning_rate_ratio": trial.suggest_float(
                "learning_rate_ratio", *RATE_RATIO, log=True
            ),
        }
        if self.width:
            drawn["width"] = trial.suggest_categorical("width", WIDTHS)
        if self.dropout:
            low, high, step = DROPOUT
            drawn["dropout"] = trial.suggest_float("dropout", low, high, step=step)
        if self.depths:
            drawn["frozen"] = trial.suggest_categorical("frozen", self.depths)
        return drawn


def space_of(recipe: Recipe) -> Space:
    """Say what can be drawn for a recipe.

    Parameters
    ----------
    recipe
        Of a single network.

    Raises
    ------
    RecipeError
        If it trains several networks, or none with a learning rate.
    CxrlensError
        If its backbone does not exist.
    """
    if recipe.members:
        raise RecipeError(
            f"the recipe {recipe.name} trains {len(recipe.members)} members: tune one network, for "
            "example with --set folds=0, or --set one_vs_all=false --set target=tuberculosis"
        )
    if recipe.leave_out.in_turn:
        raise RecipeError(
            f"the recipe {recipe.name} trains once more without each of several sources: tune one "
            "network, with --set leave_out.in_turn=[]"
        )
    if recipe.baseline:
        raise RecipeError(
            f"the recipe {recipe.name} is a baseline, which chooses its one setting on the validation "
            "films by itself: cxrlens train"
        )
    scratch = recipe.network.backbone == "resnet"
    hidden = recipe.network.head == "feed-forward"
    depths = () if recipe.network.weights == "none" else freezing_depths(recipe)
    return Space(width=hidden, dropout=hidden or scratch, depths=depths)


def freezing_depths(recipe: Recipe) -> tuple[str, ...]:
    """Name the layers up to which a backbone may be frozen: none, each stage, the recipe's own.

    Stages are those at whose end the film's side is halved. The last one is never frozen.
    """
    backbone = build_backbone(recipe.network.backbone, "none")
    stages = getattr(backbone.network, "feature_info", [])
    modules = [name for name, _ in backbone.network.named_modules()]
    named = {str(stage["module"]) for stage in stages[:-1]} | {recipe.network.frozen}

    def end(name: str) -> int:
        within = [i for i, other in enumerate(modules) if f"{other}.".startswith(f"{name}.")]
        return within[-1]

    return ("", *sorted(named & set(modules) - {""}, key=end))


def apply(recipe: Recipe, drawn: Mapping[str, Value], name: str = "", about: str = "") -> Recipe:
    """Put drawn settings into a recipe.

    Parameters
    ----------
    recipe
        What is not drawn stays as it is here.
    drawn
        As `Space.draw` gives it.
    name, about
        Replace the recipe's own where they are given.
    """
    content = recipe.model_dump(mode="json")
    high = float(drawn["learning_rate_high"])
    content["training"]["learning_rate_high"] = high
    content["training"]["learning_rate_low"] = high / float(drawn["learning_rate_ratio"])
    for key in ("width", "dropout", "frozen"):
        if key in drawn:
            content["model"][key] = drawn[key]
    if "dropout" in drawn:
        content["model"]["dropout"] = round(float(drawn["dropout"]), 6)
    content["name"] = name or recipe.name
    content["about"] = about or recipe.about
    return Recipe.model_validate(content)


SPLIT = ("validation",)
"""What a trial predicts: the test films are met once, by the winner."""

FIRST = 5
"""Trials that are finished before a worse one is stopped early."""

_DAMAGE = (
    sqlite3.Error,
    SQLAlchemyError,
    OptunaError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RecursionError,
)
"""What reading a changed study ends in: Optuna takes what its database holds as it is."""

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class TrialRow:
    """A trial of a study.

    Attributes
    ----------
    number
        From 0.
    state
        ``complete``, ``pruned`` (stopped early), ``running`` or ``fail``.
    value
        Macro F1 of its validation films; None unless complete.
    settings
        What was drawn, by name.
    accuracies
        Validation accuracy of each epoch.
    seconds
        Time of its epochs.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, Any]
    accuracies: Sequence[float]
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """A study after `tune`.

    Attributes
    ----------
    recipe
        What is tuned.
    trials
        All of them, in order.
    best
        The winner as a recipe file; None if no trial came to its end.
    importance
        Share of each setting in the spread of the values; empty if it is not known.
    """

    recipe: Recipe
    trials: list[TrialRow]
    best: Path | None
    importance: Mapping[str, float]


def tune(
    recipe: Recipe,
    collection: Collection,
    out: Path,
    *,
    trials: int = 20,
    device: str = "auto",
    cache: Path | None = None,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
    on_trial: Callable[[Tuned], object] | None = None,
) -> Tuned:
    """Search the settings of a recipe with which the validation films are told apart best.

    Settings are drawn by Optuna's tree of Parzen estimators (Bergstra 2011), which begins with draws
    at random. After each epoch a trial whose validation accuracy lies below the median of the others
    at that epoch is stopped. A trial's value is the macro F1 of its validation films, by which
    systems are chosen (the 2023 study, section 9; ``docs/study.md``).

    Parameters
    ----------
    recipe
        What is not drawn stays as it is in it.
    collection
        Films with labels; without a column ``split`` they are split with the recipe's seed.
    out
        The study's folder; one that exists is gone on with.
    trials
        Trials that the study shall have in all, those stopped early too, whoever trained them.
    device, cache, progress, on_epoch
        See `cxrlens.training.fit.train`.
    on_trial
        Told how the study stands, after each trial.

    Raises
    ------
    RecipeError
        If the recipe has several networks.
    RunError
        If the study was begun with another recipe or other films, or it is interrupted.
    OutputError
        If the folder holds something else, or cannot be written.
    """
    space = space_of(recipe)
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    with lock(out / "study.lock"):
        collection = _begin(recipe, collection, out)
        study = _open(recipe, out)
    while True:
        with lock(out / "study.lock"):
            claimed = _claim(study, recipe, space, out, trials)
        if claimed is None:
            break
        trial, held = claimed
        with held:
            _run(study, trial, recipe, collection, out, device, cache, progress, on_epoch)
        stands = _summarise(study, recipe, out)
        if on_trial:
            on_trial(stands)
    return _summarise(study, recipe, out)


def _begin(recipe: Recipe, collection: Collection, out: Path) -> Collection:
    """Keep what the study begins with; or hold that it is what the study was begun with."""
    kept = out / "recipe.yaml"
    if not kept.is_file():
        strangers = [path.name for path in out.iterdir() if path.name != "study.lock"]
        if strangers:
            raise OutputError(
                f"{out} holds {strangers[0]} and is no study: choose an empty or a new folder"
            )
        collection.need("label")
        if "split" not in collection.films:
            collection = split(collection, recipe.seed)
        collection.write(out / "collection.csv", force=True, private=True)
        write_text(kept, recipe.to_yaml())
        return read_collection(out / "collection.csv")
    if read_recipe(kept) != recipe:
        raise RunError(
            f"{out} was begun with another recipe or other --set (see {kept}): "
            "use those, or another folder"
        )
    begun = read_collection(out / "collection.csv")
    same = ["image", "label", *(["split"] if "split" in collection.films else [])]
    if not _rows(begun, same) == _rows(collection, same):
        raise RunError(f"{out} was begun with other films: use those, or another folder")
    return begun


def _rows(collection: Collection, columns: list[str]) -> list[tuple[str, ...]]:
    films = collection.films[columns].astype(str)
    return sorted(films.itertuples(index=False, name=None))


def _open(recipe: Recipe, out: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = out / "study.db"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            (told,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if told != "ok":
            raise ValueError(told)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path.resolve()}",
            # Another process may be writing: wait for it.
            engine_kwargs={"connect_args": {"timeout": 60}},
        )
        study = optuna.create_study(
            storage=storage,
            study_name=recipe.name,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=1),
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False):
            _row(trial, recipe, out)
    except _DAMAGE as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            f"{path} is damaged ({detail}): copy the study again, or begin another in a new folder"
        ) from error
    return study


def _claim(
    study: optuna.Study, recipe: Recipe, space: Space, out: Path, wanted: int
) -> tuple[Trial, Held] | None:
    """Take a trial whose process has died, or else begin one; None if there are enough."""
    known = study.get_trials(deepcopy=False)
    counted = sum(trial.state in DONE for trial in known)
    for frozen in known:
        if frozen.state is not TrialState.RUNNING:
            continue
        held = try_lock(_lock_path(out, frozen.number))
        if held is None:
            counted += 1
        else:
            return _redrawn(Trial(study, frozen._trial_id), recipe, space), held
    if counted >= wanted:
        return None
    trial = study.ask()
    held = try_lock(_lock_path(out, trial.number))
    assert held is not None, "a new trial's lock is free"
    return _redrawn(trial, recipe, space), held


def _redrawn(trial: Trial, recipe: Recipe, space: Space) -> Trial:
    """Draw the trial's settings; what was drawn before a process died stays."""
    # Processes that begin alike would otherwise draw alike.
    seed = (recipe.seed * 100_003 + trial.number) % 2**32
    trial.study.sampler = optuna.samplers.TPESampler(seed=seed)
    space.draw(trial)
    return trial


def _run(
    study: optuna.Study,
    trial: Trial,
    recipe: Recipe,
    collection: Collection,
    out: Path,
    device: str,
    cache: Path | None,
    progress: Stages | None,
    on_epoch: OnEpoch | None,
) -> None:
    place = _place(out, trial.number)
    say = within(progress, f"trial {trial.number}")
    hear = epochs_within(on_epoch, f"trial {trial.number}")
    reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values

    def report(epoch: int, accuracy: float) -> None:
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    def judge(epoch: Epoch) -> None:
        if hear:
            hear(epoch)
        if not epoch.whose:  # a run without some of the sources is no step of the trial's own
            report(epoch.number - 1, epoch.row["validation_accuracy"])

    try:
        if (place / "history.csv").is_file():
            history = Run(place).history()
            pairs = zip(history["epoch"], history["validation_accuracy"], strict=True)
            for epoch, accuracy in pairs:
                if epoch not in reported:
                    report(int(epoch), float(accuracy))
            run = fit.resume(place, cache=cache, progress=say, on_epoch=judge, predicted=SPLIT)
        else:
            shutil.rmtree(place, ignore_errors=True)
            drawn = apply(recipe, trial.params)
            run = fit.train(
                drawn,
                collection,
                place,
                device=device,
                cache=cache,
                progress=say,
                on_epoch=judge,
                predicted=SPLIT,
            )
    except optuna.TrialPruned:
        shutil.rmtree(place / "progress", ignore_errors=True)
        (place / "weights.safetensors").unlink(missing_ok=True)
        study.tell(trial, state=TrialState.PRUNED)
        return
    except RunError as error:
        if isinstance(error.__cause__, SystemExit):
            raise RunError("tuning was interrupted; the same command goes on") from error
        study.tell(trial, state=TrialState.FAIL)
        raise
    except CxrlensError:
        study.tell(trial, state=TrialState.FAIL)
        raise
    study.tell(trial, validation_macro_f1(run))


def validation_macro_f1(run: Run) -> float:
    """Measure the macro F1 of a run's validation films, over the classes that occur."""
    predictions = run.predictions("validation")
    return float(
        f1_score(predictions["label"], predictions["predicted"], average="macro", zero_division=0)
    )


def _summarise(study: optuna.Study, recipe: Recipe, out: Path) -> Tuned:
    """Write the winner as it stands now."""
    rows = [_row(trial, recipe, out) for trial in study.get_trials(deepcopy=False)]
    finished = [row for row in rows if row.value is not None]
    best = None
    if finished:
        winner = max(finished, key=lambda row: row.value or 0.0)
        best = out / "best.yaml"
        about = (
            f"{recipe.name}, tuned: trial {winner.number:04d} of {len(rows)} has the best macro F1 of "
            f"the validation films, {winner.value:.4f}."
        )
        drawn = study.get_trials(deepcopy=False)[winner.number].params
        write_text(best, apply(recipe, drawn, f"{recipe.name}-tuned", about).to_yaml())
    return Tuned(recipe, rows, best, _importance(study, len(finished)))


def _row(trial: FrozenTrial, recipe: Recipe, out: Path) -> TrialRow:
    settings: Mapping[str, Any] = {}
    if "learning_rate_ratio" in trial.params:
        drawn = apply(recipe, trial.params)
        settings = {
            "learning_rate_low": drawn.training.learning_rate_low,
            "learning_rate_high": drawn.training.learning_rate_high,
            **{
                name: trial.params[name]
                for name in ("width", "dropout", "frozen")
                if name in trial.params
            },
        }
    place = _place(out, trial.number)
    history = Run(place).history() if (place / "versions.json").is_file() else pd.DataFrame()
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        value=trial.value if trial.state is TrialState.COMPLETE else None,
        settings=settings,
        accuracies=tuple(history.get("validation_accuracy", [])),
        seconds=float(sum(history.get("seconds", []))),
    )


def _importance(study: optuna.Study, finished: int) -> dict[str, float]:
    """Share of each setting in the spread of the values; empty with too few trials to say."""
    if finished < 2 * FIRST:
        return {}
    return optuna.importance.get_param_importances(study)


def _place(out: Path, number: int) -> Path:
    return out / "trials" / f"{number:04d}"


def _lock_path(out: Path, number: int) -> Path:
    return out / "trials" / f"{number:04d}.lock"
