"""Verbs about how good it is: evaluate, compare, audit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrlens.cli.terminal import (
    NOTICE,
    Cache,
    Device,
    FilmsTable,
    Force,
    Model,
    OutFolder,
    Seed,
    complete_model,
    done,
    end_with,
    err,
    escape,
    out,
    refuse_model,
    say_table,
    stage,
    stages,
    the_model,
)
from cxrlens.errors import CxrlensError

if TYPE_CHECKING:
    from cxrlens.evaluation.calibrate import Bound, Site, Wish
    from cxrlens.evaluation.measured import Metrics
    from cxrlens.evaluation.tables import Diseases
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
        list[str] | None,
        typer.Option(metavar="DISEASE=SHARE", help="Of those tested, for PPV and NPV."),
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
    from cxrlens.evaluation.measured import Metrics
    from cxrlens.runs.run import Run, is_run

    shares = _prevalences(prevalence or [])
    if predictions is not None:
        if films is not None or model is not None:
            raise typer.BadParameter("--predictions takes the place of FILMS.CSV and --model")
        column, equals, value = (confirmed or "").partition("=")
        if confirmed is not None and not (column and equals and value):
            raise typer.BadParameter(
                "--confirmed is COLUMN=VALUE, for example rsna_class='Lung Opacity'"
            )
        scored = job.evaluate_table(
            predictions,
            folder,
            validation=validation,
            prevalence=shares,
            confirmed=(column, value) if confirmed else None,
            force=force,
        )
        if isinstance(scored.metrics, Metrics):
            _say(str(predictions), scored.metrics)
        _say_diseases(scored.metrics.diseases)
        for note in scored.scores.notes:
            out.print(f"[yellow]{escape(note)}[/]")
        if folder:
            done(f"{folder}: wrote {', '.join(job.TABLE_FILES)}", f"open {folder / 'report.html'}")
        return
    if validation is not None or confirmed is not None:
        raise typer.BadParameter("--validation and --confirmed belong to --predictions TABLE")
    if films is not None:
        refuse_model(films, "evaluate", "[FILMS.CSV]")
    model = the_model(model)
    if films is None:
        if not is_run(model):
            raise CxrlensError(f"{model} has no films of its own, as a run has: name FILMS.CSV")
        run = Run(model)
        job.evaluate(run, shares)
        say_metrics(run)
        done(f"{run.path}: wrote metrics.json and report.html")
        return
    if folder is None:
        raise typer.BadParameter("say where the results go: -o DIR")
    with stage("predict") as bar:
        result = job.evaluate_on(
            model, films, folder, prevalence=shares, cache=cache, force=force, progress=bar
        )
    _say("other films", result.metrics)
    _say_diseases(result.metrics.diseases)
    if result.warning:
        out.print(f"[yellow]{escape(result.warning)}[/]")
    done(
        f"{folder}: wrote predictions.csv, {', '.join(job.TABLE_FILES)}",
        f"open {folder / 'report.html'}",
    )
    end_with(result.failures)


def say_metrics(run: "Run") -> None:
    """Print a run's figures: a line a split, and each disease within its source, inside and outside."""
    from cxrlens.evaluation.measured import read_metrics
    from cxrlens.evaluation.tables import beside_text, listed, unknown
    from cxrlens.recipes.leave_out import staying

    found = read_metrics(run.path / "metrics.json")
    for name, metrics in found.items():
        _say(name, metrics)
    if "outside" in found and "test" in found:
        beside = beside_text(found["test"].diseases, found["outside"].diseases)
        say_table(
            beside, "AUC against the source's own normal films, inside and at places never seen"
        )
        if gone := run.recipe.leave_out.sources:
            out.print(escape(f"No training saw {listed(gone)}."))
        lines = (
            *unknown(found["outside"].diseases),
            *staying(run.recipe, run.collection()).values(),
        )
        for line in lines:
            out.print(escape(line))


