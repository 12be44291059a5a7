"""The main job in one call: from films to a trained, evaluated model; and the demo that shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.same_films import people, same_bytes
from cxrlens.errors import CollectionError, CxrlensError
from cxrlens.evaluation.assess import assess, assess_run, assess_scores
from cxrlens.evaluation.measured import Judged, Metrics, read_metrics, write_metrics
from cxrlens.evaluation.scores import Scores, read_scores
from cxrlens.evaluation.tables import points, separations
from cxrlens.files import moved_into_place, refuse_existing, refuse_filled
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.predictor import Prediction, Predictor, load
from cxrlens.progress import Epoch, OnEpoch, Progress, Stages, stage
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.reports.explained import explain_films
from cxrlens.reports.run import (
    learnt_from,
    write_films_report,
    write_report,
    write_table_report,
)
from cxrlens.runs import open_model
from cxrlens.runs.bundle import installed_models
from cxrlens.runs.run import Run, write_predictions

Log = Literal["tensorboard"]
"""What epochs are also written for."""


def train(
    recipe: str | Recipe,
    films: str | Path | Collection,
    out: str | Path,
    *,
    settings: Iterable[str] = (),
    boxes: str | Path | None = None,
    lungs: str | Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
    force: bool = False,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
    log: Log | None = None,
) -> Run:
    """Train a recipe on films, predict, measure, and write the run's report.

    Parameters
    ----------
    recipe
        A recipe, the name of a shipped one, or the path of a YAML file.
    films
        A collection, or the path of its table; split by patient if it has no split.
    out
        The run folder to make.
    settings
        ``key=value`` changes to a recipe that is given by name.
    boxes, lungs
        Tables of what was drawn on the films, for a recipe that teaches an evidence map with them.
    device, cache, force, progress, on_epoch
        See `cxrlens.training.fit.train`.
    log
        Also write each epoch's figures into the run's folder ``tensorboard``.

    Returns
    -------
    Run
        A finished run.

    Examples
    --------
    >>> run = train("thumbnail-ridge", "films.csv", "runs/ridge")
    >>> (run.path / "report.html").is_file()
    True
    """
    # Lightning takes long to load, and measuring a bundle needs none of it.
    from cxrlens.training.fit import train as fit

    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, settings)
    films = films if isinstance(films, Collection) else read_collection(films)
    run = fit(
        recipe,
        films,
        Path(out),
        boxes=Path(boxes) if boxes else None,
        lungs=Path(lungs) if lungs else None,
        device=device,
        cache=cache,
        force=force,
        progress=progress,
        on_epoch=_heard(Path(out), on_epoch, log),
    )
    evaluate(run)
    return run


def _heard(run: Path, on_epoch: OnEpoch | None, log: Log | None) -> OnEpoch | None:
    """Let a log hear of epochs, too."""
    if log is None:
        return on_epoch
    from cxrlens.training.fit import tensorboard

    write = tensorboard(run / log)

    def both(epoch: Epoch) -> None:
        write(epoch)
        if on_epoch:
            on_epoch(epoch)

    return both


def go_on(
    out: str | Path,
    *,
    cache: Path | None = None,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
    log: Log | None = None,
) -> Run:
    """Finish a training that was interrupted; see `train` and `cxrlens.training.fit.resume`."""
    from cxrlens.training.fit import resume

    heard = _heard(Path(out), on_epoch, log)
    run = resume(Path(out), cache=cache, progress=progress, on_epoch=heard)
    evaluate(run)
    return run


def evaluate(run: Run, prevalence: Mapping[str, float] | None = None) -> dict[str, Metrics]:
    """Measure a run's predictions, its members' too, and write ``metrics.json`` and ``report.html``.

    Parameters
    ----------
    run
        A finished run.
    prevalence
        By disease, in (0, 1): also give predictive values for it.
    """
    for member in run.members().values():
        evaluate(member, prevalence)
    metrics = assess_run(run, prevalence=prevalence)
    for (
        member
    ) in run.outside().values():  # `assess_run` measured them, for what they say of the whole
        found = read_metrics(member.path / "metrics.json")
        write_report(member, member.path / "report.html", force=True, metrics=found)
        for inner in member.members().values():
            evaluate(inner, prevalence)
    write_report(run, run.path / "report.html", force=True, metrics=metrics)
    return metrics


@dataclass(frozen=True)
class Judgement:
    """What `evaluate_table` gives: the scores that were measured, and what was found."""

    scores: Scores
    metrics: Metrics | Judged


TABLE_FILES = ("metrics.json", "diseases.csv", "operating-points.csv", "report.html")
"""What `evaluate_table` writes."""


def evaluate_table(
    predictions: str | Path,
    out: str | Path | None = None,
    *,
    validation: str | Path | None = None,
    prevalence: Mapping[str, float] | None = None,
    confirmed: tuple[str, str] | None = None,
    force: bool = False,
) -> Judgement:
    """Measure a table of scores of anybody's model; see `cxrlens.evaluation.scores`.

    Parameters
    ----------
    predictions
        The table.
    out
        Gets `TABLE_FILES`; without it nothing is written.
    validation
        Another such table, whose films choose thresholds; without it the films of the split ``validation``
        in the table itself do.
    prevalence
        By disease, in (0, 1): also give predictive values for it.
    confirmed
        A column and a value: films of a disease count only where the column holds the value.
    force
        Replace files that exist.

    Raises
    ------
    CollectionError
        If a table is none, or cannot be measured.
    OutputError
        If a file exists and `force` is not set.
    """
    out = Path(out) if out is not None else None
    if out:
        for name in TABLE_FILES:
            refuse_existing(out / name, force)
    scores, chose = read_scores(predictions).parted()
    if validation is not None:
        chose = read_scores(validation)
    if confirmed:
        scores = scores.confirmed(*confirmed)
    found = assess_scores(scores, chose, prevalence)
    if out:
        _write_measured(out, "test", found)
        write_table_report(scores, found, out / "report.html", force=True)
    return Judgement(scores, found)


def _write_measured(out: Path, split: str, found: Metrics | Judged) -> None:
    write_metrics(out / "metrics.json", {split: found}, force=True)
    for name, table in (
        ("diseases.csv", separations(found.diseases)),
        ("operating-points.csv", points(found.diseases)),
    ):
        with moved_into_place(out / name) as draft:
            table.to_csv(draft, index=False)


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate_on` gives.

    Attributes
    ----------
    predictions, metrics
        Of the films.
    failures
        Image and sentence of each film that could not be read.
    warning
        What is to be said where the model has seen films or patients among them; else empty.
    """

    predictions: pd.DataFrame
    metrics: Metrics
    failures: dict[str, str]
    warning: str = ""


