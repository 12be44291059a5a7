"""The report of a run or a table of scores: trained on whom, how well it does, and where it does not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlens.collections.collection import OUTSIDE
from cxrlens.collections.readers.published import known_source
from cxrlens.collections.tables import persons
from cxrlens.errors import FilmError, RunError
from cxrlens.evaluation.assess import assess_run
from cxrlens.evaluation.card import NO_OUTSIDE, describe, source_warning
from cxrlens.evaluation.measured import NORMAL, Judged, Metrics
from cxrlens.evaluation.metrics import certainty, forced
from cxrlens.evaluation.scores import Scores
from cxrlens.evaluation.tables import (
    MISSING,
    bounds,
    by_class,
    counts,
    estimate,
    listed,
    percent,
    range_in_words,
    readable,
    show,
    spread,
)
from cxrlens.progress import lasting
from cxrlens.quality.step import DEFECTS
from cxrlens.radiographs.read import read_radiograph
from cxrlens.reports.figures import Plot, confusion_plot, reliability, roc_curves, training_plots
from cxrlens.reports.page import FilmCard, Page, Tile, short
from cxrlens.reports.trust import abstention_section, disease_section, outside_section
from cxrlens.runs import SavedModel
from cxrlens.runs.run import Run

SHOWN = 8
"""How many films of each kind of mistake, and of those that could not be read, are shown."""

FEW = 50
"""A class or source with fewer films than this gets a word of caution."""


def write_report(
    run: Run,
    path: str | Path,
    force: bool = False,
    metrics: Mapping[str, Metrics] | None = None,
    split: str = "test",
    date: str = "",
) -> Path:
    """Write the report of a run as one HTML file.

    Parameters
    ----------
    run
        A run with predictions.
    path
        The file to write, usually ``report.html`` in the run folder.
    force
        Whether a file that is there may be replaced.
    metrics
        By split, if they were measured just now; otherwise `assess_run` measures them.
    split
        The split that the report is about; others are given in one table beside it.
    date
        Printed under the title as given; without it the same run gives the same file.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    RunError
        If the run has no predictions for `split`.
    OutputError
        If the file exists and `force` is not set, or it cannot be written.
    """
    metrics = metrics or assess_run(run)
    if split not in metrics:
        raise RunError(f"{run.path} has no predictions for {split}, only for {listed([*metrics])}")
    tested, predictions, films = metrics[split], run.predictions(split), run.films()
    page = Page(
        f"{run.recipe.name}: report of the run “{run.path.resolve().name}”",
        f"Measured on {tested.films:,} {split} films of {tested.patients:,} patients",
        population=describe(films, run.classes),
        date=date,
    )
    if not run.recipe.outside and not run.recipe.leave_out.sources:
        page.alarm(NO_OUTSIDE)
    _headline(page, tested, split, predictions)
    if OUTSIDE in metrics and split != OUTSIDE:
        outside_section(page, run, films, metrics[split].diseases, metrics[OUTSIDE].diseases)
    _results(page, tested, predictions, metrics)
    _mistakes(page, run, predictions)
    _collection(page, run, films)
    _training(page, run)
    _recipe(page, run)
    _reading(page, tested)
    return page.write(path, force)


def write_films_report(
    run: SavedModel,
    predictions: pd.DataFrame,
    tested: Metrics,
    path: Path,
    force: bool = False,
    warning: str | None = None,
) -> Path:
    """Write the report of a model on films that are none of its own.

    Parameters
    ----------
    run
        The run or the bundle that predicted them.
    predictions
        The films' predictions with their labels.
    tested
        Their metrics.
    path, force
        As in `write_report`.
    warning
        What `learnt_from` said of them, which reads every film's file; None asks it.

    Returns
    -------
    Path
        `path`. Its page warns if films or patients of the model's own training stand in the table; of
        a bundle only films can be recognised, and the page says so.

    Raises
    ------
    OutputError
        If the file exists and `force` is not set, or it cannot be written.
    """
    page = Page(
        f"{run.recipe.name} on other films",
        f"The {run.kind} “{run.path.resolve().name}”, measured on {tested.films:,} films "
        f"of {tested.patients:,} patients from another table",
        population=describe(predictions, run.classes),
    )
    _headline(page, tested, "other", predictions)
    if warning is None:
        warning = learnt_from(run, predictions)
    if warning:
        page.warning(warning)
    if run.cannot_recognise:
        page.text(run.cannot_recognise)
    _results(page, tested, predictions, {"other": tested})
    _mistakes(page, run, predictions)
    _reading(page, tested)
    return page.write(path, force)


def learnt_from(model: SavedModel, predictions: pd.DataFrame) -> str:
    """Warn of films that stand in the model's training or validation set, or whose patients do, if any do."""
    seen = predictions["image"].isin([image for image, _ in model.learnt(predictions["image"])])
    if "patient" in predictions:
        seen |= persons(predictions["patient"]).isin(model.patients_learnt)
    if not seen.any():
        return ""
    return (
        f"{int(seen.sum()):,} of these films, or other films of their patients, were learnt from or chose "
        "the epoch: the figures flatter."
    )


