"""A trust card as a page, as Markdown for a model hub, and as answers to the items of CLAIM and TRIPOD+AI."""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cxrlens.errors import CxrlensError
from cxrlens.evaluation.card import (
    NO_OUTSIDE,
    Figure,
    ModelCard,
    figure_text,
    place_text,
    write_card,
)
from cxrlens.evaluation.tables import listed
from cxrlens.files import refuse_existing, write_text
from cxrlens.reports.page import Page, Tile

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

    def named(found: Iterable[Figure]) -> str:
        return lines(f"{one.name}: {figure_text(one)}" for one in found)

    def each(what: str) -> str:
        words = {name: of[what] or BLANK for name, of in of_sources.items()}
        some = any(of[what] for of in of_sources.values())
        return lines(f"{name}: {said}" for name, said in words.items()) if some else ""

    outside = lines(map(place_text, card.outside))
    inside = lines(filter(None, [score, *map(place_text, card.inside)]))
    youngest = (
        f"{card.youngest:.0f} year{'s' * (card.youngest != 1)}"
        if card.youngest is not None
        else "an age that is not known"
    )
    return {
        "summary": lines(filter(None, [card.about, f"inside: {score}" if score else ""])),
        "model": f"{card.name}, digest {card.digest}: {card.recipe}, deep learning on {card.backbone}",
        "input": f"one frontal chest radiograph, {card.side} pixels square, and nothing else",
        "output": f"{listed(card.classes)}, or unsure with a reason; for each disease a score, 0 to 100",
        "intended": INTENDED,
        "out_of_scope": OUT_OF_SCOPE.format(classes=listed(card.classes[1:]), youngest=youngest),
        "inside": inside,
        "outside": outside,
        "accuracy": named(tested.figures if tested else ()),
        "shortcut": named(card.shortcut),
        "calibration": named(card.calibration),
        "abstention": named(card.abstention),
        "lungs": named(card.lungs),
        "population": card.population,
        "youngest": youngest if card.youngest is not None else "",
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
        "measures": "AUC, sensitivity, specificity, precision, F1; a disease against normal in each source",
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
        name: [(number, asked, words.get(about) or BLANK) for number, asked, about in items]
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
    tiles = [
        Tile(f"Outside: {of.disease} at {of.place}, AUC", figure_text(of), of.network)
        for of in card.outside
    ]
    page.tiles(tiles + [Tile(f"Inside: {of.name}", figure_text(of)) for of in best])
    for heading, facts in _by_section(card).items():
        page.section(heading)
        page.facts(facts)
    for name, items in checklist(card).items():
        page.section(name)
        page.table(
            pd.DataFrame(items, columns=["item", "asks for", "answer"]), f"What {name} asks for."
        )
    return page


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
