"""A table of scores of anybody's model: what it must hold, and what is left out where it holds less.

It comes as CSV or Parquet: ``image``, ``label``, and a column of scores for one class or more, named
``normal``, ``pneumonia``, ``tuberculosis``; ``predicted``, ``patient``, ``source``, ``view``, ``age``,
``sex`` and ``split`` are used where they are, others are carried along. Names of columns count without
regard to case or spaces round them.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.collections.collection import LABELS, SPLITS
from cxrlens.collections.tables import folded, meant_by, nearly, read_text_table
from cxrlens.errors import CollectionError
from cxrlens.evaluation.measured import NORMAL
from cxrlens.evaluation.metrics import TOLERANCE
from cxrlens.prediction.trust import UNSURE
from cxrlens.radiographs.integrity import OLDEST

_WORDS = ("predicted", "patient", "source", "view", "sex", "split")
_SHORT = {"training": "train", "valid": "validation", "val": "validation", "testing": "test"}
"""Words for splits that many tables use; any other that is none of ours is refused, as in a collection."""

_KNOWN = ("image", "label", *LABELS, *_WORDS, "age")


@dataclass(frozen=True)
class Scores:
    """A table of scores that can be measured.

    Attributes
    ----------
    name
        Names it in messages and on pages: its path.
    table
        A film a row: ``image``, ``label``, a float column for each of `classes`, what else it had. With
        all classes also ``predicted``, and rows that sum to 1.
    classes
        Those of `LABELS` that have scores, in their order.
    notes
        What was made of the table and what can therefore not be said, a sentence each.
    folder
        What the table's images were relative to; in `table` they are absolute. They need not exist.
    """

    name: str
    table: pd.DataFrame
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def whole(self) -> bool:
        """Whether every class has a score, so that films can be called something."""
        return self.classes == LABELS

    def parted(self) -> "tuple[Scores, Scores | None]":
        """Part the films that are to be measured from those that choose thresholds.

        Returns
        -------
        tuple of Scores
            Without a column ``split`` the table itself and None; with it the films that neither trained
            nor chose anything, and those of the split ``validation``, if there are any.

        Raises
        ------
        CollectionError
            If no film is left to be measured, or a split is none of `SPLITS`.
        """
        if "split" not in self.table or self.table["split"].isna().all():
            return self, None
        split = self.table["split"].map(folded, na_action="ignore").replace(_SHORT)
        _refuse_unknown(self.table.assign(split=split), "split", self.name, SPLITS)
        learnt, chose = split.eq("train"), split.eq("validation")
        measured = self.table[~(learnt | chose).fillna(False).astype(bool)]
        if measured.empty:
            raise CollectionError(
                f"{self.name} has no test films: by its column split all {len(self.table):,} of them trained "
                "the model or chose something"
            )
        notes = list(self.notes)
        if learnt.any():
            notes.append(
                f"{int(learnt.sum()):,} films of the split train are left out: they flatter."
            )
        if chose.any():
            notes.append(
                f"{int(chose.sum()):,} films of the split validation choose thresholds and are not measured."
            )
        test = replace(self, table=measured.reset_index(drop=True), notes=tuple(notes))
        validation = self.table[chose.fillna(False).astype(bool)].reset_index(drop=True)
        return test, replace(self, table=validation) if len(validation) else None

    def confirmed(self, column: str, value: str) -> "Scores":
        """Keep normal films, and those of a disease whose column holds a value.

        Raises
        ------
        CollectionError
            If there is no such column, or no film of a disease holds the value.
        """
        if column not in self.table:
            raise CollectionError(
                f"{self.name} has no column {column!r}, only {', '.join(map(str, self.table))}"
            )
        ill = self.table["label"] != NORMAL
        holds = self.table[column].astype("string").str.strip().eq(value).fillna(False).astype(bool)
        if not (ill & holds).any():
            there = sorted(self.table.loc[ill, column].dropna().astype(str).unique())[:6]
            raise CollectionError(
                f"no film of a disease in {self.name} has {column} {value!r}; there are "
                f"{', '.join(map(repr, there)) or 'none with any value'}"
            )
        left = int((ill & ~holds).sum())
        note = f"{left:,} films of a disease without {column} “{value}” are left out."
        table = self.table[~ill | holds].reset_index(drop=True)
        return replace(self, table=table, notes=(*self.notes, note))


def read_scores(path: str | Path) -> Scores:
    """Read a table of scores.

    Parameters
    ----------
    path
        CSV or Parquet; see `cxrlens.collections.tables.read_text_table`.

    Raises
    ------
    CollectionError
        If it cannot be read, lacks ``image``, ``label`` or any score, names a file twice, or holds a label
        or a score that is missing or none.
    """
    path = Path(path)
    if not path.is_file():
        raise CollectionError(f"there is no file {path}: name a table with image, label and scores")
    scores = scores_of(read_text_table(path), str(path))
    folder = path.resolve().parent
    images = [os.path.normpath(folder / image) for image in scores.table["image"]]
    refuse_repeated(images, str(path))
    return replace(scores, table=scores.table.assign(image=images), folder=folder)


def refuse_repeated(images: Iterable[str], name: str) -> None:
    """Refuse a table two rows of which name one file, by whatever path: its film would count twice.

    Parameters
    ----------
    images
        Absolute paths, a row each. They need not exist.
    name
        The table's, for the message.

    Raises
    ------
    CollectionError
        With the two rows.
    """
    rows: dict[str, int] = {}
    for row, image in enumerate(images, 2):
        first = rows.setdefault(os.path.realpath(image), row)
        if first != row:
            raise CollectionError(
                f"{name}, rows {first} and {row} name one file, {image}: leave one row a film"
            )


def scores_of(table: pd.DataFrame, name: str) -> Scores:
    """Check a table of scores; see `read_scores`.

    Parameters
    ----------
    table
        Columns as the module says.
    name
        Names it in messages.

    Raises
    ------
    CollectionError
        See `read_scores`.
    """
    table = _named(table, name)
    classes = tuple(label for label in LABELS if label in table)
    for column, needed in (("image", "the film's file or any name of its own"), ("label", LABELS)):
        if column not in table:
            words = needed if isinstance(needed, str) else ", ".join(needed)
            raise CollectionError(
                f"{name} has no column {column!r} ({words}), only {', '.join(map(str, table)) or 'nothing'}"
                f"{_near(column, table)}"
            )
    if not set(classes) - {NORMAL}:
        raise CollectionError(
            f"{name} has no scores of a disease, only {', '.join(map(str, table))}: name a column "
            f"of them pneumonia or tuberculosis{_near('tuberculosis', table)}"
        )
    for column in ("patient", "split"):
        near = nearly(column, table) if column not in table else None
        if near:
            raise CollectionError(
                f"{name} has no column {column!r}, but {near!r}: rename it to {column}, or to something else "
                "if it is none"
            )
    if table.empty:
        raise CollectionError(f"{name} lists no film")
    for column in ("image", "label", *_WORDS):
        if column in table:
            text = table[column].astype("string").str.strip()
            table[column] = text.mask(text == "")
    if "age" in table:
        ages = pd.to_numeric(table["age"], errors="coerce").astype(float)
        table["age"] = ages.where(ages.between(0, OLDEST))
    if "calibrated" in table:
        table["calibrated"] = (
            table["calibrated"].astype("string").str.lower().eq("true").fillna(False)
        )
    _check_images(table, name)
    table["label"] = table["label"].str.lower()
    _check_labels(table, "label", name)
    for label in classes:
        table[label] = _numbers(table, label, name)
    table, notes = _as_probabilities(table, classes)
    if len(classes) < len(LABELS):
        if "predicted" in table:
            table = table.drop(columns="predicted")
        notes.append(_missing_classes(classes, table))
    elif "predicted" in table and table["predicted"].notna().all():
        table["predicted"] = table["predicted"].str.lower()
        _check_labels(table, "predicted", name, (*LABELS, UNSURE))
    else:
        best = table[list(classes)].to_numpy().argmax(axis=1)
        table["predicted"] = pd.array([classes[one] for one in best], dtype="string")
        notes.append("The table does not say what films were called: each is the likeliest class.")
    if "patient" not in table:
        notes.append(
            "The table has no column patient: every film counts as a patient of its own, and intervals are "
            "too narrow if some share one."
        )
    if "source" not in table:
        notes.append(
            "The table has no column source: whether places are told apart instead of diseases "
            "cannot be seen."
        )
    return Scores(name=name, table=table, classes=classes, notes=tuple(notes))


def _named(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Give known columns their names, whatever their case and the spaces round them."""
    plain = [folded(str(column)) for column in table.columns]
    for column in _KNOWN:
        if plain.count(column) > 1:
            raise CollectionError(
                f"{name} has {plain.count(column)} columns called {column}: leave one"
            )
    names = [
        fold if fold in _KNOWN else str(column) for fold, column in zip(plain, table, strict=True)
    ]
    return table.set_axis(names, axis=1).reset_index(drop=True)


