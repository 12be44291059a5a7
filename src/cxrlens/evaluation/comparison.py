"""Runs and tables of scores beside each other: how good each is, and which differences are chance."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.errors import CollectionError, RunError
from cxrlens.evaluation.assess import assess, assess_scores
from cxrlens.evaluation.measured import NORMAL, Disease, Metrics
from cxrlens.evaluation.metrics import measure
from cxrlens.evaluation.paired import Pair, pair
from cxrlens.evaluation.scores import Scores, read_scores, refuse_repeated
from cxrlens.evaluation.tables import adjusted, bounds, separations, separations_text
from cxrlens.runs.run import Run

LISTED = 6
"""Pairs with other test films that are named in a sentence; the rest are counted."""

OURS, STUDY = "ours", "report"
"""Whose test films a row was measured on: ours, or those of the 2023 study."""

OVERALL = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_auc")
PER_CLASS = ("precision", "recall", "f1", "auc")


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
        Whether to show the numbers of the 2023 study, too.
    resamples, seed
        How intervals and p were drawn.
    """

    entries: Sequence["Entry"]
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
        """Return in sentences what forbids reading the table as a ranking; empty if nothing does."""
        said = [CAUTION] if self.published else []
        said += _apart(self.pairs)
        chosen_by = {
            entry.validation_films for entry in self.entries if entry.validation_f1 is not None
        }
        if len(chosen_by) > 1:
            said.append(
                "The runs were not validated on the same films: the best validation macro F1 is "
                "no choice between like and like."
            )
        return said


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

    def by_film(self) -> pd.DataFrame:
        """Return the predictions, a film known by its real path."""
        return self.predictions.set_index("image", drop=False)

    @property
    def trained(self) -> dict[str, pd.DataFrame]:
        """Those of `courses` that have epochs."""
        return {name: course for name, course in self.courses.items() if len(course)}

    def made(self) -> dict[str, Any]:
        """Return how the run was made, as one row of a table."""
        recipe, versions = self.run.recipe, self._versions()
        courses = list(self.trained.values())
        best = [self.run.kept(course) for course in courses]
        epochs = [len(course) for course in courses]
        seconds = sum(float(course["seconds"].sum()) for course in courses)
        seconds += float(versions.get("seconds") or 0)
        precision = versions.get("precision")
        return {
            "run": self.name,
            "recipe": recipe.name,
            "backbone": recipe.backbone,
            "weights": versions.get("weights", "not known"),
            "side": recipe.side,
            "chain": recipe.quality,
            "members": len(self.courses) if len(self.courses) > 1 else None,
            "epochs": "–".join(dict.fromkeys(map(str, (min(epochs), max(epochs)))))
            if epochs
            else None,
            "train_accuracy": _mean(row["train_accuracy"] for row in best),
            "validation_accuracy": _mean(row["validation_accuracy"] for row in best),
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


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None


def compare(
    paths: Sequence[str | Path], *, published: bool = False, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Measure runs on their test films, and pair by pair on the films that they share.

    Parameters
    ----------
    paths
        Run folders.
    published
        Show the numbers of the 2023 study beside them.
    resamples, seed
        See `cxrlens.evaluation.intervals.bootstrap`.

    Raises
    ------
    RunError
        If a folder is no run, a run is not finished, two have one name, or their classes differ.
    CollectionError
        If predictions cannot be measured.
    """
    entries = read_entries([Path(path) for path in paths], resamples, seed)
    pairs = [
        pair(
            (first.name, second.name),
            (first.by_film(), second.by_film()),
            first.run.classes,
            resamples,
            seed,
        )
        for first, second in combinations(entries, 2)
    ]
    validated = [entry for entry in entries if entry.validation_f1 is not None]
    best = max(validated, key=lambda entry: entry.validation_f1 or 0.0, default=None)
    return Comparison(entries, pairs, best.name if best else None, published, resamples, seed)


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
    predictions["image"] = predictions["image"].map(os.path.realpath)
    refuse_repeated(predictions["image"], str(path / "predictions-test.csv"))
    test = assess(predictions, run.classes, resamples, seed)
    return Entry(name, run, predictions, test, *_validation(run), courses=_courses(run))


def _validation(run: Run) -> tuple[float | None, str, frozenset[str]]:
    if (run.path / "predictions-validation.csv").is_file():
        predictions = run.predictions("validation")
        note = "each film by the member that held it out" if run.recipe.folds else ""
        films = frozenset(predictions["image"].map(os.path.realpath))
        return measure(predictions, run.classes).macro_f1, note, films
    members = run.members().values()
    values = [_validation(member)[0] for member in members if member.classes == run.classes]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(members):
        return None, "", frozenset()
    return _mean(known), f"mean of {len(known)} members", frozenset()


def _courses(run: Run, prefix: str = "") -> dict[str, pd.DataFrame]:
    members = run.members()
    if not members:
        return {prefix: run.history()}
    courses: dict[str, pd.DataFrame] = {}
    for name, member in members.items():
        courses |= _courses(member, f"{prefix}/{name}" if prefix else name)
    return courses


def _apart(pairs: Sequence[Pair]) -> list[str]:
    """Return the sentence about pairs that do not hold the same films, if there are any."""
    apart = [one for one in pairs if not one.whole]
    if not apart:
        return []
    said = []
    for one in apart[:LISTED]:
        shares = f"share {one.common:,} test films"
        if not one.common:
            shares = "have no test film in common and are not paired"
        if one.relabelled:
            shares += f" ({one.relabelled:,} more have different labels and were left out)"
        said.append(f"{one.first} and {one.second} {shares}")
    if len(apart) > LISTED:
        said.append(f"and {len(apart) - LISTED} more pairs, see pairs.csv")
    return [
        "The test films differ, so that figures over all films cannot be ranked; pairs are tested "
        f"on the films that both were tested on: {'; '.join(said)}."
    ]


def overall(comparison: Comparison) -> pd.DataFrame:
    """Tabulate macro averages, as in the study's Table 1: a run a row, then what was published.

    Returns
    -------
    DataFrame
        ``run``, ``films`` (whose test films), ``test_films``, ``patients``, each of `OVERALL` with
        ``_low`` and ``_high``, ``validation_macro_f1``, ``validation_note``, ``chosen``.
    """
    rows = [
        {"run": entry.name, "films": OURS}
        | {"test_films": entry.test.films, "patients": entry.test.patients}
        | _figures(entry.test, OVERALL)
        | {"validation_macro_f1": entry.validation_f1, "validation_note": entry.validation_note}
        | {"chosen": entry.name == comparison.chosen}
        for entry in comparison.entries
    ]
    if comparison.published:
        films = {"films": STUDY, "chosen": False}
        for row in published("overall").to_dict("records"):
            shares = {f"macro_{name}": row[name] for name in ("precision", "recall", "f1")}
            shares |= {"accuracy": row["accuracy"], "test_films": sum(TEST_FILMS.values())}
            rows.append({"run": row["system"]} | films | shares)
        for row in published("second_group").to_dict("records"):
            rows.append({"run": row["system"] + SECOND, "accuracy": row["accuracy"]} | films)
    return _whole(pd.DataFrame(rows), "test_films", "patients")


def per_class(comparison: Comparison) -> pd.DataFrame:
    """Tabulate each class against the rest, as in the study's Table 2.

    Returns
    -------
    DataFrame
        ``run``, ``films``, ``class``, ``test_films``, each of `PER_CLASS` with bounds.
    """
    rows = [
        {"run": entry.name, "films": OURS, "class": name}
        | {"test_films": entry.test.by_class[name].films}
        | _figures(entry.test, PER_CLASS, f"{name}.")
        for entry in comparison.entries
        for name in comparison.classes
    ]
    if comparison.published:
        for row in published("per_class").to_dict("records"):
            shares = {name: row[name] for name in ("class", "precision", "recall", "f1")}
            films = {"films": STUDY, "test_films": TEST_FILMS[row["class"]]}
            rows.append({"run": row["system"]} | films | shares)
        for row in published("second_group").to_dict("records"):
            for name in TEST_FILMS:
                films = {"run": row["system"] + SECOND, "films": STUDY, "class": name}
                rows.append(films | {"f1": row[f"{name}_f1"]})
    return _whole(pd.DataFrame(rows), "test_films")


def made(comparison: Comparison) -> pd.DataFrame:
    """Tabulate how each run was made: see `Entry.made`."""
    rows = [entry.made() | {"films": OURS} for entry in comparison.entries]
    if comparison.published:
        for row in published("training").to_dict("records"):
            member = "" if pd.isna(row["member"]) else f" ({row['member']})"
            shares = {n: row[n] for n in ("epochs", "train_accuracy", "validation_accuracy")}
            rows.append({"run": f"{row['system']}{member}", "films": STUDY} | shares)
    return _whole(pd.DataFrame(rows), "side", "members")


def pairs(comparison: Comparison) -> pd.DataFrame:
    """Tabulate the paired tests, every two runs a row; pairs without a common film have no values.

    ``p_holm`` and ``mcnemar_mid_holm`` are adjusted for all of them.
    """
    counts = ["patients", "only_first_right", "only_second_right"]
    rows = []
    for one in comparison.pairs:
        row: dict[str, Any] = {"first": one.first, "second": one.second, "common_films": one.common}
        row |= {"same_test_films": one.whole, "different_labels": one.relabelled}
        found = one.result
        test = found.mcnemar if found else None
        row |= dict.fromkeys(counts)
        if found and test:
            row |= zip(counts, (found.patients, test.first, test.second), strict=True)
        row |= {
            "mcnemar_exact": test.exact if test else None,
            "mcnemar_mid": test.mid if test else None,
            "mcnemar_mid_holm": None,
            **bounds("macro_f1_difference", found.macro_f1 if found else None),
            "p": found.macro_f1.p if found else None,
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    holm = {"mcnemar_mid_holm": adjusted(table["mcnemar_mid"]), "p_holm": adjusted(table["p"])}
    return _whole(table.assign(**holm), *counts)


def sources(comparison: Comparison) -> pd.DataFrame:
    """Tabulate errors by source: ``run``, ``source``, ``films``, ``wrong``, accuracy, macro F1.

    Macro F1 is given for sources with two classes or more. Empty where no run knows of two sources.
    """
    rows = []
    for entry in comparison.entries:
        for source, one in entry.test.by_source.items():
            classes = sum(part.films > 0 for part in one.by_class.values())
            wrong = one.films - sum(row[i] for i, row in enumerate(one.confusion))
            rows.append(
                {"run": entry.name, "source": source, "films": one.films}
                | {"classes": classes, "wrong": wrong}
                | _figures(one, ("accuracy", "macro_f1") if classes > 1 else ("accuracy",))
            )
    return pd.DataFrame(rows)


def _figures(metrics: Metrics, names: Sequence[str], of: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in names:
        row |= bounds(name, metrics.estimate(f"{of}{name}"))
    return row


def _whole(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Keep counts whole numbers where some are missing."""
    return table.astype({name: "Int64" for name in columns if name in table})


@dataclass(frozen=True)
class Scored:
    """Tables beside each other: what each is worth, and pair by pair on the same films."""

    scores: Mapping[str, Scores]
    diseases: Mapping[str, Mapping[str, Disease]]
    pairs: Sequence[Pair]

    def cautions(self) -> list[str]:
        """Return what forbids reading the tables as a ranking; empty if nothing does."""
        return _apart(self.pairs)

    def each(self) -> pd.DataFrame:
        """Tabulate each table's own figures; see `cxrlens.evaluation.tables.separations`."""
        parts = [separations(of).assign(table=name) for name, of in self.diseases.items()]
        return pd.concat(parts, ignore_index=True)

    def each_text(self) -> pd.DataFrame:
        """Write each table's own figures for people."""
        parts = {name: separations_text(of) for name, of in self.diseases.items()}
        return pd.concat(parts, names=["table"]).reset_index("table").reset_index(drop=True)


PREDICTIONS = "predictions.csv"
"""What `cxrlens evaluate` writes of other films than a run's own."""


def is_judged(path: Path) -> bool:
    """Whether a path is a folder that `cxrlens evaluate` wrote of other films."""
    return (path / PREDICTIONS).is_file()


def compare_scores(paths: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> Scored:
    """Measure tables of scores, and compare every two of them on the films that both score.

    Parameters
    ----------
    paths
        Tables as `cxrlens.evaluation.scores` reads them; a run folder stands for its test films, a folder
        of `cxrlens evaluate` for its ``predictions.csv``.
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
    for path in map(Path, paths):
        name = path.resolve().name if path.is_dir() else path.stem
        if name in scores:
            raise RunError(f"two of them are called {name}: rename one, or leave one out")
        if path.is_dir() and not is_judged(path):
            Run(path).need_finished()
            scores[name] = read_scores(path / "predictions-test.csv")
        else:
            table = path / PREDICTIONS if path.is_dir() else path
            scores[name] = read_scores(table).parted()[0]
    diseases = {
        name: assess_scores(one, resamples=resamples, seed=seed).diseases
        for name, one in scores.items()
    }
    pairs = []
    for first, second in combinations(scores, 2):
        left, right = scores[first], scores[second]
        classes = [name for name in left.classes if name in right.classes]
        if not set(classes) - {NORMAL}:
            raise CollectionError(f"{left.name} and {right.name} score no disease in common")
        tables = _by_film(left, right)
        pairs.append(pair((first, second), tables, classes, resamples, seed, called=False))
    return Scored(scores, diseases, pairs)


def _by_film(left: Scores, right: Scores) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index two tables by film: the same file, or, where no two are, the same name in both tables."""
    both = (left, right)
    files = [of.table["image"].map(os.path.realpath) for of in both]
    names = [
        of.table["image"].map(lambda image, of=of: os.path.relpath(image, of.folder)) for of in both
    ]
    for keys in (files, names):
        one, other = (of.table.set_index(pd.Index(key)) for of, key in zip(both, keys, strict=True))
        if one.index.isin(other.index).any():
            return one, other
    raise CollectionError(
        f"{left.name} and {right.name} have no film in common: their columns image must name "
        "the same files"
    )


TEST_FILMS = {"normal": 1463, "pneumonia": 660, "tuberculosis": 292}
"""Test films of the 2023 study by class, from the denominators of its recalls (660 or 661)."""

SECOND = " (second group)"
"""Marks the rows of another group, which worked on the study's set."""

CAUTION = (
    "The study's numbers were measured on other films: its set is not public, and its 2,415 or so "
    "test films are not among ours. Rows of ours and rows of the study cannot be ranked "
    "against each other, and no test between them is possible; the order of the systems within "
    "each is what can be set side by side."
)
"""What must stand wherever published and measured numbers meet."""


def published(name: str) -> pd.DataFrame:
    """Read numbers that were published on the set of films of the 2023 study; shares are fractions of 1.

    The study is A. Arneodo, D. Beretta and P. Giaccaglia, "Pneumonia and Tuberculosis recognition from
    human lungs X-Ray images", Politecnico di Milano, January 2023.

    Parameters
    ----------
    name
        ``overall`` is its Table 1 (macro averages), ``per_class`` its Table 2, ``training`` the epochs
        and accuracies of its training chapter; ``second_group`` holds the means of the five folds of
        another group, which worked on the same set.

    Examples
    --------
    >>> published("overall").set_index("system").loc["effnet_svm_voting", "f1"]
    np.float64(0.9662)
    """
    texts = {"system": "string", "member": "string", "epochs": "string"}
    path = files("cxrlens.evaluation").joinpath("published", f"{name}.csv")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={**texts})