def write_table_report(
    scores: Scores, measured: Metrics | Judged, path: Path, force: bool = False
) -> Path:
    """Write the report of a table of scores as one HTML file.

    Parameters
    ----------
    scores
        The films that were measured.
    measured
        What `cxrlens.evaluation.assess.assess_scores` found.
    path, force
        As in `cxrlens.reports.run.write_report`.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputError
        If the file exists and `force` is not set, or it cannot be written.
    """
    page = Page(
        f"Scores of “{Path(scores.name).name}”",
        f"Measured on {measured.films:,} films of {measured.patients:,} patients",
        population=describe(scores.table, scores.classes),
    )
    if isinstance(measured, Metrics):
        _headline(page, measured, "test", scores.table)
        page.points(scores.notes)
        _results(page, measured, scores.table, {"test": measured})
        _reading(page, measured)
        return page.write(path, force)
    page.section("In short", "in-short")
    known = {
        name: one.whole.auc for name, one in measured.diseases.items() if not one.whole.unknown
    }
    page.tiles(
        [
            Tile(f"{name} against normal, AUC", show(auc.value), range_in_words(auc.interval))
            for name, auc in known.items()
        ]
    )
    _warn_of_sources(page, scores.table, sorted(scores.table["label"].unique()))
    page.points(scores.notes)
    disease_section(page, measured.diseases, scores.table)
    return page.write(path, force)


def _headline(page: Page, tested: Metrics, split: str, predictions: pd.DataFrame) -> None:
    """Add the figures that come first, and what forbids trusting them."""
    page.section("In short", "in-short")
    shares = {"Accuracy": "accuracy"}
    shares |= {
        f"Recall of {name}": f"{name}.recall" for name, one in tested.by_class.items() if one.films
    }
    tiles = []
    for words, name in (shares | {"Macro F1": "macro_f1", "Macro AUC": "macro_auc"}).items():
        one = tested.estimate(name)
        share = words in shares and one.value is not None
        value = percent(one.value, 1) if share and one.value is not None else show(one.value)
        tiles.append(Tile(words, value, range_in_words(one.interval, share)))
    page.tiles(tiles)
    page.points(outcomes(tested))
    _warn_of_sources(page, predictions, tested.classes)
    few = [f"{name} ({one.films})" for name, one in tested.by_class.items() if one.films < FEW]
    if few:
        page.warning(
            f"Few or no {split} films of {listed(few)}: what is said of them can be chance."
        )
    if tested.accuracy == 1:
        page.warning(
            "No film was wrong, so that the intervals have no width. That is no certainty: with "
            f"{tested.patients:,} patients an error rate of up to about "
            f"{percent(min(1.0, 3 / tested.patients), 1)} is compatible with it."
        )


def _warn_of_sources(page: Page, films: pd.DataFrame, classes: Sequence[str]) -> None:
    warning = source_warning(films, classes)
    if warning:
        page.warning(warning)


