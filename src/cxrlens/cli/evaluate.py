"""The verb evaluate: how good a model is, or a table of scores of anybody's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrlens.cli.arguments import Cache, Force, Model, refuse_model, the_model
from cxrlens.cli.say import done, end_with, escape, out, say_table, stage
from cxrlens.errors import CxrlensError

if TYPE_CHECKING:
    from cxrlens.evaluation.disease_tables import Diseases
    from cxrlens.evaluation.metrics import Metrics
    from cxrlens.runs.run import Run


def evaluate(
    films: Annotated[
        Path | None, typer.Argument(metavar="[FILMS.CSV]", help="Other films than the run's own.")
    ] = None,
    model: Model = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Scores of anybody's model in place of one: image, label, a column for one class or more.",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Scores of other films, which choose thresholds for --predictions.",
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share of those tested who are ill, for PPV and NPV, e.g. 0.02."),
    ] = None,
    confirmed: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Of --predictions: films of a disease count only where the column holds this.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Needed with FILMS.CSV.")
    ] = None,
    cache: Cache = None,
    force: Force = False,
) -> None:
    """Measure a run on its own films again, a model on other films, or a table of scores.

    Without FILMS.CSV the run's metrics.json and report.html are made anew. With it, DIR gets predictions.csv
    and, as with --predictions TABLE, metrics.json, diseases.csv, operating-points.csv and report.html.
    """
    import cxrlens.main_job as job
    from cxrlens.runs.run import Run, is_run

    if prevalence is not None and not 0 < prevalence < 1:
        raise typer.BadParameter("--prevalence is a share between 0 and 1, for example 0.02")
    if predictions is not None:
        if films is not None or model is not None:
            raise typer.BadParameter("--predictions takes the place of FILMS.CSV and --model")
        _table(predictions, validation, prevalence, confirmed, folder, force)
        return
    if validation is not None or confirmed is not None:
        raise typer.BadParameter("--validation and --confirmed belong to --predictions TABLE")
    if films is not None:
        refuse_model(films, "evaluate", "[FILMS.CSV]")
    model = the_model(model)
    if films is None:
        if model.exists() and not is_run(model):
            raise CxrlensError(f"{model} has no films of its own, as a run has: name FILMS.CSV")
        run = Run(model)
        job.evaluate(run, prevalence)
        say_metrics(run)
        done(f"{run.path}: wrote metrics.json and report.html")
        return
    if folder is None:
        raise typer.BadParameter("say where the results go: -o DIR")
    with stage("predict") as bar:
        result = job.evaluate_on(
            model, films, folder, prevalence=prevalence, cache=cache, force=force, progress=bar
        )
    _say("other films", result.metrics)
    _say_diseases(result.metrics.diseases)
    done(
        f"{folder}: wrote predictions.csv, {', '.join(job.TABLE_FILES)}",
        f"open {folder / 'report.html'}",
    )
    end_with(result.failures)


def _table(
    predictions: Path,
    validation: Path | None,
    prevalence: float | None,
    confirmed: str | None,
    folder: Path | None,
    force: bool,
) -> None:
    import cxrlens.main_job as job
    from cxrlens.evaluation.metrics import Metrics

    column, equals, value = (confirmed or "").partition("=")
    if confirmed is not None and not (column and equals and value):
        raise typer.BadParameter(
            "--confirmed is COLUMN=VALUE, for example rsna_class='Lung Opacity'"
        )
    found = job.evaluate_table(
        predictions,
        folder,
        validation=validation,
        prevalence=prevalence,
        confirmed=(column, value) if confirmed else None,
        force=force,
    )
    if isinstance(found.metrics, Metrics):
        _say(str(predictions), found.metrics)
    _say_diseases(found.metrics.diseases)
    for note in found.scores.notes:
        out.print(f"[yellow]{escape(note)}[/]")
    if folder:
        done(f"{folder}: wrote {', '.join(job.TABLE_FILES)}", f"open {folder / 'report.html'}")


def say_metrics(run: "Run") -> None:
    """Print a run's figures: a line a split, and each disease within its source, inside and outside."""
    from cxrlens.evaluation.disease_tables import beside_text
    from cxrlens.evaluation.metrics import read_metrics

    found = read_metrics(run.path / "metrics.json")
    for name, metrics in found.items():
        _say(name, metrics)
    if "outside" in found and "test" in found:
        beside = beside_text(found["test"].diseases, found["outside"].diseases)
        if len(beside):
            say_table(
                beside, "AUC against the source's own normal films, inside and at places never seen"
            )


def _say(name: str, metrics: "Metrics") -> None:
    auc = f", macro AUC {metrics.macro_auc:.4f}" if metrics.macro_auc is not None else ""
    out.print(
        escape(
            f"{name}: {metrics.films} films, accuracy {metrics.accuracy:.4f}, "
            f"macro F1 {metrics.macro_f1:.4f}{auc}"
        )
    )


def _say_diseases(diseases: "Diseases") -> None:
    from cxrlens.evaluation import disease_tables as tables
    from cxrlens.evaluation.diseases import OWN, VALIDATED

    parts = [
        (
            tables.separations_text(diseases),
            "Each disease against normal films, 95 % intervals by patient",
        ),
        (tables.groups_text(diseases), f"By view, age and sex. {tables.groups_known(diseases)}"),
        (tables.own_points_text(diseases), "Operating points, at the ROC curve's own thresholds"),
        (tables.points_text(diseases, OWN), "The same, with PPV and NPV"),
        (
            tables.points_text(diseases, VALIDATED),
            "At the thresholds that the validation films gave",
        ),
        (tables.one_sided_text(diseases), "The same thresholds at sources of one class"),
        (
            tables.who_text(diseases),
            "WHO: sensitivity of 90 % or more at a specificity of 70 % or more",
        ),
    ]
    stated = any(disease.prevalence is not None for disease in diseases.values())
    for table, title in parts:
        if len(table) and (stated or not title.startswith("The same, with PPV")):
            say_table(table, title)
    for line in tables.unknown(diseases):
        out.print(escape(line))
