"""Measure runs against each other: who has the same test films, and what parts them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from cxrlens.evaluation.comparison.entry import Entry, read_entries
from cxrlens.evaluation.diseases import NORMAL
from cxrlens.evaluation.paired import (
    DiseaseDifference,
    Paired,
    compare_diseases,
    compare_paired,
    holm,
)

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