def _near(wanted: str, table: pd.DataFrame) -> str:
    """Ask whether a column of another name holds the scores that are missed."""
    if wanted in LABELS:
        found = [
            str(name)
            for name in table
            if {"tb", wanted} & set(re.split(r"[\W_]+", folded(str(name))))
        ]
        near = found[0] if found else None
    else:
        near = nearly(wanted, table, maybe=True)
    return f"; is it {near!r}? rename that column" if near else ""


def _check_images(table: pd.DataFrame, name: str) -> None:
    empty = table["image"].isna()
    if empty.any():
        raise CollectionError(
            f"{name}: {int(empty.sum())} rows have no image, the first is row {_row(empty)}"
        )
    repeated = table["image"].duplicated()
    if repeated.any():
        raise CollectionError(
            f"{name} lists {int(repeated.sum())} images more than once, the first is "
            f"{table.loc[repeated, 'image'].iloc[0]}: leave one row a film"
        )


def _check_labels(
    table: pd.DataFrame, column: str, name: str, allowed: Sequence[str] = LABELS
) -> None:
    empty = table[column].isna()
    if empty.any():
        raise CollectionError(
            f"{name}: {int(empty.sum())} of {len(table)} films have no {column}, the first is "
            f"{table.loc[empty, 'image'].iloc[0]}: fill the column or drop those rows"
        )
    _refuse_unknown(table, column, name, allowed)