def outcomes(metrics: Metrics) -> list[str]:
    """Say for each class that has films what they were called."""
    lines = []
    for name, row in zip(metrics.classes, metrics.confusion, strict=True):
        films = sum(row)
        if not films:
            lines.append(f"There are no {name} films: how many would be found is not known.")
            continue
        calls = dict(zip(metrics.classes, row, strict=True))
        right = calls.pop(name)
        others = [f"{count:,} {other}" for other, count in calls.items() if count]
        line = (
            f"Of {films:,} {name} films, {right:,} were called {name} ({percent(right / films, 1)})"
        )
        lines.append(line + (f", {listed(others)}." if others else "."))
    return lines


def _results(
    page: Page, tested: Metrics, predictions: pd.DataFrame, metrics: Mapping[str, Metrics]
) -> None:
    """Add the classes' figures and curves, the splits beside each other, each disease, each source."""
    page.section("How well it does", "results")
    drawn = tested.intervals
    samples = (
        f" ({drawn.resamples:,} bootstrap samples of {drawn.patients:,} patients)" if drawn else ""
    )
    quantities = ("precision", "recall", "specificity", "f1", "auc")
    rows = [
        {"class": name, "films": one.films} | _row(tested, quantities, f"{name}.")
        for name, one in tested.by_class.items()
    ]
    mean = _row(tested, ("precision", "recall", "f1", "auc"), "macro_")
    rows.append({"class": "mean (macro)", "films": tested.films} | mean)
    page.table(
        readable(pd.DataFrame(rows), ["class", "films", *quantities]),
        "Each class against the rest, and the plain mean of the classes; in brackets the "
        f"95\u00a0% interval{samples}.",
    )
    sure = tested.calibration
    assert sure is not None
    most = sure.bins[-1]
    page.figures(
        [
            Plot(
                confusion_plot(tested),
                "Confusion matrix. " + " ".join(outcomes(tested)),
                "Confusion matrix: films, and their share of all films with that label.",
            ),
            Plot(
                roc_curves(predictions, tested),
                "ROC curves of each class against the rest. Areas under the curves: "
                + "; ".join(f"{n} {show(one.auc)}" for n, one in tested.by_class.items()),
                "ROC curves: what is found against what is called so wrongly, "
                "over all thresholds of the class's probability.",
            ),
            Plot(
                reliability(sure),
                f"Reliability diagram. Where the model claims most, {most.claimed:.2f} on "
                f"average, {most.right.value or 0:.2f} of {most.films:,} films are right.",
                "Reliability: how often the predicted class is right where the model claims a "
                "certain probability for it, with the number of films and 95\u00a0% intervals. Points "
                "under the line: it claims too much.",
            ),
        ]
    )
    page.facts(
        {
            "Expected calibration error": estimate(sure.ece.value, sure.ece.interval),
            "Brier score": estimate(sure.brier.value, sure.brier.interval),
            "Brier skill over prevalence": estimate(sure.skill.value, sure.skill.interval),
        }
    )
    if "calibrated" in predictions and not predictions["calibrated"].all():
        page.text(
            "The probabilities are the model's own scores, not calibrated: read them in their "
            "order, not as frequencies."
        )
    if len(metrics) > 1:
        page.table(
            _beside("split", metrics),
            "The splits beside each other. Training films were learnt from, and validation films "
            "chose the epoch: both flatter.",
        )
    abstention_section(page, tested, metrics.get(OUTSIDE))
    disease_section(page, tested.diseases, predictions)
    if tested.by_source:
        _sources(page, tested)


