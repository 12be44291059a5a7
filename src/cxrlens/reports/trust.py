"""How far to trust a model: parts of a run's page, and the trust card of any model.

The parts are diseases against normal, places never seen, and films left unsure; the card is a page, Markdown
for a model hub, and answers to the items of CLAIM and TRIPOD+AI.
"""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cxrlens.collections.collection import OUTSIDE, Collection
from cxrlens.errors import CxrlensError
from cxrlens.evaluation import tables
from cxrlens.evaluation.against_normal import disease_score
from cxrlens.evaluation.card import (
    NO_OUTSIDE,
    ModelCard,
    Place,
    figure_text,
    place_text,
    write_card,
)
from cxrlens.evaluation.card import Figure as CardFigure
from cxrlens.evaluation.intervals import steps
from cxrlens.evaluation.measured import (
    NORMAL,
    OWN,
    VALIDATED,
    Abstention,
    Disease,
    Estimate,
    Metrics,
)
from cxrlens.evaluation.metrics import roc_curve
from cxrlens.evaluation.tables import estimate, listed, percent, show
from cxrlens.files import refuse_existing, write_text
from cxrlens.recipes.leave_out import staying
from cxrlens.reports.figures import DASHES, HUES, INK, REFERENCE, Plot, figure, square
from cxrlens.reports.page import Page, Tile
from cxrlens.runs.run import Run


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
    _table(
        page,
        tables.separations_text(diseases),
        "How far films of a disease stand above normal ones, with 95\u00a0% intervals by patient. AUC 0.5 is "
        "guessing; average precision by guessing is the disease's share of the films.",
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
    _table(
        page,
        tables.groups_text(diseases),
        "The same by view, age and sex, within a source.",
        tables.groups_known(diseases),
    )
    _operating_points(page, diseases)


def _table(page: Page, table: pd.DataFrame, caption: str, note: str = "") -> None:
    if len(table):
        page.table(table, caption, note=note)


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
    _table(
        page,
        tables.beside_text(inside, outside),
        "AUC of a disease against the normal films of the same source, with 95\u00a0% intervals by "
        "patient: inside, on test films of sources that training saw; outside, on all films of "
        "sources that it did not see.",
    )
    page.points([*tables.unknown(outside), *staying(run.recipe, Collection(films)).values()])
    _validated(
        page,
        outside,
        "Outside, at the thresholds that validation films of the places inside gave: what is left of each "
        "demand where the model has never been.",
    )


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


def _operating_points(page: Page, diseases: tables.Diseases) -> None:
    page.subsection("Operating points")
    page.text(
        "A threshold turns scores into calls. Chosen on the very films that it is measured on, the best one "
        "flatters; a threshold that validation films gave is what a user would have had."
    )
    shares = ", ".join(
        f"{disease} {percent(one.prevalence, 1)}"
        for disease, one in diseases.items()
        if one.prevalence is not None
    )
    stated = (
        f" PPV and NPV are for a prevalence of {shares}, the others tested being normal."
        if shares
        else ""
    )
    caption = "At the ROC curve's own thresholds, chosen on these films."
    _table(page, tables.own_points_text(diseases), caption)
    if stated:
        _table(page, tables.points_text(diseases, OWN), f"The same thresholds.{stated}")
    _validated(page, diseases, f"At the thresholds that the validation films gave.{stated}")


def _validated(page: Page, diseases: tables.Diseases, caption: str) -> None:
    """Add what thresholds of validation films give, if there are any, and WHO's target."""
    found = [point for _, _, one in tables.places(diseases) for point in one.points]
    if found and not any(point.chosen_on == VALIDATED for point in found):
        page.text("There were no validation films of both kinds to choose thresholds by.")
    _table(page, tables.points_text(diseases, VALIDATED), caption)
    alone = "The same thresholds at sources of one class."
    _table(page, tables.one_sided_text(diseases), alone)
    _table(
        page,
        tables.who_text(diseases),
        "WHO's minimal target for a triage test of tuberculosis (2014): a sensitivity of at least "
        "90\u00a0% at a specificity of at least 70\u00a0%. These films' own threshold is the best one "
        "with that specificity; of the validation films it is the one that found 90\u00a0% there.",
    )


def _curves(name: str, disease: Disease, predictions: pd.DataFrame) -> list[Plot]:
    """Plot ROC and precision-recall of a disease, over all films and within sources that hold both."""
    films = predictions[predictions["label"].isin([NORMAL, name])]
    held = [source for source, one in disease.within.items() if not one.unknown]
    held = sorted(held, key=lambda source: -disease.within[source].films)[: len(HUES)]
    lines: list[tuple[str, pd.DataFrame, dict[str, Any]]] = [("all films", films, {"color": INK})]
    for place, source in enumerate(held):
        line = {"color": HUES[place], "linestyle": DASHES[place % len(DASHES)]}
        lines.append((source, films[films["source"].astype(str) == source], line))
    found = [disease.whole, *(disease.within[source] for source in held)]
    with figure(5.0, 4.4) as (roc, (axes,)):
        square(axes, "chance")
        for (where, part, line), one in zip(lines, found, strict=True):
            wrongly, rightly = roc_curve(
                part["label"].eq(name).to_numpy(bool), disease_score(part, name)
            )
            axes.plot(wrongly, rightly, label=f"{where}, AUC {show(one.auc.value)}", **line)
        axes.set(xlabel="1 − specificity (normal films called so)", ylabel="sensitivity (found)")
        axes.set_title(f"ROC, {name} against normal")
        axes.legend(loc="lower right")
    with figure(5.0, 4.4) as (precision, (axes,)):
        square(axes)
        for (where, part, line), one in zip(lines, found, strict=True):
            label = f"{where}, average {show(one.average_precision.value)}"
            _draw_precision(axes, part, name, line | {"label": label})
        axes.set(xlabel="sensitivity (found)", ylabel="precision (of those called so)")
        axes.set_title(f"Precision and recall, {name} against normal")
        axes.legend(loc="lower left")
    said = "; ".join(
        f"{place} {estimate(one.auc.value, one.auc.interval)}"
        for (place, *_), one in zip(lines, found, strict=True)
    )
    return [
        Plot(
            roc,
            f"ROC curves of {name} against normal. AUC: {said}.",
            f"ROC curves of {name} against normal films, over all thresholds.",
        ),
        Plot(
            precision,
            f"Precision-recall curves of {name} against normal; average precision "
            f"over all films {show(disease.whole.average_precision.value)}.",
            f"Precision and recall of {name} against normal films. Precision holds for the share of the "
            "disease among these films alone.",
        ),
    ]


def _draw_precision(axes: Axes, films: pd.DataFrame, name: str, line: dict[str, Any]) -> None:
    positive = films["label"].eq(name).to_numpy(bool)
    curve = steps(np.ones((1, len(films))), positive, disease_score(films, name))
    hits, alarms = curve.hits[0, 1:], curve.alarms[0, 1:]
    axes.step(hits / positive.sum(), hits / (hits + alarms), where="post", **line)


_COLUMNS = {
    "answered": "answered",
    "error of these": "error",
    "error if all": "forced_error",
    "ratio": "ratio",
    "doubt": "doubt",
    "probability": "likelihood",
}
"""Columns of the table of places, and the figures of `Abstention` that stand in them."""


def abstention_section(page: Page, tested: Metrics, outside: Metrics | None = None) -> None:
    """Say what is answered, how often that is wrong, and what is referred; nothing where nothing abstains.

    Parameters
    ----------
    page
        Gets a section.
    tested, outside
        Metrics of the films that the page is about, and of those of places that training never saw.
    """
    left = tested.abstention
    if left is None:
        return
    page.section("When it does not know", "unsure")
    page.text(_in_words(left))
    page.table(
        pd.DataFrame(
            {
                "disease": name,
                "films": of.films,
                "every film answered": of.forced,
                "unsure as a miss": of.as_miss,
                "unsure as a referral": of.as_referral,
            }
            for name, of in left.diseases.items()
        ),
        "Sensitivity: the share of a disease's films that is called so, where every film is answered, where "
        "an unsure film counts as missed, and where it counts as found since somebody looks at it.",
        dict.fromkeys(("every film answered", "unsure as a miss", "unsure as a referral"), _show),
    )
    rows = [("all", left)]
    for metrics, where in ((tested, ""), (outside, " (never seen)")):
        for name, of in metrics.by_source.items() if metrics else ():
            if of.abstention:
                rows.append((f"{name}{where}", of.abstention))
    page.table(
        pd.DataFrame(
            {"films from": name, "films": of.films}
            | {column: getattr(of, figure) for column, figure in _COLUMNS.items()}
            for name, of in rows
        ),
        "Where it abstains: share answered, error among those and if every film were answered, and the first "
        "over the second. The last two columns are areas under the ROC curve by which errors are told from "
        "the rest, by the column doubt and by the highest probability; 0.5 is chance.",
        dict.fromkeys(_COLUMNS, _show),
    )
    page.figures(
        [
            Plot(
                coverage_curve(left),
                f"Error against the share answered: {left.curve[0][1]:.2f} of the "
                f"{percent(left.curve[0][0])} least doubtful films are wrong, "
                f"{left.curve[-1][1]:.2f} of all.",
                "Error against coverage: how often it is wrong where only the least doubtful are answered.",
            )
        ]
    )


def coverage_curve(left: Abstention) -> Figure:
    """Plot the error among the least doubtful films against their share of all."""
    with figure(5.0, 3.6) as (drawing, (axes,)):
        shares, errors = zip(*left.curve, strict=True)
        axes.plot(shares, errors, color=HUES[0], marker="o", label="least doubtful films")
        if left.answered.value is not None and left.error.value is not None:
            axes.axvline(left.answered.value, color=REFERENCE, linewidth=1, linestyle=":")
            axes.plot(
                [left.answered.value],
                [left.error.value],
                color=HUES[1],
                marker="s",
                linestyle="",
                label="as it answers",
            )
        axes.set(xlabel="share of the films answered", ylabel="wrong among them", ylim=(0, None))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        axes.set_title("Error against coverage")
        axes.legend(loc="upper left")
    return drawing


def _in_words(left: Abstention) -> str:
    answered = left.answered.value or 0.0
    text = f"{percent(answered, 1)} of {left.films:,} films are answered, the rest is left unsure"
    if left.by_reason:
        told = [
            f"{count:,} {name or 'for no reason told'}" for name, count in left.by_reason.items()
        ]
        text += f": {listed(told)}"
    classes = [f"{percent(share)} of {name}" for name, share in left.by_class.items()]
    text += f". Answered are {listed(classes)} films. "
    return text + (
        "Every other figure on this page names a class for unsure films, too: the one that would have been "
        "named."
    )


def _show(found: Estimate) -> str:
    return estimate(found.value, found.interval)


INTENDED = (
    "Research on reading frontal chest radiographs; figures beside a person who reads the film, never "
    "instead of one."
)
OUT_OF_SCOPE = (
    "Diagnosis, or leaving a film unread by a person; lateral films, other parts of the body, CT; other "
    "diseases than {classes}, to which it has no answer; patients younger than {youngest}; pictures of "
    "films taken by phone."
)
BLANK = "not reported"


def told(card: ModelCard) -> dict[str, str]:
    """Say in words all that a card holds, and what every model of cxrlens has in common.

    Returns
    -------
    dict of str to str
        By what it is about, the names by which ``checklists.json`` of this room asks; empty where nothing is
        known.
    """
    tested = card.tested
    figures = {one.name: figure_text(one) for one in tested.figures} if tested else {}
    score = f"macro AUC {figures['Macro AUC']}" if "Macro AUC" in figures else ""
    of_sources = {name: of.model_dump() for name, of in card.sources.items()}
    views = [f"{one.label}: {one.views}" for one in card.trained_on if one.views]

    def lines(found: Iterable[str]) -> str:
        return "; ".join(found)

    def named(found: Iterable[CardFigure]) -> str:
        return lines(f"{one.name}: {figure_text(one)}" for one in found)

    def each(what: str) -> str:
        words = {name: of[what] or BLANK for name, of in of_sources.items()}
        some = any(of[what] for of in of_sources.values())
        return lines(f"{name}: {said}" for name, said in words.items()) if some else ""

    outside = lines(map(place_text, card.outside))
    inside = lines(filter(None, [score, *map(place_text, card.inside)]))
    youngest = lines(
        f"{age:.0f} year{'s' * (age != 1)} for {name}" for name, age in card.youngest_of.items()
    )
    return {
        "summary": lines(filter(None, [card.about, f"inside: {score}" if score else ""])),
        "model": f"{card.name}, digest {card.digest}: {card.recipe}, deep learning on {card.backbone}",
        "input": f"one frontal chest radiograph, {card.side} pixels square, and nothing else",
        "output": f"{listed(card.classes)}, or unsure with a reason; for each disease a score, 0 to 100",
        "poor_input": "a film that is no frontal chest, spoilt, or unlike those learnt from is left unsure",
        "intended": INTENDED,
        "out_of_scope": OUT_OF_SCOPE.format(
            classes=listed(card.classes[1:]), youngest=youngest or "those it learnt from"
        ),
        "inside": inside,
        "outside": outside,
        "accuracy": named(tested.figures if tested else ()),
        "shortcut": named(card.shortcut),
        "calibration": named(card.calibration),
        "abstention": named(card.abstention),
        "lungs": named(card.lungs),
        "population": card.population,
        "youngest": youngest,
        "sources": each("who"),
        "terms": each("terms"),
        "reference": each("reference"),
        "numbers": lines(f"{one.label}: {one.films:,} films of training" for one in card.trained_on),
        "parts": card.parts,
        "views": lines(views),
        "processing": f"quality chain {card.quality} ({card.chain})" if card.chain else "",
        "weights": card.weights,
        "recipe": card.about,
        "limits": " ".join([*([] if card.outside else [NO_OUTSIDE]), *card.warnings]),
        "measures": "AUC, sensitivity, specificity, precision, F1, calibration, error by the share "
        "answered; a disease against normal in each source",
        "uncertainty": "95 % intervals by bootstrap over patients" if tested else "",
        "retrospective": "retrospective",
        "site": "cxrlens calibrate fits thresholds and probabilities to a place",
        "software": f"cxrlens {card.cxrlens}, Apache-2.0; the weights have terms of their own",
    }  # fmt: skip


def checklist(card: ModelCard) -> dict[str, list[tuple[str, str, str]]]:
    """Answer CLAIM's (Tejani 2024) and TRIPOD+AI's (Collins 2024) items by a card.

    Returns
    -------
    dict of str to list of tuple of str
        By the list's name: number, what is asked, the answer or `BLANK`.
    """
    words = told(card)
    text = files("cxrlens.reports").joinpath("checklists.json").read_text("utf-8")
    return {
        name: [
            (number, asked, "; ".join(filter(None, map(words.get, about.split()))) or BLANK)
            for number, asked, about in items
        ]
        for name, items in json.loads(text).items()
    }


SECTIONS = {
    "Model details": ("model", "input", "output", "weights", "recipe", "processing", "software"),
    "Uses": ("intended", "out_of_scope"),
    "Bias, risks and limitations": ("limits", "shortcut", "lungs", "youngest"),
    "Training data": ("population", "numbers", "sources", "terms", "reference", "views", "parts"),
    "Evaluation": (
        "outside",
        "inside",
        "accuracy",
        "calibration",
        "abstention",
        "uncertainty",
        "site",
    ),
}
"""Parts of a trust card, named as model cards on the Hugging Face hub are."""


def _by_section(card: ModelCard) -> dict[str, dict[str, str]]:
    words = told(card)
    return {
        heading: {about.replace("_", " ").capitalize(): words[about] or BLANK for about in of}
        for heading, of in SECTIONS.items()
    }


def card_page(card: ModelCard) -> Page:
    """Make a trust card's page; what nobody knows is named as a blank."""
    page = Page(f"{card.name}: trust card", card.notice, population=card.population)
    if not card.outside:
        page.alarm(NO_OUTSIDE)
    page.section("In short", "in-short")
    best = card.tested.figures[:3] if card.tested else []
    outside = [
        Tile(f"Outside: {of.disease} at {of.place}, AUC", show(of.auc), _span(of))
        for of in card.outside
    ]
    page.tiles([*outside, *(Tile(f"Inside: {of.name}", show(of.value), _span(of)) for of in best)])
    for heading, facts in _by_section(card).items():
        page.section(heading)
        page.facts(facts)
    for name, items in checklist(card).items():
        page.section(name)
        page.table(
            pd.DataFrame(items, columns=["item", "asks for", "answer"]), f"What {name} asks for."
        )
    return page


def _span(of: CardFigure | Place) -> str:
    span = [] if of.low is None or of.high is None else [f"{of.low:.3f} to {of.high:.3f}"]
    return "; ".join([*span, *([of.network] if isinstance(of, Place) and of.network else [])])


def card_markdown(card: ModelCard) -> str:
    """Write a trust card as a model card of the Hugging Face hub: YAML, then sections."""
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": of.place, "name": f"{of.place}, {where}", "split": where},
            "metrics": [
                {"type": "roc_auc", "value": round(of.auc, 4), "name": f"{of.disease} AUC"}
            ],
        }
        for where, places in (("outside", card.outside), ("inside", card.inside))
        for of in places
    ]
    head: dict[str, Any] = {
        "license": "other",
        "license_name": "weights-have-terms-of-their-own",
        "library_name": "cxrlens",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "radiology", "chest-x-ray", "research-only"],
        "metrics": ["roc_auc"],
    }
    head |= {"model-index": [{"name": card.name, "results": results}]} if results else {}
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "---", ""]
    lines += [f"# {card.name}", "", card.notice, ""]
    lines += [] if card.outside else [f"> **{NO_OUTSIDE}**", ""]
    for heading, facts in _by_section(card).items():
        lines += [
            f"## {heading}",
            "",
            *(f"- **{name}**: {said}" for name, said in facts.items()),
            "",
        ]
    lines += [
        "## How to get started",
        "",
        "```sh",
        f"cxrlens predict FILM --model {card.name}",
        "```",
        "",
    ]
    for name, items in checklist(card).items():
        lines += [
            f"## {name}",
            "",
            *(f"{number}. {asks}: {said}" for number, asks, said in items),
            "",
        ]
    return "\n".join(lines)


def write_card_as(card: ModelCard, path: Path, force: bool = False) -> Path:
    """Write a trust card as its file's name ends: ``.html``, ``.json``, or ``.md`` for a model hub.

    Raises
    ------
    CxrlensError
        If it ends otherwise.
    OutputError
        If the file exists and `force` is not set, or it cannot be written.
    """
    if path.suffix not in (".html", ".json", ".md"):
        raise CxrlensError(f"{path} must end in .html, .json or .md: these are a card's forms")
    refuse_existing(path, force)
    if path.suffix == ".html":
        return card_page(card).write(path, force)
    if path.suffix == ".json":
        write_card(card, path)
    else:
        write_text(path, card_markdown(card))
    return path