def _refuse_unknown(table: pd.DataFrame, column: str, name: str, allowed: Sequence[str]) -> None:
    wrong = table[column].notna() & ~table[column].isin(allowed)
    if wrong.any():
        first = str(table.loc[wrong, column].iloc[0])
        near = meant_by(first, allowed)
        hint = f"; did you mean {near}?" if near else ": drop rows of anything else"
        raise CollectionError(
            f"{name}, row {_row(wrong)}: unknown {column} {first!r} ({int(wrong.sum())} rows so), allowed "
            f"are {', '.join(allowed)}{hint}"
        )


def _numbers(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    given = table[column]
    values = pd.to_numeric(given, errors="coerce").astype(float)
    wrong = ~values.abs().lt(np.inf)
    if wrong.any():
        first = given[wrong].iloc[0]
        said = "is empty" if pd.isna(first) or not str(first).strip() else f"holds {str(first)!r}"
        raise CollectionError(
            f"{name}, row {_row(wrong)}: the column {column} {said}, where a number should be "
            f"({int(wrong.sum())} of {len(table)} films so): score those films, or drop their rows"
        )
    return values


def _row(wrong: pd.Series) -> int:
    """Give the line of the first wrong row, the header being line 1."""
    return int(wrong.to_numpy(bool).argmax()) + 2


def _as_probabilities(
    table: pd.DataFrame, classes: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Turn scores of whatever kind into probabilities where every class or normal has one."""
    if NORMAL not in classes:
        return table, []  # each disease is ranked by its own score
    scores = table[list(classes)].to_numpy(np.float64)
    notes = []
    if scores.min() < 0 or scores.max() > 1:
        notes.append(
            f"The scores run from {scores.min():.3g} to {scores.max():.3g}, so they are no probabilities: "
            "they are taken for scores before softmax."
        )
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    elif len(classes) == len(LABELS):
        sums = scores.sum(axis=1, keepdims=True)
        off = np.abs(sums[:, 0] - 1) > TOLERANCE
        if off.any():
            notes.append(
                f"The scores of {int(off.sum()):,} of {len(table):,} films do not sum to 1 (they sum to "
                f"{sums.min():.3g} to {sums.max():.3g}): each was divided by its film's sum. The order of a "
                "disease against normal is the same."
            )
            nothing = sums == 0
            shared = np.where(nothing, 1 / len(classes), scores / np.where(nothing, 1, sums))
            scores = np.where(off[:, None], shared, scores)
    return table.assign(**dict(zip(classes, scores.T, strict=True))), notes


def _missing_classes(classes: Sequence[str], table: pd.DataFrame) -> str:
    lacks = [label for label in LABELS if label not in classes]
    left = [label for label in lacks if label != NORMAL and (table["label"] == label).any()]
    said = (
        f"The table has no scores of {' and '.join(lacks)}: accuracy, F1, the confusion matrix and "
        "calibration are left out"
    )
    if NORMAL in lacks:
        said += (
            ", and each disease is ranked by its own score instead of the log-odds against normal"
        )
    if left:
        said += f"; films labelled {' or '.join(left)} are measured nowhere"
    return said + "."
