"""Runs and tables of scores beside each other: how good each is, and which differences are chance."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.errors import CollectionError, RunError
from cxrlens.evaluation.assess import assess, assess_scores
from cxrlens.evaluation.diseases import NORMAL, Disease
from cxrlens.evaluation.metrics import Metrics, measure
from cxrlens.evaluation.paired import (
    DiseaseDifference,
    Paired,
    compare_diseases,
    compare_paired,
    holm,
)
from cxrlens.evaluation.scores import Scores, read_scores
from cxrlens.evaluation.tables import separations, separations_text
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


LISTED = 6
"""Pairs with other test films that are named in a sentence; the rest are counted."""


@dataclass(frozen=True)
class Pair:
    """Two runs on the films that both were tested on.

    Attributes
    ----------
    first, second
        Names of the runs.
    common
        Films that stand in both test sets with the same label.
    relabelled
        Films that stand in both with different labels; they are left out.
    whole
        Whether both have the same test films and nothing was left out.
    result
        None where no film is common.
    diseases
        Each disease against normal, over all common films and within each source.
    adjusted
        Holm's adjustment, over all pairs of the comparison, of the bootstrap's p and of mid-p.
    """

    first: str
    second: str
    common: int
    relabelled: int
    whole: bool
    result: Paired | None
    diseases: tuple[DiseaseDifference, ...] = ()
    adjusted: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other.

    Attributes
    ----------
    entries
        In the order given.
    pairs
        Every two of them.
    chosen
        Name of the run with the best validation macro F1; None where no run has one.
    published
        Whether to show the report's numbers too.
    resamples, seed
        How intervals and p were drawn.
    """

    entries: Sequence[Entry]
    pairs: Sequence[Pair]
    chosen: str | None
    published: bool
    resamples: int
    seed: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of every run."""
        return self.entries[0].run.classes

    def cautions(self) -> list[str]:
        """Say in sentences what forbids reading the table as a ranking; empty if nothing does."""
        said = []
        apart = [pair for pair in self.pairs if not pair.whole]
        if apart:
            differ = (
                "The test films differ between runs, so that figures over all films cannot be "
                "ranked; pairs are tested on the films that both runs were tested on"
            )
            listed = "; ".join(_apart(pair) for pair in apart[:LISTED])
            more = len(apart) - LISTED
            rest = f"; and {more} more pairs, see pairs.csv" if more > 0 else ""
            said.append(f"{differ}: {listed}{rest}.")
        chosen_by = {
            entry.validation_films for entry in self.entries if entry.validation_f1 is not None
        }
        if len(chosen_by) > 1:
            said.append(
                "The runs were not validated on the same films: the best validation macro F1 is "
                "no choice between like and like."
            )
        return said


def compare(
    paths: Sequence[Path], *, published: bool = False, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Measure runs on their test films, and pair by pair on the films that they share.

    Parameters
    ----------
    paths
        Run folders.
    published
        Show the report's numbers beside them.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`.

    Raises
    ------
    RunError
        If a folder is no run, a run is not finished, two have one name, or their classes differ.
    CollectionError
        If predictions cannot be measured.
    """
    entries = read_entries(paths, resamples, seed)
    pairs = [_pair(first, second, resamples, seed) for first, second in combinations(entries, 2)]
    validated = [entry for entry in entries if entry.validation_f1 is not None]
    best = max(validated, key=lambda entry: entry.validation_f1 or 0.0, default=None)
    return Comparison(
        entries=entries,
        pairs=_adjusted(pairs),
        chosen=best.name if best else None,
        published=published,
        resamples=resamples,
        seed=seed,
    )


def _pair(first: Entry, second: Entry, resamples: int, seed: int) -> Pair:
    tables = [entry.predictions.set_index("image", drop=False) for entry in (first, second)]
    shared = tables[0].index[tables[0].index.isin(tables[1].index)]
    same = tables[0].loc[shared, "label"].eq(tables[1].loc[shared, "label"]).to_numpy()
    common = shared[same]
    result = None
    diseases: list[DiseaseDifference] = []
    if len(common):
        left, right = (table.loc[common].reset_index(drop=True) for table in tables)
        result = compare_paired(left, right, first.run.classes, resamples, seed)
        if NORMAL in first.run.classes:
            diseases = compare_diseases(left, right, first.run.classes, resamples, seed)
    return Pair(
        first=first.name,
        second=second.name,
        common=len(common),
        relabelled=len(shared) - len(common),
        whole=len(common) == len(tables[0]) == len(tables[1]),
        result=result,
        diseases=tuple(diseases),
    )


def _adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    """Give each pair its p, adjusted for the number of pairs."""
    results = [pair.result for pair in pairs if pair.result is not None]
    known = [one.macro_f1.p for one in results if one.macro_f1.p is not None]
    differences = iter(holm(known))
    mids = iter(holm([one.mcnemar.mid for one in results]))
    adjusted = []
    for pair in pairs:
        if pair.result is None:
            adjusted.append(pair)
            continue
        p = next(differences) if pair.result.macro_f1.p is not None else None
        values = {**vars(pair), "adjusted": (p, next(mids))}
        adjusted.append(Pair(**values))
    return adjusted