def _say(name: str, metrics: "Metrics") -> None:
    from cxrlens.evaluation.tables import estimate

    auc = f", macro AUC {metrics.macro_auc:.4f}" if metrics.macro_auc is not None else ""
    out.print(
        escape(
            f"{name}: {metrics.films} films, accuracy {metrics.accuracy:.4f}, "
            f"macro F1 {metrics.macro_f1:.4f}{auc}"
        )
    )
    sure = metrics.calibration
    if sure:
        said = {"ECE": sure.ece, "Brier": sure.brier, "Brier skill over prevalence": sure.skill}
        told = ", ".join(f"{words} {estimate(of.value, of.interval)}" for words, of in said.items())
        out.print(escape(f"{name}: {told}"))
    left = metrics.abstention
    if left and left.answered.value is not None and left.error.value is not None:
        reasons = ", ".join(f"{count} {name}" for name, count in left.by_reason.items())
        found = [
            f"{disease} found {of.as_miss.value:.3f} ({of.as_referral.value:.3f} with unsure referred)"
            for disease, of in left.diseases.items()
            if of.as_miss.value is not None and of.as_referral.value is not None
        ]
        shares = ", ".join(f"{of} {share:.3f}" for of, share in left.by_class.items())
        out.print(
            escape(
                f"{name}: answered {left.answered.value:.3f} ({shares}), of these wrong "
                f"{left.error.value:.3f}; unsure {reasons or 'none'}; {', '.join(found)}"
            )
        )


