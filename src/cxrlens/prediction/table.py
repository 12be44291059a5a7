"""Predict many films into a table that grows line by line and can be taken up again."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import RootModel

from cxrlens.collections.tables import read_own_table
from cxrlens.errors import FilmError, OutputError
from cxrlens.files import explained, moved_into_place, own_json, refuse_existing, write_text
from cxrlens.prediction.predictor import Predictor
from cxrlens.progress import Progress


@dataclass(frozen=True)
class Predicted:
    """What `predict_films` gives.

    Attributes
    ----------
    table
        The predictions table, those of an earlier, interrupted call included.
    failures
        Film and sentence of each that could not be read.
    """

    table: pd.DataFrame
    failures: dict[str, str]

    def counts(self) -> dict[str, int]:
        """Films by predicted class, the most frequent first."""
        if self.table.empty:
            return {}
        return {str(name): int(n) for name, n in self.table["predicted"].value_counts().items()}


def predict_films(
    predictor: Predictor,
    films: Sequence[Path],
    path: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Predicted:
    """Predict films into a table; with a path, also into a CSV or JSON file.

    Parameters
    ----------
    predictor
        The model.
    films
        Files.
    path
        Where to write, JSON if it ends so and CSV otherwise. While it grows it is called ``NAME.part``. Each
        row names the model by its `digest`.
    resume
        Keep the rows of an interrupted call's ``NAME.part`` and predict the other films.
    force
        Replace a file that exists, or an interrupted call's.
    progress
        Called with films done and films in all.

    Raises
    ------
    OutputError
        If the file, or an interrupted call's, exists and neither `force` nor `resume` is set; if the rows
        to keep are another model's; or if it cannot be written.
    """
    if path is None:
        rows, failures = _predict(predictor, films, None, progress)
        return Predicted(_table(rows, predictor), failures)
    refuse_existing(path, force or resume)
    part = path.with_name(path.name + ".part")
    if part.exists() and not (force or resume):
        raise OutputError(
            f"{part} is left of an interrupted call: say --resume to go on, or --force to begin anew"
        )
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = part if part.exists() else path
        before = _whole_rows(earlier) if resume else pd.DataFrame()
        if len(before) and set(before.get("digest", [""])) != {predictor.digest}:
            raise OutputError(f"{earlier} has rows of another model: name another file")
        known = set(before["image"]) if len(before) else set()
        write_text(part, before.to_csv(index=False) if len(before) else "")
        with part.open("a", newline="", encoding="utf-8") as file:
            rest = [film for film in films if str(film) not in known]
            rows, failures = _predict(
                predictor,
                rest,
                csv.writer(file, lineterminator="\n").writerow,
                progress,
                not len(before),
            )
        table = pd.concat(
            [before, _table(rows, predictor)] if len(before) else [_table(rows, predictor)],
            ignore_index=True,
        )
        with moved_into_place(path) as draft:
            if path.suffix == ".json":
                records = json.loads(table.to_json(orient="records"))
                draft.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
            else:
                table.to_csv(draft, index=False)
        part.unlink()
    return Predicted(table, failures)


def _predict(
    predictor: Predictor,
    films: Sequence[Path],
    write: Callable[[Iterable[object]], object] | None,
    progress: Progress | None,
    header: bool = True,
) -> tuple[list[dict[str, object]], dict[str, str]]:
    rows: list[dict[str, object]] = []
    failures: dict[str, str] = {}
    outcomes = predictor.predict_many(films)
    for done, (path, outcome) in enumerate(zip(films, outcomes, strict=True), 1):
        if isinstance(outcome, FilmError):
            failures[str(path)] = str(outcome)
        else:
            row = {**outcome.row(), "digest": predictor.digest}
            if write:
                if header:
                    write(row)
                    header = False
                write(row.values())
            rows.append(row)
        if progress:
            progress(done, len(films))
    return rows, failures


def _table(rows: Sequence[dict[str, object]], predictor: Predictor) -> pd.DataFrame:
    """Rows as a table, which has its columns even if no film could be read."""
    if rows:
        return pd.DataFrame(rows)
    blank = np.zeros((predictor.chain.side, predictor.chain.side), np.uint8)
    return pd.DataFrame(columns=[*predictor.predict(blank).row(), "digest"])


class _Rows(RootModel[list[dict[str, bool | int | float | str | None]]]):
    """A table of predictions as JSON."""


def _whole_rows(path: Path) -> pd.DataFrame:
    """Rows of an earlier table, without a last one that was cut off."""
    if not path.is_file():
        return pd.DataFrame()
    another = "name another file, or say --force"
    if path.suffix == ".json":
        table = pd.DataFrame(own_json(path, _Rows, OutputError, another).root)
    else:
        table = read_own_table(path, OutputError, another, words=("image",), cut=True)
    if len(table) and "image" not in table:
        raise OutputError(f"{path} is no table of predictions: {another}")
    return table