def _apart(pair: Pair) -> str:
    text = f"{pair.first} and {pair.second} "
    if not pair.common:
        text += "have no test film in common and are not paired"
    else:
        text += f"share {pair.common:,} test films"
    if pair.relabelled:
        text += f" ({pair.relabelled:,} more have different labels and were left out)"
    return text


@dataclass(frozen=True)
class ScoredPair:
    """Two tables on the films that both score.

    Attributes
    ----------
    first, second
        Their names.
    common, relabelled
        Films that both hold with one label, and with two; the latter are left out.
    whole
        Whether both hold the same films and nothing was left out.
    diseases
        Each disease, over all films and within each source.
    """

    first: str
    second: str
    common: int
    relabelled: int
    whole: bool
    diseases: tuple[DiseaseDifference, ...]


@dataclass(frozen=True)
class Scored:
    """Tables beside each other: what each is worth, and pair by pair on the same films."""

    scores: Mapping[str, Scores]
    diseases: Mapping[str, Mapping[str, Disease]]
    pairs: Sequence[ScoredPair]

    def cautions(self) -> list[str]:
        """Say what forbids reading the tables as a ranking; empty if nothing does."""
        said = []
        for pair in self.pairs:
            if not pair.whole:
                more = f" ({pair.relabelled:,} more have two labels)" if pair.relabelled else ""
                said.append(
                    f"{pair.first} and {pair.second} do not score the same films: they are compared on the "
                    f"{pair.common:,} that both score{more}."
                )
        return said

    def each(self) -> pd.DataFrame:
        """Tabulate each table's own figures; see `cxrlens.evaluation.tables.separations`."""
        parts = [separations(of).assign(table=name) for name, of in self.diseases.items()]
        return pd.concat(parts, ignore_index=True)

    def each_text(self) -> pd.DataFrame:
        """Write each table's own figures for people."""
        parts = []
        for name, of in self.diseases.items():
            table = separations_text(of)
            table.insert(0, "table", name)
            parts.append(table)
        return pd.concat(parts, ignore_index=True)


def compare_scores(paths: Sequence[Path], *, resamples: int = 1000, seed: int = 0) -> Scored:
    """Measure tables of scores, and compare every two of them on the films that both score.

    Parameters
    ----------
    paths
        Tables as `cxrlens.evaluation.scores` reads them; a run folder stands for its test films.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`.

    Raises
    ------
    CollectionError
        If a table cannot be measured, or two have no film or no disease in common.
    RunError
        If a folder is no finished run, or two tables have one name.
    """
    scores: dict[str, Scores] = {}
    for path in paths:
        one = _scored_read(path)
        name = path.resolve().name if path.is_dir() else path.stem
        if name in scores:
            raise RunError(f"two of them are called {name}: rename a file, or leave one out")
        scores[name] = one
    diseases = {
        name: assess_scores(one, resamples=resamples, seed=seed).diseases
        for name, one in scores.items()
    }
    pairs = [
        _scored_pair((first, scores[first]), (second, scores[second]), resamples, seed)
        for first, second in combinations(scores, 2)
    ]
    return Scored(scores=scores, diseases=diseases, pairs=pairs)


def _scored_read(path: Path) -> Scores:
    if path.is_dir():
        Run(path).need_finished()
        return read_scores(path / "predictions-test.csv")
    return read_scores(path).parted()[0]


def _scored_pair(
    first: tuple[str, Scores], second: tuple[str, Scores], resamples: int, seed: int
) -> ScoredPair:
    (one, left), (other, right) = first, second
    classes = [name for name in left.classes if name in right.classes]
    if not set(classes) - {NORMAL}:
        raise CollectionError(f"{left.name} and {right.name} score no disease in common")
    for tell in (_place, _name):  # the same file, or else the same name in both tables
        keys = [tell(of) for of in (left, right)]
        shared = keys[0][keys[0].isin(keys[1])]
        if len(shared):
            break
    else:
        raise CollectionError(
            f"{left.name} and {right.name} have no film in common: their columns image must name "
            "the same files"
        )
    films = [
        of.table.set_index(pd.Index(key)).loc[shared.to_numpy()]
        for of, key in zip((left, right), keys, strict=True)
    ]
    same = films[0]["label"].eq(films[1]["label"]).to_numpy(bool)
    tables = [of[same].reset_index(drop=True) for of in films]
    for column in ("patient", "source"):
        if column not in tables[0] and column in tables[1]:
            tables[0] = tables[0].assign(**{column: tables[1][column]})
    common = int(same.sum())
    return ScoredPair(
        first=one,
        second=other,
        common=common,
        relabelled=len(shared) - common,
        whole=common == len(left.table) == len(right.table),
        diseases=tuple(compare_diseases(tables[0], tables[1], classes, resamples, seed)),
    )


def _place(scores: Scores) -> pd.Series:
    return scores.table["image"].map(os.path.realpath)


def _name(scores: Scores) -> pd.Series:
    return scores.table["image"].map(lambda image: os.path.relpath(image, scores.folder))