def evaluate_on(
    model: str | Path,
    films: str | Path | Collection,
    out: str | Path,
    *,
    prevalence: Mapping[str, float] | None = None,
    cache: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluated:
    """Measure a model on labelled films that it was not made from.

    Parameters
    ----------
    model
        A run folder, or an exported bundle.
    films
        A collection with labels, or the path of its table. All its films count, whatever their split.
    out
        Gets ``predictions.csv`` and `TABLE_FILES`.
    prevalence
        See `evaluate`. Thresholds are those that a run's own validation films gave; a bundle has none.
    cache, force
        See `train`.
    progress
        Called with films read and films in all.

    Raises
    ------
    CollectionError
        If a film has no label, or a film of the run's own training stands among them.
    """
    out = Path(out)
    saved = open_model(model)
    for name in ("predictions.csv", *TABLE_FILES):
        refuse_existing(out / name, force)
    collection = films if isinstance(films, Collection) else read_collection(films)
    collection.need("label")
    again = [image for image, split in saved.learnt(collection.films["image"]) if split == "train"]
    if again:
        raise CollectionError(
            f"{len(again)} of the films trained the model, the first is {again[0]}: a model is not "
            "measured on what it learnt from"
        )
    predictor = Predictor.of(saved)
    cached = cache_films(
        collection.films["image"].tolist(), predictor.chain, cache, progress=progress
    )
    read = cached.rows >= 0
    table = predictor.predict_cached(
        collection.films.loc[read, "image"].tolist(),
        cached.pixels,
        cached.rows[read],
        cached.findings[read].reset_index(drop=True),
        ages=collection.films.loc[read].get("age"),
    )
    known = [name for name in collection.films if name not in table]
    table = pd.concat([table, collection.films.loc[read, known].reset_index(drop=True)], axis=1)
    table["label"] = saved.labels(table["label"])
    metrics = assess(
        table,
        saved.classes,
        validation=_validation(saved, table) if isinstance(saved, Run) else None,
        prevalence=prevalence,
    )
    write_predictions(out / "predictions.csv", table)
    _write_measured(out, "other", metrics)
    warning = learnt_from(saved, table)
    write_films_report(saved, table, metrics, out / "report.html", force=True, warning=warning)
    failures = cached.failures | dict(collection.missing)
    return Evaluated(table, metrics, failures, warning)


def _validation(run: Run, table: pd.DataFrame) -> pd.DataFrame | None:
    """Read the run's validation films that choose thresholds, without those that are to be measured.

    Films are the same by what their files hold, and films of one patient choose nothing for each other.
    """
    if not (run.path / "predictions-validation.csv").is_file():
        return None
    films = run.predictions("validation")
    both = pd.concat([films, table], ignore_index=True)
    whose = people(both, same_bytes(both["image"].tolist()))
    others = ~whose[: len(films)].isin(whose[len(films) :]).to_numpy(bool)
    return films[others] if others.any() else None


@dataclass(frozen=True)
class Demo:
    """What the demo gives.

    Attributes
    ----------
    run
        The finished run, with its report.
    macro_auc
        Of the test films, in [0, 1].
    explained
        The page of heat maps.
    asked
        What the model in the box answered to some drawn films, which it has never learnt from; None where no
        one model is installed.
    """

    run: Run
    macro_auc: float
    explained: Path
    asked: "Asked | None" = None

    GOAL = 0.9


@dataclass(frozen=True)
class Asked:
    """Answers of a model to labelled films.

    Attributes
    ----------
    model
        Its name.
    right, films
        How many it named as their labels do, of how many.
    """

    model: str
    right: int
    films: int


def demo(
    out: str | Path,
    *,
    force: bool = False,
    progress: Stages | None = None,
    on_epoch: OnEpoch | None = None,
) -> Demo:
    """Do the main job on drawn films: draw, ask the model in the box, train, evaluate, explain.

    Parameters
    ----------
    out
        A new folder: ``films/`` the drawn set, ``run/`` the run, ``explained/`` heat maps.
    force
        Replace what an earlier demo left there.
    progress
        See `cxrlens.training.fit.train`.

    Raises
    ------
    OutputError
        If the folder exists and `force` is false, or it cannot be written.

    Examples
    --------
    >>> made = demo("cxrlens-demo")  # doctest: +SKIP
    >>> made.macro_auc >= Demo.GOAL  # doctest: +SKIP
    True
    """
    out = Path(out)
    refuse_filled(out, force)
    say = stage(progress, "draw films")
    table = write_phantoms(out / "films", DEMO_FILMS, seed=0, force=force, progress=say)
    asked = _ask_the_model_in_the_box(read_collection(table), stage(progress, "ask the model"))
    run = train(
        "lite0-ffn",
        table,
        out / "run",
        settings=DEMO_SETTINGS,
        cache=out / "cache",
        force=force,
        progress=progress,
        on_epoch=on_epoch,
    )
    predictions = run.predictions("test")
    shown = predictions.groupby("label").head(2)["image"]
    page = explain_films(
        load(run.path), [Path(image) for image in shown], out / "explained", force=force
    ).page
    auc = assess_run(run)["test"].macro_auc
    if auc is None:
        raise CxrlensError("the demo's test films lack a class")
    return Demo(run, auc, page, asked)


def _ask_the_model_in_the_box(drawn: Collection, progress: Progress | None) -> Asked | None:
    models = list(installed_models())
    if len(models) != 1:
        return None
    films = drawn.films.groupby("label").head(ASKED)
    right = 0
    told = load(models[0]).predict_many(films["image"])
    for done, (one, label) in enumerate(zip(told, films["label"], strict=True), 1):
        right += isinstance(one, Prediction) and one.predicted == label
        if progress:
            progress(done, len(films))
    return Asked(models[0], right, len(films))


ASKED = 8
"""Films of each class that the model in the box is asked about."""


DEMO_FILMS = 700
DEMO_SETTINGS = ("side=160", "training.batch=16", "training.max_epochs=5")
"""What keeps the demo to minutes on two cores."""
