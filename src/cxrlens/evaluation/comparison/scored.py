"""Tables of scores of anybody's models beside each other, and runs among them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from cxrlens.errors import CollectionError, RunError
from cxrlens.evaluation.assess import assess_scores
from cxrlens.evaluation.comparison.disease_pairs import WORDS, paired, paired_text
from cxrlens.evaluation.disease_tables import separations, separations_text
from cxrlens.evaluation.diseases import NORMAL, Disease
from cxrlens.evaluation.paired import DiseaseDifference, compare_diseases
from cxrlens.evaluation.scores import Scores, read_scores
from cxrlens.pages.page import Page
from cxrlens.runs.run import Run
from cxrlens.writing import moved_into_place, refuse_existing

SCORED_FILES = ("diseases.csv", "pairs.csv", "comparison.html")
"""What `write_scored` leaves."""


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
        """Tabulate each table's own figures; see `cxrlens.evaluation.disease_tables.separations`."""
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
        one = _read(path)
        name = path.resolve().name if path.is_dir() else path.stem
        if name in scores:
            raise RunError(f"two of them are called {name}: rename a file, or leave one out")
        scores[name] = one
    diseases = {
        name: assess_scores(one, resamples=resamples, seed=seed).diseases
        for name, one in scores.items()
    }
    pairs = [
        _pair((first, scores[first]), (second, scores[second]), resamples, seed)
        for first, second in combinations(scores, 2)
    ]
    return Scored(scores=scores, diseases=diseases, pairs=pairs)


def write_scored(found: Scored, folder: Path, force: bool = False) -> Path:
    """Write the tables of a comparison and its page.

    Parameters
    ----------
    found
        What `compare_scores` gave.
    folder
        Gets `SCORED_FILES`.
    force
        Replace those that exist.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If one of the files exists and `force` is not set, or it cannot be written.
    """
    for name in SCORED_FILES:
        refuse_existing(folder / name, force)
    for name, table in zip(SCORED_FILES, (found.each(), paired(found.pairs)), strict=False):
        with moved_into_place(folder / name) as draft:
            table.to_csv(draft, index=False)
    page = Page(
        f"{len(found.scores)} tables of scores compared",
        "Each disease against normal films, with 95\u00a0% intervals by patient",
    )
    page.section("On the same films")
    for caution in found.cautions():
        page.warning(caution)
    if found.pairs:
        table = paired_text(found.pairs)
        page.table(
            table,
            "Difference of AUC of two tables on the films that both score, over all of them and within each "
            "source that holds the disease and normal films; bootstrap over patients. Holm: adjusted for all "
            "rows.",
            {str(name): str for name in table if name not in WORDS},
        )
    page.section("Each table by itself")
    table = found.each_text()
    page.table(
        table,
        "How far films of a disease stand above normal ones.",
        dict.fromkeys(("AUC", "average precision"), str),
    )
    for name, one in found.scores.items():
        if one.notes:
            page.subsection(name)
            page.points(one.notes)
    return page.write(folder / SCORED_FILES[-1], force=True)


def _read(path: Path) -> Scores:
    if path.is_dir():
        Run(path).need_finished()
        return read_scores(path / "predictions-test.csv")
    return read_scores(path).parted()[0]


def _pair(
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