def _say_diseases(diseases: "Diseases") -> None:
    from cxrlens.evaluation import tables
    from cxrlens.evaluation.measured import OWN, VALIDATED

    intervals = "Each disease against normal films, 95 % intervals by patient"
    who = "WHO: sensitivity of 90 % or more at a specificity of 70 % or more"
    known = f"By view, age and sex. {tables.groups_known(diseases)}"
    say_table(tables.separations_text(diseases), intervals)
    say_table(tables.groups_text(diseases), known)
    say_table(
        tables.own_points_text(diseases), "Operating points, at the ROC curve's own thresholds"
    )
    if any(disease.prevalence is not None for disease in diseases.values()):
        say_table(tables.points_text(diseases, OWN), "The same, with PPV and NPV")
    at_validated = tables.points_text(diseases, VALIDATED)
    say_table(at_validated, "At the thresholds that the validation films gave")
    say_table(tables.one_sided_text(diseases), "The same thresholds at sources of one class")
    say_table(tables.who_text(diseases), who)
    for line in tables.unknown(diseases):
        out.print(escape(line))


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|TABLE|FOLDER...",
            help="Finished runs, tables of scores of anybody's models, or folders of `cxrlens evaluate`.",
        ),
    ],
    folder: OutFolder,
    published: Annotated[
        bool, typer.Option("--published", help="Show the 2023 study's numbers beside ours.")
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=100, help="Bootstrap samples of patients for intervals and p.")
    ] = 1000,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Set runs beside each other: overall, class by class, paired on the same films, curves.

    DIR gets overall.csv, per-class.csv, runs.csv, pairs.csv, sources.csv, disease-pairs.csv, comparison.md
    and comparison.html. With a TABLE among them, or a FOLDER of `cxrlens evaluate`, each disease is held
    against normal films, in all and within each source: diseases.csv, pairs.csv and comparison.html.
    """
    from cxrlens.evaluation.comparison import compare as compare_runs
    from cxrlens.evaluation.comparison import compare_scores, is_judged
    from cxrlens.evaluation.tables import paired, paired_text
    from cxrlens.files import refuse_existing
    from cxrlens.reports.comparison import (
        FILES,
        MARK,
        SCORED_FILES,
        sections,
        write_comparison,
        write_scored,
    )

    if any(not path.is_dir() or is_judged(path) for path in runs):
        if published:
            raise typer.BadParameter(
                "--published is for runs; with scores of other films among them leave it out"
            )
        for name in SCORED_FILES:
            refuse_existing(folder / name, force)
        scored = compare_scores(runs, resamples=resamples, seed=seed)
        page = write_scored(scored, folder, force)
        say_table(
            scored.each_text(), "Each disease against normal films, 95 % intervals by patient"
        )
        if scored.pairs:
            say_table(paired_text(paired(scored.pairs)), "On the same films: difference of AUC")
        for caution in scored.cautions():
            out.print(f"[yellow]{escape(caution)}[/]")
        done(f"{folder}: open {page}")
        return

    for name in FILES:
        refuse_existing(folder / name, force)
    found = compare_runs(runs, published=published, resamples=resamples, seed=seed)
    page = write_comparison(found, folder, force)
    for part in sections(found, brief=True)[:4]:
        say_table(part.table, part.heading)
    if found.chosen:
        out.print(escape(f"{MARK} best validation macro F1: {found.chosen}"))
    for caution in found.cautions():
        out.print(f"[yellow]{escape(caution)}[/]")
    done(f"{folder}: open {page}")


def audit(
    films: FilmsTable,
    folder: OutFolder,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            autocompletion=complete_model,
            help="Ask this one, too: a run folder, a bundle, or an installed model's name.",
        ),
    ] = None,
    fail_on: Annotated[
        Literal["serious", "note", "never"],
        typer.Option(help="What exit code 1 stands for: serious findings, any note, or nothing."),
    ] = "serious",
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether figures on a collection can be believed: copies, leaks, shortcuts.

    DIR gets audit.html, audit.json and copies.csv. With --model it is asked, too, what the model still
    tells of films without lungs. Exit code 0: nothing serious; 1: something serious was found, or films
    could not be read; 2: wrong usage. --fail-on note also ends with 1 for notes, --fail-on never with 1
    for unreadable films only.
    """
    from cxrlens.audit import audit as audit_collection
    from cxrlens.audit.views import network_lungs
    from cxrlens.collections.collection import read_collection
    from cxrlens.files import refuse_filled
    from cxrlens.prediction import load
    from cxrlens.reports.audit import write_audit

    refuse_model(films, "audit", "FILMS.CSV")
    refuse_filled(folder, force)
    collection = read_collection(films, shared_too=True)
    predictor = load(model, device) if model else None
    with stages() as bars:
        found = audit_collection(collection, network_lungs, predictor, seed, bars)
    found.write(folder, force)
    write_audit(folder / "audit.html", found, films.name, str(model or ""), force)
    for one in found.findings:
        (err if one.serious else out).print(
            f"{'serious' if one.serious else 'note'}: {escape(one.sentence)}"
        )
    serious = sum(one.serious for one in found.findings)
    said = f"{serious} serious findings" if serious else "nothing serious found"
    done(f"{folder}: {len(found.films)} films, {said}", f"open {folder / 'audit.html'}")
    end_with(found.films.failures)
    matters = len(found.findings) if fail_on == "note" else serious
    if matters and fail_on != "never":
        raise typer.Exit(1)


