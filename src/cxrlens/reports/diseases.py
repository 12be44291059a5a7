"""Diseases against normal on a page: tables, curves, operating points, and places never seen."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cxrlens.collections.collection import OUTSIDE, Collection
from cxrlens.evaluation import tables
from cxrlens.evaluation.against_normal import disease_score
from cxrlens.evaluation.diseases import NORMAL, OWN, VALIDATED, ChosenOn, Disease
from cxrlens.evaluation.metrics import roc_curve
from cxrlens.evaluation.operating import steps
from cxrlens.evaluation.sources import percent
from cxrlens.recipes.leave_out import staying
from cxrlens.reports.figures import HUES, INK, REFERENCE, figure
from cxrlens.reports.page import Page, Plot
from cxrlens.runs.run import Run

_DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))


def disease_section(page: Page, diseases: tables.Diseases, predictions: pd.DataFrame) -> None:
    """Add each disease against normal: how far apart, curves, groups, operating points, WHO's target.

    Parameters
    ----------
    page
        The page in the making.
    diseases
        Measured; nothing is added where there is none.
    predictions
        What they were measured on.
    """
    if not diseases:
        return
    page.section("Each disease against normal", "diseases")
    page.text(
        "A disease is held against normal films alone, and within a source against that source's own: there "
        "the place cannot give the answer away. Films are ranked by "
        + "; ".join(dict.fromkeys(one.score for one in diseases.values()))
        + "."
    )
    page.table(
        tables.separations_text(diseases),
        "How far films of a disease stand above normal ones, with 95\u00a0% intervals by patient. AUC 0.5 is "
        "guessing; average precision by guessing is the disease's share of the films.",
        dict.fromkeys(("AUC", "average precision"), str),
    )
    page.points(tables.unknown(diseases))
    page.figures(
        [
            plot
            for name, one in diseases.items()
            if not one.whole.unknown
            for plot in _curves(name, one, predictions)
        ]
    )
    groups = tables.groups_text(diseases)
    if len(groups):
        page.table(
            groups,
            "The same by view, age and sex, within a source.",
            {"AUC": str},
            tables.groups_known(diseases),
        )
    _operating_points(page, diseases)


def outside_section(
    page: Page,
    run: Run,
    films: pd.DataFrame,
    inside: tables.Diseases,
    outside: tables.Diseases,
) -> None:
    """Add how well a run does at places it never saw, beside places that it saw.

    Parameters
    ----------
    page
        The page in the making.
    run, films
        The run and its collection's table.
    inside, outside
        Of test films of sources that training saw, and of sources that it did not.
    """
    page.section("At places it never saw", "outside")
    page.text(
        f"Left out of training: {_left(run, films)}. A place that training did not see cannot be recognised: "
        "these figures count, and those inside stand beside them."
    )
    beside = tables.beside_text(inside, outside)
    if len(beside):
        page.table(
            beside,
            "AUC of a disease against the normal films of the same source, with 95\u00a0% intervals by "
            "patient: inside, on test films of sources that training saw; outside, on all films of "
            "sources that it did not see.",
            _right(beside, "disease", "source"),
        )
    page.points([*tables.unknown(outside), *staying(run.recipe, Collection(films)).values()])
    _validated(
        page,
        outside,
        "Outside, at the thresholds that validation films of the places inside gave: what is left of each "
        "demand where the model has never been.",
    )
    _who(page, outside)


def _left(run: Run, films: pd.DataFrame) -> str:
    recipe = run.recipe
    said = [" and ".join(recipe.leave_out.sources)] if recipe.leave_out.sources else []
    if recipe.outside:
        groups = "; ".join(" and ".join(group) for group in recipe.outside.values())
        said.append(
            f"{groups} (in turn, each time from a network of its own that was trained alike)"
        )
    if not said:  # the collection itself says which films are outside
        gone = films[films["split"].eq(OUTSIDE)]
        names = sorted(gone["source"].dropna().unique()) if "source" in gone else []
        said = [" and ".join(names) or f"{len(gone):,} films"]
    return "; ".join(said)


def _right(table: pd.DataFrame, *words: str) -> dict[str, Any]:
    """Set all columns right, like numbers, but for those that hold words."""
    return {str(name): str for name in table if name not in words}


def _operating_points(page: Page, diseases: tables.Diseases) -> None:
    page.subsection("Operating points")
    page.text(
        "A threshold turns scores into calls. Chosen on the very films that it is measured on, the best one "
        "flatters; a threshold that validation films gave is what a user would have had."
    )
    prevalence = next((one.prevalence for one in diseases.values()), None)
    stated = (
        f" PPV and NPV are for a prevalence of {percent(prevalence, 1)}, the others tested being normal."
        if prevalence is not None
        else ""
    )
    own = tables.own_points_text(diseases)
    if len(own):
        caption = "At the ROC curve's own thresholds, chosen on these films."
        page.table(own, caption, _right(own, "disease", "source"))
    if stated:
        _points(page, diseases, OWN, f"The same thresholds.{stated}")
    _validated(page, diseases, f"At the thresholds that the validation films gave.{stated}")
    _who(page, diseases)


def _validated(page: Page, diseases: tables.Diseases, caption: str) -> None:
    found = [point for _, _, one in tables.places(diseases) for point in one.points]
    if found and not any(point.chosen_on == VALIDATED for point in found):
        page.text("There were no validation films of both kinds to choose thresholds by.")
        return
    _points(page, diseases, VALIDATED, caption)
    alone = tables.one_sided_text(diseases)
    if len(alone):
        page.table(
            alone,
            "The same thresholds at sources of one class.",
            _right(alone, "disease", "source", "figure"),
        )


def _points(page: Page, diseases: tables.Diseases, chosen_on: ChosenOn, caption: str) -> None:
    table = tables.points_text(diseases, chosen_on)
    if len(table):
        page.table(table, caption, _right(table, "disease", "source", "demanded"))


def _who(page: Page, diseases: tables.Diseases) -> None:
    table = tables.who_text(diseases)
    if len(table):
        page.table(
            table,
            "WHO's minimal target for a triage test of tuberculosis (2014): a sensitivity of at least "
            "90\u00a0% at a specificity of at least 70\u00a0%. These films' own threshold is the best one "
            "with that specificity; of the validation films it is the one that found 90\u00a0% there.",
            dict.fromkeys(("sensitivity", "specificity"), str),
        )


def _curves(name: str, disease: Disease, predictions: pd.DataFrame) -> list[Plot]:
    """ROC and precision-recall of a disease, over all films and within the sources that hold both."""
    films = predictions[predictions["label"].isin([NORMAL, name])]
    held = [source for source, one in disease.within.items() if not one.unknown]
    held = sorted(held, key=lambda source: -disease.within[source].films)[: len(HUES)]
    parts = [(source, films[films["source"].astype(str) == source]) for source in held]
    said = f"Over all films AUC {tables.said(disease.whole.auc)}"
    said += "".join(f"; {source} {tables.said(disease.within[source].auc)}" for source in held)
    with figure(5.0, 4.4) as (roc, (axes,)):
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1, label="chance")
        _draw_roc(axes, films, name, f"all films, AUC {_short(disease.whole.auc.value)}", INK, "-")
        for place, (source, part) in enumerate(parts):
            label = f"{source}, AUC {_short(disease.within[source].auc.value)}"
            _draw_roc(axes, part, name, label, HUES[place], _DASHES[place % len(_DASHES)])
        axes.set(xlabel="1 − specificity (normal films called so)", ylabel="sensitivity (found)")
        axes.set_title(f"ROC, {name} against normal")
        _square(axes)
        axes.legend(loc="lower right")
    with figure(5.0, 4.4) as (precision, (axes,)):
        whole = disease.whole.average_precision.value
        _draw_precision(axes, films, name, f"all films, average {_short(whole)}", INK, "-")
        for place, (source, part) in enumerate(parts):
            value = disease.within[source].average_precision.value
            label = f"{source}, average {_short(value)}"
            _draw_precision(axes, part, name, label, HUES[place], _DASHES[place % len(_DASHES)])
        axes.set(xlabel="sensitivity (found)", ylabel="precision (of those called so)")
        axes.set_title(f"Precision and recall, {name} against normal")
        _square(axes)
        axes.legend(loc="lower left")
    return [
        Plot(
            roc,
            f"ROC curves of {name} against normal. {said}.",
            f"ROC curves of {name} against normal films, over all thresholds.",
        ),
        Plot(
            precision,
            f"Precision-recall curves of {name} against normal; average precision "
            f"over all films {_short(whole)}.",
            f"Precision and recall of {name} against normal films. Precision holds for the share of the "
            "disease among these films alone.",
        ),
    ]


def _draw_roc(
    axes: Axes, films: pd.DataFrame, name: str, label: str, colour: str, dash: Any
) -> None:
    wrongly, rightly = roc_curve(films["label"].eq(name).to_numpy(bool), disease_score(films, name))
    axes.plot(wrongly, rightly, label=label, color=colour, linestyle=dash)


def _draw_precision(
    axes: Axes, films: pd.DataFrame, name: str, label: str, colour: str, dash: Any
) -> None:
    positive = films["label"].eq(name).to_numpy(bool)
    curve = steps(np.ones((1, len(films))), positive, disease_score(films, name))
    hits, alarms = curve.hits[0, 1:], curve.alarms[0, 1:]
    axes.step(
        hits / positive.sum(),
        hits / (hits + alarms),
        where="post",
        label=label,
        color=colour,
        linestyle=dash,
    )


def _square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
