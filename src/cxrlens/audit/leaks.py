"""What stands on both sides of a split: patients, and copies of one exposure."""

from dataclasses import dataclass

import pandas as pd

_OTHER = ("split", "label", "patient", "source")


@dataclass(frozen=True)
class Leaks:
    """Copies and what they contradict.

    Attributes
    ----------
    pairs
        As `cxrlens.audit.copies.find_copies` gives them, with ``other_split``, ``other_label``,
        ``other_patient``, ``other_source``: whether both films have one and it differs.
    groups
        Sets of films that are copies of each other, directly or by way of others.
    extra
        Films that would leave if one of each group stayed.
    patients
        Patients whose films stand in more than one split; None without splits or patients.
    """

    pairs: pd.DataFrame
    groups: int
    extra: int
    patients: list[str] | None


def find_leaks(table: pd.DataFrame, pairs: pd.DataFrame) -> Leaks:
    """Hold pairs of copies and patients against the table's splits, labels, patients and sources.

    Parameters
    ----------
    table
        The films that could be read.
    pairs
        Columns ``one`` and ``other``, rows of `table`.
    """
    told = pairs.copy()
    for column in _OTHER:
        differs = pd.Series(False, index=pairs.index)
        if column in table and len(pairs):
            one = table[column].iloc[pairs["one"]].reset_index(drop=True)
            other = table[column].iloc[pairs["other"]].reset_index(drop=True)
            differs = (one != other).fillna(False).astype(bool)
        told[f"other_{column}"] = differs
    root = list(range(len(table)))

    def find(film: int) -> int:
        while root[film] != film:
            root[film] = root[root[film]]
            film = root[film]
        return film

    for one, other in zip(pairs["one"], pairs["other"], strict=True):
        root[find(int(other))] = find(int(one))
    members = pd.Series([find(film) for film in range(len(table))]).value_counts()
    together = members[members > 1]
    return Leaks(told, len(together), int((together - 1).sum()), _split_patients(table))


def _split_patients(table: pd.DataFrame) -> list[str] | None:
    known = "patient" in table and table["patient"].notna().any()
    if not known or "split" not in table or table["split"].isna().all():
        return None
    places = table.dropna(subset=["patient", "split"]).groupby("patient")["split"].nunique()
    return sorted(map(str, places[places > 1].index))
