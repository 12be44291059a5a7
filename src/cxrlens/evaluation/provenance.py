"""Where a run comes from: the sections of its report on films, training, recipe and versions."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxrlens.evaluation import population
from cxrlens.evaluation.curves import learning_curve
from cxrlens.evaluation.wording import listed
from cxrlens.pages.page import Page, Plot
from cxrlens.runs.run import Run

SHOWN_SKIPPED = 8
"""How many of the films that could not be read are named."""


def collection_section(page: Page, run: Run, films: pd.DataFrame) -> None:
    """Add who was trained on: counts by class, split and source, with ages, sexes and views."""
    page.section("Who and what it was trained on", "collection")
    _skipped(page, run)
    if "label" in films:
        page.table(
            population.by_class(films, run.classes),
            "All films of the run by class.",
            note="Age: median (5th to 95th percentile) in years, and for how many films it is known. "
            "Female: of the films whose sex is known."
            if {"age", "sex"} & set(films.columns)
            else "",
        )
        for column in ("split", "source"):
            if column in films and films[column].notna().any():
                page.table(
                    population.counts(films, column, run.classes), f"Films by {column} and class."
                )


def _skipped(page: Page, run: Run) -> None:
    skipped = run.skipped()
    if not skipped:
        return
    page.warning(
        f"{len(skipped):,} of the films below could not be read: they were neither learnt from "
        "nor tested."
    )
    shown = ["/".join(Path(image).parts[-2:]) for image in list(skipped)[:SHOWN_SKIPPED]]
    more = len(skipped) - len(shown)
    page.text(f"They are {listed([*shown, f'{more:,} more'] if more else shown)}.")


def training_section(page: Page, run: Run) -> None:
    """Add how training went: epochs, time, curves."""
    page.section("How training went", "training")
    history = run.history()
    if history.empty:
        page.text("The run keeps no history of its epochs.")
        return
    best = int(history["epoch"].to_numpy()[history["validation_accuracy"].argmax()])
    last = history.iloc[-1]
    page.facts(
        {
            "Epochs": len(history),
            "Weights kept of epoch": best,
            "Best validation accuracy": float(history["validation_accuracy"].max()),
            "Time": _duration(float(history["seconds"].sum())),
        }
    )
    page.figures(
        [
            Plot(
                learning_curve(history, quantity, best),
                f"{quantity.capitalize()} over {len(history)} epochs; at the end "
                f"{last[f'train_{quantity}']:.3f} in training and "
                f"{last[f'validation_{quantity}']:.3f} in validation.",
                f"{quantity.capitalize()} of training and validation by epoch.",
            )
            for quantity in ("loss", "accuracy")
        ]
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def recipe_section(page: Page, run: Run) -> None:
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
