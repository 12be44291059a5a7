"""Verbs about models: demo, recipes, train, tune, explain, predict, export."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrlens.cli.evaluate import say_metrics
from cxrlens.cli.terminal import (
    LISTED,
    NOTICE,
    Cache,
    Device,
    Films,
    FilmsTable,
    Force,
    ForceAnswer,
    Model,
    OutFolder,
    Palette,
    Site,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    complete,
    complete_label,
    complete_recipe,
    done,
    end_with,
    err,
    escape,
    fault,
    films_in,
    out,
    say_epoch,
    say_table,
    stage,
    stages,
    the_model,
)
from cxrlens.errors import need, visible


def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where everything goes.")
    ] = Path("cxrlens-demo"),
    force: Force = False,
) -> None:
    """Do the main job on drawn films in minutes: draw, ask the model in the box, train, evaluate, explain.

    It checks itself: exit code 0 only if the test AUC is 0.9 or more.
    """
    from cxrlens.main_job import Demo, demo

    with stages() as bars:
        result = demo(folder, force=force, progress=bars, on_epoch=say_epoch)
    if result.asked:
        asked = result.asked
        out.print(
            f"The model in the box ({asked.model}) has never seen a drawn film; it names {asked.right} of "
            f"{asked.films} as they were drawn."
        )
    done(
        f"{result.run.path}: macro AUC {result.macro_auc:.3f} on the drawn test films.\n"
        f"Open {result.run.path / 'report.html'} and {result.explained}.\n{NOTICE}",
        f"cxrlens predict {folder / 'films' / 'images'} --model {result.run.path} --csv predictions.csv",
    )
    if result.macro_auc < Demo.GOAL:
        fault(
            f"the demo should reach a test AUC of {Demo.GOAL}: something is wrong with this set-up"
        )
        raise typer.Exit(1)


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=complete_recipe,
            help="A shipped recipe's name, or a YAML file.",
        ),
    ] = "",
    films: Annotated[Path | None, typer.Argument(metavar="FILMS.CSV", help="A collection.")] = None,
    folder: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="RUN", help="The run folder to make.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, e.g. training.batch=16."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Backbone weights instead of the hub's.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Train this many folds that vote; the same as --set folds=N."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="BOXES.CSV", help="Boxes round findings, for a recipe with a map."),
    ] = None,
    lungs: Annotated[
        Path | None, typer.Option(metavar="LUNGS.CSV", help="Lung masks, for a recipe with a map.")
    ] = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out-source",
            metavar="NAME[,NAME]|each",
            help="Train without these sources and judge it there; `each`: also once more without each.",
        ),
    ] = None,
    log: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Also write each epoch's figures for it, into RUN/tensorboard."),
    ] = None,
    go_on: Annotated[bool, typer.Option("--resume", help="Finish an interrupted run.")] = False,
    device: Device = "auto",
    cache: Cache = None,
    force: Force = False,
) -> None:
    """Train a recipe on a collection; leave a run folder with its report.

    `cxrlens recipes` lists the shipped recipes. To go on after an interruption:
    `cxrlens train --resume -o runs/NAME`.
    """
    import cxrlens.main_job as job

    if folder is None:
        raise typer.BadParameter("say where the run goes: -o runs/NAME")
    with stages() as bars:
        if go_on:
            run = job.go_on(folder, cache=cache, progress=bars, on_epoch=say_epoch, log=log)
        else:
            if not recipe or films is None:
                raise typer.BadParameter(
                    "name a recipe and a collection: cxrlens train lite0-ffn films.csv"
                )
            changes = [*(settings or ()), *([f"model.weights={weights}"] if weights else ())]
            changes += [f"folds={folds}"] if folds else []
            changes += _left_out(left_out or ())
            run = job.train(
                recipe,
                films,
                folder,
                settings=changes,
                boxes=boxes,
                lungs=lungs,
                device=device,
                cache=cache,
                force=force,
                progress=bars,
                on_epoch=say_epoch,
                log=log,
            )
    say_metrics(run)
    done(
        f"{run.path}: open {run.path / 'report.html'}",
        f"cxrlens explain FILM... --model {run.path} -o explained",
    )
    end_with(run.skipped())


def _left_out(names: Sequence[str]) -> list[str]:
    """Turn what was named into settings of the recipe."""
    named = [name.strip() for one in names for name in one.split(",") if name.strip()]
    if "each" in named:
        if len(named) > 1:
            raise typer.BadParameter("--leave-out-source takes names, or each alone")
        return ["leave_out.in_turn=each"]
    return [f"leave_out.sources={json.dumps(named)}"] if named else []


def models(
    name: Annotated[
        str,
        typer.Argument(metavar="[MODEL]", help="An installed model, a run folder or a bundle."),
    ] = "",
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write its trust card: .html, .json or .md (model hubs)."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """List the installed models, how good each is inside and outside; or write one's trust card.

    `cxrlens models MODEL --card FILE.html`: who it was trained on and on which terms, how good it is at home
    and at places it never saw, what it is for and not for, CLAIM's and TRIPOD+AI's items, blanks included.
    Of several models the one that the variable CXRLENS_MODEL names answers where --model is not said.
    """
    from cxrlens.evaluation.card import NO_OUTSIDE, card_of, in_short
    from cxrlens.runs import open_model
    from cxrlens.runs.bundle import DEFAULT, INSTALL, installed_models

    if card and not name:
        raise typer.BadParameter("name the model whose card is wanted: cxrlens models MODEL --card")
    installed = installed_models()
    found = {one: model.path for one, model in installed.items()}
    if name:
        found = {name: the_model(Path(name))}
    for one, path in found.items():
        saved = open_model(path)
        its = card_of(saved)
        of = installed.get(one)
        wheel = f" {of.version} ({of.distribution})" if of else ""
        said = ", answers where no model is named" if one == os.environ.get(DEFAULT) else ""
        out.print(
            f"[bold]{escape(one)}[/]{escape(wheel)}, digest {saved.digest}{said}: "
            f"recipe {escape(saved.recipe.name)}"
        )
        if of and of.terms:
            out.print(f"  terms of its weights: {escape(str(of.terms))}", highlight=False)
        for line in in_short(its):
            out.print(f"  {escape(line)}", highlight=False)
        if not its.outside:
            out.print(f"  [bold red]{NO_OUTSIDE}[/]", highlight=False)
        if card:
            from cxrlens.reports.trust import write_card_as

            done(f"{write_card_as(its, card, force)}: the trust card of {one}. {NOTICE}")
    if not found:
        done("no model is installed", INSTALL)
    elif not card:
        then = f"cxrlens models {next(iter(found))} --card card.html"
        done(f"{len(found)} installed. {NOTICE}" if not name else NOTICE, then)


def explain(
    films: Films,
    folder: OutFolder,
    model: Model = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            autocompletion=complete,
            help="How to explain (default: what suits it).",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--class",
            autocompletion=complete_label,
            help="The class to explain (default: the predicted one).",
        ),
    ] = None,
    palette: Palette = "ember",
    members: Annotated[
        bool, typer.Option("--members", help="Show each voting member's map on the sheets, too.")
    ] = False,
    samples: Annotated[int, typer.Option(help="Masked films that LIME asks.")] = 1000,
    site: Site = None,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Show where the model looked: heat maps beside the films, a sheet a class, one page with all."""
    from cxrlens.prediction import load
    from cxrlens.reports.explained import explain_films

    found = films_in(films, "explain")
    predictor = load(the_model(model), device, site=site)
    with stage("explain") as bar:
        result = explain_films(
            predictor,
            found,
            folder,
            method,
            target,
            palette,
            force,
            members=members,
            samples=samples,
            progress=bar,
        )
    done(f"{folder}: {len(result.pictures)} pictures. Open {result.page}.\n{NOTICE}")
    end_with(result.failures)


