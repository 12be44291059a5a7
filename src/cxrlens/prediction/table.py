"""Predict many films into a table that grows line by line and can be taken up again."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
from pydantic import RootModel

from cxrlens.collections.tables import read_own_table
from cxrlens.errors import CxrlensError, FilmError, OutputError
from cxrlens.files import explained, moved_into_place, own_json, refuse_existing, write_text
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import QUALITY, REASONS, SPOILING, UNSURE
from cxrlens.progress import Progress
from cxrlens.quality.step import DEFECTS

Row = dict[str, Any]
Engine = Callable[[Iterable[Path | bytes]], Iterator[tuple[int, Row | FilmError]]]
"""From films to each one's place among them, with its row or why there is none."""


@dataclass(frozen=True)
class Predicted:
    """Films predicted into a table.

    Attributes
    ----------
    table
        The predictions table, those of an earlier, interrupted call included.
    failures
        Film and sentence of each that could not be read.
    passed_over
        What films of a study list are that are no frontal chest films by their headers, and how many.
    """

    table: pd.DataFrame
    failures: dict[str, str]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Count films by predicted class, the most frequent first; unsure ones by their reason, last."""
        if self.table.empty:
            return {}
        unsure = self.table["predicted"] == UNSURE
        found: dict[str, int] = {}
        for names, words in (
            (self.table.loc[~unsure, "predicted"], "{}"),
            (self.table.loc[unsure, "reason"].fillna(""), f"{UNSURE} ({{}})"),
        ):
            found |= {words.format(name): int(n) for name, n in names.value_counts().items()}
        return found

    def unsure(self) -> dict[str, list[str]]:
        """Name the films that are unsure by their reason, each with the defects that spoil it."""
        found: dict[str, list[str]] = {}
        for row in self.table[self.table["predicted"] == UNSURE].to_dict("records"):
            spoilt = [name for name in DEFECTS if name in SPOILING and row.get(name)]
            why = f" ({', '.join(spoilt)})" if row["reason"] == QUALITY and spoilt else ""
            found.setdefault(row["reason"], []).append(f"{row['image']}{why}")
        return {reason: found[reason] for reason in REASONS if reason in found}


@dataclass(frozen=True)
class FilmElsewhere:
    """A film that is fetched when its turn comes.

    Attributes
    ----------
    name
        What tables and messages call it.
    fetch
        Returns its file's bytes, or raises `FilmError`.
    """

    name: str
    fetch: Callable[[], bytes]

    def __str__(self) -> str:
        """Return its name."""
        return self.name


def predict_films(
    predictor: Predictor,
    films: Iterable[Path | FilmElsewhere],
    path: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Predicted:
    """Predict films into a table; with a path, also into a CSV or JSON file.

    Parameters
    ----------
    predictor
        The model.
    films
        Files; or what yields films, and may end half-way in a `CxrlensError`: what came before is predicted.
    path
        Where to write, JSON if it ends so and CSV otherwise. While it grows it is called ``NAME.part``. Each
        row names the model by its `digest`.
    resume
        Keep the rows of an interrupted call's ``NAME.part`` and predict the other films.
    force
        Replace a file that exists, or an interrupted call's.
    progress
        Called with films done and films in all, where that is known.
    engine
        What answers in the predictor's place, in any order, e.g. a cluster:
        `cxrlens.prediction.cluster.on_ray`. The table has the films' order.

    Raises
    ------
    CxrlensError
        What `films` raised; the rows are kept for `resume`.
    OutputError
        If the file, or an interrupted call's, exists and neither `force` nor `resume` is set; if the rows
        to keep are another model's; or if it cannot be written.

    Examples
    --------
    >>> from cxrlens import load
    >>> films = [Path("images/P00001_1.png"), Path("images/P00002_1.jpg")]
    >>> predicted = predict_films(load("bundles/first"), films, Path("predictions.csv"))
    >>> predicted.table["predicted"].tolist(), predicted.failures
    (['pneumonia', 'pneumonia'], {})
    """
    before = pd.DataFrame()
    file: AbstractContextManager[TextIO | None] = nullcontext()
    if path is not None:
        part, before = _begun(predictor, path, resume, force)
        file = part.open("a", newline="", encoding="utf-8")
    known = set(before["image"]) if len(before) else set()
    total = sum(str(film) not in known for film in films) if isinstance(films, Sized) else 0
    asked: list[Path | FilmElsewhere] = []
    rows: dict[int, Row] = {}
    failures: dict[str, str] = {}
    stopped: list[CxrlensError] = []

    def fetched() -> Iterator[Path | bytes]:
        try:
            for film in films:
                if str(film) in known:
                    continue
                try:
                    data = film if isinstance(film, Path) else film.fetch()
                except FilmError as error:
                    failures[str(film)] = str(error)
                    continue
                asked.append(film)
                yield data
        except CxrlensError as error:
            stopped.append(error)

    with explained(path or Path()), file as grows:
        write = csv.writer(grows, lineterminator="\n").writerow if grows else None
        for done, (place, outcome) in enumerate((engine or _here(predictor))(fetched()), 1):
            film = asked[place]
            if isinstance(outcome, FilmError):
                whose = "" if isinstance(film, Path) else f"{film}: "
                failures[str(film)] = f"{whose}{outcome}"
            else:
                row = rows[place] = {**outcome, "image": str(film), **_whose(predictor)}
                if write:
                    if len(before) == 0 and len(rows) == 1:
                        write(row)
                    write(row.values())
            if progress and total:
                progress(done, total)
    if stopped:
        if path is not None and not (rows or len(before)):
            part.unlink()
        raise stopped[0]
    table = _table([rows[place] for place in sorted(rows)], predictor)
    if len(before):
        table = pd.concat([before, table], ignore_index=True)
    if path is not None:
        with moved_into_place(path) as draft:
            draft.write_text(as_text(table, path.suffix), encoding="utf-8")
        part.unlink()
    return Predicted(table, failures)


def _here(predictor: Predictor) -> Engine:
    def answers(films: Iterable[Path | bytes]) -> Iterator[tuple[int, Row | FilmError]]:
        for place, one in enumerate(predictor.predict_many(films)):
            yield place, one if isinstance(one, FilmError) else one.row()

    return answers


def as_text(table: pd.DataFrame, suffix: str) -> str:
    """Write a table of predictions as JSON, where files end in `suffix` ``.json``, else as CSV."""
    if suffix != ".json":
        return str(table.to_csv(index=False, lineterminator="\n"))
    return json.dumps(json.loads(table.to_json(orient="records")), indent=1) + "\n"


def _begun(
    predictor: Predictor, path: Path, resume: bool, force: bool
) -> tuple[Path, pd.DataFrame]:
    """Begin ``NAME.part`` with the rows that stay of an earlier call, and return both."""
    refuse_existing(path, force or resume)
    part = path.with_name(path.name + ".part")
    if part.exists() and not (force or resume):
        raise OutputError(
            f"{part} is left of an interrupted call: say --resume to go on, or --force to begin anew"
        )
    earlier = part if part.exists() else path
    before = _whole_rows(earlier) if resume else pd.DataFrame()
    for name in {"reason", "site"} & set(before):
        # An empty cell is a word here, too.
        before[name] = before[name].astype(object).where(before[name].notna(), "")
    if len(before) and set(before.get("digest", [""])) != {predictor.digest}:
        raise OutputError(f"{earlier} has rows of another model: name another file")
    if len(before) and set(before.get("site", pd.Series([""])).fillna("")) != {
        predictor.trust.site
    }:
        raise OutputError(f"{earlier} has rows of another site file: name another file")
    write_text(part, before.to_csv(index=False) if len(before) else "")
    return part, before


def _table(rows: Sequence[Row], predictor: Predictor) -> pd.DataFrame:
    """Make a table of rows, which has its columns even if no film could be read."""
    if rows:
        return pd.DataFrame(rows)
    blank = np.zeros((predictor.chain.side, predictor.chain.side), np.uint8)
    return pd.DataFrame(columns=[*predictor.predict(blank).row(), *_whose(predictor)])


def _whose(predictor: Predictor) -> dict[str, str]:
    """Name the model, and the site file that moves it, in each row."""
    return {"digest": predictor.digest, "site": predictor.trust.site}


class _Rows(RootModel[list[dict[str, bool | int | float | str | None]]]):
    """A table of predictions as JSON."""


def _whole_rows(path: Path) -> pd.DataFrame:
    """Read the rows of an earlier table, without a last one that was cut off."""
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
