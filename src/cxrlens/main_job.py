"""The main job in one call: from films to a trained, evaluated model; and the demo that shows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.phantom import write_phantoms
from cxrlens.errors import CxrlensError
from cxrlens.evaluation.assess import assess_run
from cxrlens.evaluation.metrics import Metrics
from cxrlens.evaluation.report import write_report
from cxrlens.prediction.explained import explain_films
from cxrlens.prediction.predictor import Predictor
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs.run import Run
from cxrlens.training.fit import Progress, resume
from cxrlens.training.fit import train as fit
from cxrlens.writing import refuse_existing


def train(
    recipe: str | Recipe,
    films: str | Path | Collection,
    out: str | Path,
    *,
    settings: Iterable[str] = (),
    device: str = "auto",
    cache: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
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
    device, cache, force, progress
        See `cxrlens.training.fit.train`.

    Returns
    -------
    Run
        A finished run.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, settings)
    films = films if isinstance(films, Collection) else read_collection(films)
    run = fit(recipe, films, Path(out), device=device, cache=cache, force=force, progress=progress)
    evaluate(run)
    return run


def go_on(out: str | Path, *, cache: Path | None = None, progress: Progress | None = None) -> Run:
    """Finish a training that was interrupted; see `cxrlens.training.fit.resume`."""
    run = resume(Path(out), cache=cache, progress=progress)
    evaluate(run)
    return run


def evaluate(run: Run) -> dict[str, Metrics]:
    """Measure a run's predictions and write its ``metrics.json`` and ``report.html``."""
    metrics = assess_run(run)
    write_report(run, run.path / "report.html", force=True, metrics=metrics)
    return metrics


def load(model: str | Path, device: str = "cpu") -> Predictor:
    """Load a run folder for prediction; see `cxrlens.prediction.predictor.Predictor.load`."""
    return Predictor.load(model, device)


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
    """

    run: Run
    macro_auc: float
    explained: Path

    GOAL = 0.9


def demo(out: str | Path, *, force: bool = False, progress: Progress | None = None) -> Demo:
    """Do the main job on drawn films: draw, train, evaluate, explain.

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
    """
    out = Path(out)
    refuse_existing(out, force)
    say = (lambda done, of: progress("draw films", done, of)) if progress else None
    table = write_phantoms(out / "films", DEMO_FILMS, seed=0, force=force, progress=say)
    run = train(
        "lite0-ffn",
        table,
        out / "run",
        settings=DEMO_SETTINGS,
        cache=out / "cache",
        force=force,
        progress=progress,
    )
    predictions = run.predictions("test")
    shown = predictions.groupby("label").head(2)["image"]
    page = explain_films(
        load(run.path), [Path(image) for image in shown], out / "explained", force=force
    ).page
    auc = assess_run(run)["test"].macro_auc
    if auc is None:
        raise CxrlensError("the demo's test films lack a class")
    return Demo(run, auc, page)


DEMO_FILMS = 700
DEMO_SETTINGS = ("side=160", "training.max_epochs=6")
"""What keeps the demo to minutes on two cores."""