def predict(
    films: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILM|DIR]...", help="Films, or folders of films."),
    ] = None,
    model: Model = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A CSV table to write; - prints it.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON file to write; - prints it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted table.")
    ] = False,
    qido: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Take the CR and DX films of a PACS' study list: its DICOMweb root. A token goes into "
            "CXRLENS_DICOMWEB_TOKEN, or user:password into CXRLENS_DICOMWEB_LOGIN.",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d", "%Y%m%d"],
            help="With --qido: of studies from that day on.",
        ),
    ] = None,
    certificate: TlsCertificate = None,
    key: TlsKey = None,
    ca: TlsAuthority = None,
    site: Site = None,
    force_answer: ForceAnswer = False,
    engine: Annotated[
        Literal["here", "ray"],
        typer.Option(help="Where: in this process, or on the Ray cluster of RAY_ADDRESS."),
    ] = "here",
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Predict films: a class or `unsure` with the reason, scores, and what is wrong with their pixels."""
    from cxrlens.files import STDOUT
    from cxrlens.prediction import Predictor
    from cxrlens.prediction.table import as_text, predict_films
    from cxrlens.prediction.trust import REASONS
    from cxrlens.quality.step import DEFECTS

    if csv and json:
        raise typer.BadParameter("one of --csv and --json at a time")
    path = csv or json
    if json and json != STDOUT and json.suffix != ".json":
        raise typer.BadParameter("the file after --json must end in .json")
    if path == STDOUT and resume:
        raise typer.BadParameter("--resume goes on with a file, not with what was printed")
    if bool(films) == bool(qido):
        raise typer.BadParameter("name films, or a PACS: --qido URL --since DATE --csv FILE")
    if qido and (path in (None, STDOUT) or not since):
        raise typer.BadParameter("--qido needs --since DATE, and --csv FILE to keep its rows in")
    if bool(certificate) != bool(key):
        raise typer.BadParameter("a certificate has its key: --tls-certificate and --tls-key")
    found = films_in(films) if films else []
    of = f" --model {model}" * bool(model) + f" --site {site}" * bool(site)
    model = the_model(model)
    predictor = Predictor.load(model, device, site=site, force_answer=force_answer)
    elsewhere = None
    if engine == "ray":
        from cxrlens.prediction.cluster import on_ray

        if qido:
            raise typer.BadParameter("a Ray cluster reads films from files, not from a PACS")
        elsewhere = on_ray(model, device, site=site, force_answer=force_answer)
    with stage("studies" if qido else "predict") as bar:
        if qido and since and path:
            need("dicom", what="--qido")
            from cxrlens.pacs.dicomweb import DicomWeb, UnreachableError, predict_studies

            server = DicomWeb.at(qido, certificate, key, ca)
            try:
                result = predict_studies(
                    predictor, server, since.date(), path, resume=resume, force=force, progress=bar
                )
            except UnreachableError as error:
                fault(str(error))
                raise typer.Exit(1) from error
        else:
            file = None if path == STDOUT else path
            result = predict_films(
                predictor, found, file, resume=resume, force=force, progress=bar, engine=elsewhere
            )
    if path == STDOUT:
        sys.stdout.write(as_text(result.table, ".json" if json else ".csv"))
    elif path is None:
        scores = [f"score_{disease}" for disease in predictor.classes[1:]]
        shown = result.table[["image", "predicted", "reason", *scores]].round(1)
        named = [name for name in DEFECTS if name in result.table]
        shown["found"] = [
            ", ".join(name for name in named if row[name]) for _, row in result.table.iterrows()
        ]
        out.print(escape(shown.to_string(index=False)) if len(shown) else "no film")
    said = ", ".join(f"{count} {name}" for name, count in result.counts().items()) or "none"
    over = ", ".join(f"{count} {what}" for what, count in result.passed_over.items())
    passed = f"; passed over by their headers: {over}" if over else ""
    lines = [f"{path or 'predicted'}: {len(result.table)} films ({said}){passed}."]
    unsure = result.unsure()
    few = sum(map(len, unsure.values())) <= LISTED
    for reason, named in unsure.items():
        lines.append(f"unsure ({reason}): {REASONS[reason]}")
        lines += [f"  {visible(name)}" for name in named] if path and few else []
    if path and not few:
        lines.append("The table's column reason tells which films are unsure, and why.")
    done(
        "\n".join([*lines, NOTICE]),
        f"cxrlens explain FILM...{of} -o explained",
        path,
    )
    end_with(result.failures)


def recipes(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[RECIPE]",
            autocompletion=complete_recipe,
            help="Show this one, a shipped recipe or a YAML file.",
        ),
    ] = "",
) -> None:
    """List the shipped recipes: what each is, and what it needs; or show one, every setting of it."""
    import pandas as pd

    from cxrlens.recipes.recipe import read_recipe, shipped_recipes

    if name:
        out.print(escape(read_recipe(name).to_yaml()), end="")
        return
    listed = [read_recipe(name) for name in shipped_recipes()]
    rows = [
        {"recipe": of.name, "what it is": of.about, "needs": ", ".join(of.needs)} for of in listed
    ]
    say_table(pd.DataFrame(rows), "Shipped recipes")
    done(
        "",
        "cxrlens recipes NAME > mine.yaml, change it, cxrlens train mine.yaml FILMS.CSV -o runs/NAME",
    )


def tune(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=complete_recipe,
            help="A shipped recipe, or a YAML file.",
        ),
    ],
    films: FilmsTable,
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="STUDY", help="The study's folder, new or begun.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Trials that the study shall have in all.")
    ] = 20,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change what is not searched."),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Search learning rates, layer width, dropout and depth of freezing; leave the best as a recipe.

    The same command goes on with a study that was interrupted. Several processes may run it on one
    folder at once. No trial meets the test films.
    """
    need("train", "tune", what="tuning")
    from cxrlens.collections.collection import read_collection
    from cxrlens.recipes.recipe import read_recipe
    from cxrlens.reports.comparison import write_study_page
    from cxrlens.training.tuning import tune

    collection = read_collection(films)
    with stages() as bars:
        found = tune(
            read_recipe(recipe, settings or ()),
            collection,
            folder,
            trials=trials,
            device=device,
            cache=cache,
            progress=bars,
            on_epoch=say_epoch,
            on_trial=lambda stands: write_study_page(folder / "study.html", stands),
        )
    page = write_study_page(folder / "study.html", found)
    complete = [trial for trial in found.trials if trial.value is not None]
    out.print(
        f"{len(found.trials)} trials, {len(complete)} finished"
        + (
            f", best validation macro F1 {max(t.value or 0 for t in complete):.4f}"
            if complete
            else ""
        )
    )
    then = f"cxrlens train {found.best} {films} -o runs/NAME" if found.best else ""
    done(f"{folder}: open {page}", then)
    end_with(collection.missing)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The bundle to make, a folder.")
    ],
    force: Force = False,
) -> None:
    """Export a run as a bundle: every verb that takes a model takes it, without PyTorch.

    It is compared with the run before it is put in place: probabilities and Grad-CAM are the same.
    """
    from cxrlens.export.bundle import export

    with stages() as bars:
        result = export(run, folder, force=force, progress=bars)
    if result.without_maps:
        err.print(result.without_maps)
    if result.unknown:
        err.print(
            f"{result.unknown} films of training and validation are gone: evaluate cannot recognise "
            "them among other films."
        )
    done(
        f"{result.path}: {result.bytes / 1e6:.1f} MB, probabilities within {result.difference:.1e} "
        "of the run's.",
        f"cxrlens predict FILM... --model {result.path}",
    )