def calibrate(
    films: FilmsTable,
    path: Annotated[Path, typer.Option("-o", "--out", metavar="SITE", help="The file to write.")],
    model: Model = None,
    sensitivity: Annotated[
        float | None, typer.Option(help="That each threshold shall have at least (default: 0.9).")
    ] = None,
    specificity: Annotated[
        float | None, typer.Option(help="That each threshold shall have at least instead.")
    ] = None,
    costs: Annotated[
        str | None,
        typer.Option(
            "--costs",
            metavar="MISS,ALARM[,READ]",
            help="What a miss, a false alarm and an unsure film cost; alone: thresholds of least cost.",
        ),
    ] = None,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DISEASE=SHARE", help="Among those who will be screened (default: your films')."
        ),
    ] = None,
    unsure: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of films to leave near the threshold.")
    ] = 0.2,
    cache: Cache = None,
    force: Force = False,
) -> None:
    """Fit a model's thresholds and probabilities to your own place, from some hundred labelled films.

    The file goes to `predict`, `explain`, `serve` and `dicom-node` with `--site`.
    """
    from cxrlens.evaluation.calibrate import calibrate
    from cxrlens.files import STDOUT

    if path == STDOUT:
        raise typer.BadParameter("a site file is called by its name: -o site.json")
    with stage("read films") as bar:
        made = calibrate(
            the_model(model),
            films,
            path,
            wish=_wish(sensitivity, specificity, costs),
            prevalence=_prevalences(prevalence or []),
            unsure=unsure,
            cache=cache,
            force=force,
            progress=bar,
        )
    _say_site(made.site)
    done(
        f"{path}: site {made.digest}, for the model {made.site.model}.\n{NOTICE}",
        f"cxrlens predict FILM...{f' --model {model}' if model else ''} --site {path}",
    )
    end_with(made.failures)


def _wish(sensitivity: float | None, specificity: float | None, costs: str | None) -> "Wish":
    from pydantic import ValidationError

    from cxrlens.evaluation.calibrate import Costs, Wish

    if sensitivity is not None and specificity is not None:
        raise typer.BadParameter("one of --sensitivity and --specificity at a time")
    for share in (sensitivity, specificity):
        if share is not None and not 0 < share < 1:
            raise typer.BadParameter("a sensitivity or specificity is a share between 0 and 1")
    told = None
    if costs is not None:
        try:
            miss, alarm, read = [*map(float, costs.split(",")), 0.0][:3]
            told = Costs(miss=miss, alarm=alarm, read=read)
        except (ValueError, ValidationError) as error:
            raise typer.BadParameter(
                "--costs takes two or three numbers, e.g. 100,1,0.5"
            ) from error
    if specificity is not None:
        return Wish("specificity", specificity, told)
    if sensitivity is None and told is not None:
        return Wish("cost", costs=told)
    return Wish("sensitivity", 0.9 if sensitivity is None else sensitivity, told)


def _prevalences(given: list[str]) -> dict[str, float]:
    from cxrlens.collections.tables import LABELS
    from cxrlens.evaluation.intervals import refuse_prevalences

    found = {}
    for one in given:
        name, _, share = one.partition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError as error:
            raise typer.BadParameter("--prevalence takes e.g. tuberculosis=0.02") from error
    # Before any film is asked about.
    refuse_prevalences(found, LABELS[1:])
    return found


def _say_site(site: "Site") -> None:
    def said(bound: "Bound", digits: int = 3) -> str:
        return f"{bound.value:.{digits}f} ({bound.low:.{digits}f} to {bound.high:.{digits}f})"

    for name, of in site.thresholds.items():
        kind = "normal ones" if site.wish == "specificity" else "with it"
        more = (
            f" For plus or minus 5 points: {of.more_films:,} more such films, {of.more:,} of them {kind}."
            if of.more
            else ""
        )
        out.print(
            escape(
                f"{name}: named from a score of {of.score:.1f}, which misses {of.missed} of {of.films} films "
                f"with it and names {of.alarms} of {of.normals} normal ones. To expect of films to come: "
                f"sensitivity {said(of.sensitivity)}, specificity {said(of.specificity)}.{more}"
            )
        )
    shares = ", ".join(f"{name} {share:.3f}" for name, share in site.prevalence.items())
    screened = site.screened
    line = (
        f"Of 1,000 screened ({shares}): {said(screened.missed, 1)} missed, {said(screened.alarms, 1)} false "
        f"alarms, {said(screened.unsure, 1)} unsure"
    )
    if screened.cost:
        line += f"; cost {said(screened.cost, 1)}"
    out.print(escape(f"{line}."))
    for note in site.notes:
        err.print(escape(note))