def _row(metrics: Metrics, names: Sequence[str], of: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in names:
        row |= bounds(name, metrics.estimate(f"{of}{name}"))
    return row


def _beside(what: str, metrics: Mapping[str, Metrics]) -> pd.DataFrame:
    """Set the averages of splits or sources beside each other."""
    rows = []
    for name, one in metrics.items():
        there = sum(part.films > 0 for part in one.by_class.values())
        # Of one class alone there is nothing to be mistaken for.
        names = ("accuracy", *(("macro_f1",) if there > 1 else ()), "macro_auc")
        rows.append(
            {what: name, "films": one.films, "patients": one.patients, "classes": there}
            | _row(one, names)
        )
    columns = [what, "films", "patients", "classes", "accuracy", "macro_f1", "macro_auc"]
    return readable(pd.DataFrame(rows), columns)


def _sources(page: Page, tested: Metrics) -> None:
    """Add the figures of each source alone."""
    page.section("Source by source", "sources")
    page.text(
        "Within one source a model cannot tell the classes apart by where a film was taken. Means "
        "are over the classes that the source has. In a source of one class there is nothing to be "
        "mistaken for: only its accuracy is given."
    )
    few = [f"{name} ({one.films})" for name, one in tested.by_source.items() if one.films < FEW]
    page.table(
        _beside("source", tested.by_source),
        "The films of each source alone, with 95\u00a0% intervals.",
        note=f"Few films, so that figures can be chance: {listed(few)}." if few else "",
    )
    rows = [
        {"source": name, "class": label}
        | {"said": f"{percent(of.recall, 1)} of {of.films:,}" if of.recall is not None else MISSING}
        for name, one in tested.by_source.items()
        for label, of in one.by_class.items()
    ]
    page.table(
        spread(rows, ("source",), "class", "said"),
        "How many films of each class were called so, source by source.",
    )
    told = {name: who for name in tested.by_source if (who := known_source(name).who)}
    if told:
        page.text("What is known of them beyond this table:")
        page.facts(told)


KINDS = {
    "missed": "Missed: films with a disease that were called normal",
    "alarm": "False alarms: normal films that were called a disease",
    "confused": "One disease taken for the other",
}
"""The ways to be wrong, the gravest first, with their headings."""


def kind_of(label: str, predicted: str) -> str | None:
    """Name in `KINDS` of a mistake, or None if the prediction is right."""
    if label == predicted:
        return None
    if predicted == NORMAL:
        return "missed"
    return "alarm" if label == NORMAL else "confused"


def mistakes(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the wrong films, the most certain first.

    Parameters
    ----------
    predictions, classes
        As for `cxrlens.evaluation.metrics.measure`.

    Returns
    -------
    DataFrame
        The wrong rows with two more columns: ``kind`` (see `KINDS`) and ``certainty``, the
        probability of the class that was predicted.
    """
    predictions = forced(predictions, classes)
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    pairs = zip(wrong["label"].astype(str), wrong["predicted"].astype(str), strict=True)
    kinds = pd.array([kind_of(label, predicted) for label, predicted in pairs], dtype="string")
    return wrong.assign(kind=kinds, certainty=certainty(wrong, classes)).sort_values(
        "certainty", ascending=False, kind="stable"
    )


def _mistakes(page: Page, run: SavedModel, predictions: pd.DataFrame) -> None:
    page.section("Its worst mistakes", "mistakes")
    wrong = mistakes(predictions, run.classes)
    if wrong.empty:
        page.text("No film was called wrongly.")
        return
    page.text(
        f"{len(wrong):,} films were called wrongly. Shown are those about which the model was most "
        "certain; a wrong label is among the reasons to look for."
    )
    for kind, heading in KINDS.items():
        of_kind = wrong[wrong["kind"] == kind]
        if of_kind.empty:
            continue
        page.subsection(heading)
        cards = [
            _film_card(row, run.classes, run.path) for _, row in of_kind.head(SHOWN).iterrows()
        ]
        page.films(cards, f"{len(cards)} of {len(of_kind):,}, the most certain first.")


def _film_card(row: pd.Series, classes: Sequence[str], folder: Path) -> FilmCard:
    """Show a film with its label, what it was called, and the probability of each class.

    Parameters
    ----------
    row
        A row of predictions; ``source`` and findings are shown where they are known.
    classes
        The classes, in order.
    folder
        What a relative ``image`` starts from.

    Returns
    -------
    FilmCard
        Without a film, but with the reason, if it can no longer be read.
    """
    path = folder / str(row["image"])
    source = row.get("source")
    details = [f"source: {source}"] if pd.notna(source) else []
    if pd.notna(row.get("reason")) and row["reason"]:
        details.append(f"left unsure: {row['reason']}")
    found = [name for name in DEFECTS if pd.notna(row.get(name)) and bool(row.get(name))]
    if found:
        details.append(f"quality: {', '.join(found)}")
    name = short(path)
    try:
        film = read_radiograph(path)
    except FilmError as error:
        film = None
        details.append(str(error).replace(str(path), name))
    else:
        details.append(name)
    origin = f" from {source}" if pd.notna(source) else ""
    return FilmCard(
        film=film,
        caption=f"{row['label']} called {row['predicted']}",
        alt=f"Radiograph{origin} with the label {row['label']}, called {row['predicted']}"
        + ("" if film is not None else "; the film cannot be read"),
        details=details,
        shares={name: float(row[name]) for name in classes},
    )


def _collection(page: Page, run: Run, films: pd.DataFrame) -> None:
    """Add who was trained on: counts by class, split and source, with ages, sexes and views."""
    page.section("Who and what it was trained on", "collection")
    _skipped(page, run)
    if "label" in films:
        page.table(
            by_class(films, run.classes),
            "All films of the run by class.",
            note="Age: median (5th to 95th percentile) in years, and for how many films it is known. "
            "Female: of the films whose sex is known."
            if {"age", "sex"} & set(films.columns)
            else "",
        )
        for column in ("split", "source"):
            if column in films and films[column].notna().any():
                page.table(counts(films, column, run.classes), f"Films by {column} and class.")


def _skipped(page: Page, run: Run) -> None:
    skipped = run.skipped()
    if not skipped:
        return
    page.warning(
        f"{len(skipped):,} of the films below could not be read: they were neither learnt from "
        "nor tested."
    )
    shown = [short(image) for image in list(skipped)[:SHOWN]]
    more = len(skipped) - len(shown)
    page.text(f"They are {listed([*shown, f'{more:,} more'] if more else shown)}.")


def _training(page: Page, run: Run) -> None:
    """Add how training went: epochs, time, curves."""
    page.section("How training went", "training")
    history = run.history()
    if history.empty:
        page.text("The run keeps no history of its epochs.")
        return
    kept = run.kept(history)
    page.facts(
        {
            "Epochs": len(history),
            "Weights kept of epoch": int(kept["epoch"]) + 1,
            "Its validation accuracy": float(kept["validation_accuracy"]),
            "Time": lasting(float(history["seconds"].sum())),
        }
    )
    page.figures(training_plots(history, kept))


def _recipe(page: Page, run: Run) -> None:
    """Add the recipe, where the weights came from, and the versions."""
    page.section("Recipe and versions", "recipe")
    recipe = run.recipe
    if recipe.about:
        page.text(recipe.about)
    versions = run.versions()
    page.facts(
        {
            "Network": recipe.backbone,
            "Starting weights": versions.get("weights", "not known"),
            "Quality chain": recipe.quality,
        }
    )
    page.code(recipe.to_yaml(), "The whole recipe, defaults included:")
    page.subsection("What it ran with")
    page.facts({key: _plain(value) for key, value in versions.items()})


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(str(_plain(part)) for part in value)
    return value


def _reading(page: Page, tested: Metrics) -> None:
    """Add how to read the figures."""
    page.section("How to read the figures", "reading")
    lines = [
        "Precision: of the films that were called so, the share that are so.",
        "Recall (sensitivity): of the films that are so, the share that were called so.",
        "Specificity: of the films that are not so, the share that were not called so.",
        "F1: the harmonic mean of precision and recall. Macro: the plain mean over the classes that "
        "occur, as a label or as a prediction, so that a rare class counts as much as a common one.",
        "Expected calibration error: how far the probability of the predicted class lies from the share that "
        "is right, on average over tenths; 0 is best. Brier skill over prevalence: by how much "
        "probabilities beat giving every film the classes' shares; 0 is no better, 1 is perfect.",
        "AUC: the chance that a film of the class gets a higher probability for it than a film of "
        "another class; 0.5 is guessing.",
    ]
    if tested.intervals:
        lines.append(
            "95\u00a0% interval: where the figure would lie with other patients of the same kind, "
            f"found by drawing {tested.intervals.patients:,} patients with replacement "
            f"{tested.intervals.resamples:,} times, all films of a patient together. It says "
            "nothing of films from other places, other machines or other people. Where nothing was "
            "wrong it has no width: that is what was seen, no certainty."
        )
    page.points(lines)
