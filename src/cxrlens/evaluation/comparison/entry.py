"""One run as it enters a comparison: its test films measured, its members, how it was made."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.errors import RunError
from cxrlens.evaluation.assess import assess
from cxrlens.evaluation.metrics import Metrics, measure
from cxrlens.runs.run import Run


@dataclass(frozen=True)
class Entry:
    """A finished run.

    Attributes
    ----------
    name
        Its folder's name.
    run
        The folder.
    predictions
        Of its test films; ``image`` is the real path, by which films are known to be the same.
    test
        Their metrics, with intervals and by source.
    validation_f1
        Macro F1 of its validation films, by which systems are chosen; None where it has none.
    validation_note
        How `validation_f1` came about where it is not simply that of the run.
    validation_films
        The real paths of the films behind `validation_f1`; empty if it is a mean over members.
    courses
        The history of each single training in it, an epoch a row, by the member's name (empty for
        the run itself); a history may be empty, for models that are fitted in one go.
    """

    name: str
    run: Run
    predictions: pd.DataFrame
    test: Metrics
    validation_f1: float | None
    validation_note: str
    validation_films: frozenset[str]
    courses: Mapping[str, pd.DataFrame]

    @property
    def trained(self) -> dict[str, pd.DataFrame]:
        """Those of `courses` that have epochs."""
        return {name: course for name, course in self.courses.items() if len(course)}

    def made(self) -> dict[str, Any]:
        """Say how the run was made, as one row of a table."""
        recipe, versions = self.run.recipe, self._versions()
        courses = list(self.trained.values())
        kept = [_kept(course) for course in courses]
        seconds = sum(float(course["seconds"].sum()) for course in courses)
        seconds += float(versions.get("seconds") or 0)
        precision = versions.get("precision")
        return {
            "run": self.name,
            "recipe": recipe.name,
            "backbone": backbone(self.run),
            "weights": versions.get("weights", "not known"),
            "side": recipe.side,
            "chain": recipe.quality,
            "members": len(self.courses) if len(self.courses) > 1 else None,
            "epochs": _span([len(course) for course in courses]),
            "train_accuracy": _mean([row["train_accuracy"] for row in kept]),
            "validation_accuracy": _mean([row["validation_accuracy"] for row in kept]),
            "minutes": seconds / 60 if seconds else None,
            "device": versions.get("device"),
            "precision": precision.get("chosen") if isinstance(precision, Mapping) else precision,
        }

    def _versions(self) -> dict[str, Any]:
        """Read what ran; what a parent does not say itself, its first member says."""
        versions = self.run.versions()
        run = self.run
        while run.members():
            run = next(iter(run.members().values()))
            versions = run.versions() | {k: v for k, v in versions.items() if v is not None}
        return versions


def backbone(run: Run) -> str:
    """Name what really scores the films: the backbone, or the kind of a model without one."""
    return run.recipe.backbone


def read_entries(paths: Sequence[Path], resamples: int = 1000, seed: int = 0) -> list[Entry]:
    """Read and measure finished runs, in the order given.

    Parameters
    ----------
    paths
        Run folders; their names must differ.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`.

    Raises
    ------
    RunError
        If a folder is no run, a run is not finished, two have one name, or their classes differ.
    """
    names = [path.resolve().name for path in paths]
    for name in names:
        same = [str(path) for path, other in zip(paths, names, strict=True) if other == name]
        if len(same) > 1:
            raise RunError(
                f"{' and '.join(same)} have one name, {name}: rename a folder, or leave one out"
            )
    entries: list[Entry] = []
    for path, name in zip(paths, names, strict=True):
        entry = _read(path, name, resamples, seed)
        if entries and entry.run.classes != entries[0].run.classes:
            raise RunError(
                f"{path} tells {', '.join(entry.run.classes)} apart and {entries[0].run.path} "
                f"{', '.join(entries[0].run.classes)}: compare runs of the same classes"
            )
        entries.append(entry)
    return entries


def _read(path: Path, name: str, resamples: int, seed: int) -> Entry:
    run = Run(path)
    if not (path / "predictions-test.csv").is_file():
        raise RunError(
            f"{path} is not finished, it has no predictions of its test films: "
            f"cxrlens train --resume -o {path}"
        )
    predictions = run.predictions("test")
    predictions["image"] = [os.path.realpath(image) for image in predictions["image"]]
    validation, note, films = _validation(run)
    return Entry(
        name=name,
        run=run,
        predictions=predictions,
        test=assess(predictions, run.classes, resamples, seed),
        validation_f1=validation,
        validation_note=note,
        validation_films=films,
        courses=_courses(run),
    )


def _validation(run: Run) -> tuple[float | None, str, frozenset[str]]:
    if (run.path / "predictions-validation.csv").is_file():
        predictions = run.predictions("validation")
        films = frozenset(os.path.realpath(image) for image in predictions["image"])
        note = "each film by the member that held it out" if run.recipe.folds else ""
        return measure(predictions, run.classes).macro_f1, note, films
    members = run.members()
    if not members or any(member.classes != run.classes for member in members.values()):
        return None, "", frozenset()
    values = [_validation(member)[0] for member in members.values()]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, "", frozenset()
    return float(np.mean(known)), f"mean of {len(known)} members", frozenset()


def _courses(run: Run, prefix: str = "") -> dict[str, pd.DataFrame]:
    members = run.members()
    if not members:
        return {prefix: run.history()}
    courses: dict[str, pd.DataFrame] = {}
    for name, member in members.items():
        courses |= _courses(member, f"{prefix}/{name}" if prefix else name)
    return courses


def _kept(course: pd.DataFrame) -> pd.Series:
    """Give the epoch whose weights were kept: the first of the best."""
    return course.iloc[int(course["validation_accuracy"].to_numpy().argmax())]


def _span(counts: Sequence[int]) -> str | None:
    if not counts:
        return None
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}–{high}"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
