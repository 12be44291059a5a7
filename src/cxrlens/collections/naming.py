"""The columns and labels of somebody else's table, in our words.

A column is known by its name in any case, with space around it. One whose name is only nearly ours is
never taken and never passed over in silence: patients that go unseen stand in two splits. The user says
what it is, with ``--map``.
"""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from cxrlens.collections.tables import stripped
from cxrlens.errors import CollectionError

LABELS = ("normal", "pneumonia", "tuberculosis")
OUTSIDE = "outside"
"""The split of films of sources that training does not see."""

SPLITS = ("train", "validation", "test", OUTSIDE)
COLUMNS = {
    "image": "path of the film, relative to the table's own folder",
    "label": "normal, pneumonia or tuberculosis",
    "patient": "who it is; films of one patient never stand in two splits",
    "acquisition": "copies of one exposure share it",
    "source": "where the film comes from",
    "view": "PA, AP, ...",
    "age": "years",
    "sex": "F, M or O",
    "split": "train, validation or test; outside for films of sources that training does not see",
    "fold": "0, 1, ... for cross-validation",
}

_NEAR = {
    "image": "images img imgs picture pictures file files filename filenames filepath path paths film "
    "films imagepath imagepaths imagefile imagefilename imagename imageid imageindex radiograph "
    "xray xrayfile dicom dicomfile dicompath",
    "label": "labels class classes classname labelname labeltext category categories",
    "patient": "patients pat pats patid patno pid ptid pt subject subjects subj person participant "
    "client mrn medicalrecordnumber hospitalnumber patientpseudonym pseudonym patienthash",
    "split": "splits subset datasplit datasetsplit partition traintest trainvaltest",
}
"""Names, without case and signs, that say the same as ours; what they hold decides nothing."""

_MAYBE = {
    "label": "finding findings findinglabel findinglabels diagnosis diagnoses diagnose dx disease "
    "diseases condition pathology target group result impression y"
}
"""Names that may say the same, or something that stands beside a label."""

_IF_REPEATED = {
    *("id", "ids", "case", "cases", "caseid", "name", "exam", "examid", "accession"),
    *("accessionnumber", "studyid", "studyuid", "studyinstanceuid"),
}
"""Names of a film or of a person: of a person, where a value stands on several films."""

_BEFORE = re.compile(r"^(id|anonymi[sz]ed|anon|pseudonymi[sz]ed|pseudo|deidentified|hashed)(?=.)")
_BEHIND = re.compile(
    r"(?<=.)(ids?|nos?|nrs?|num|number|nummer|name|code|key|uid|identifier|hash|index|pseudonym)$"
)
_MEANT = {
    "tb": "tuberculosis",
    "tbc": "tuberculosis",
    "healthy": "normal",
    "health": "normal",
    "no finding": "normal",
    "negative": "normal",
    "opacity": "pneumonia",
    "lung opacity": "pneumonia",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
"""Words for labels and splits that are offered, never taken."""


@dataclass(frozen=True)
class Words:
    """What a user says that the words of their table mean.

    Attributes
    ----------
    columns
        Our name of a column, or any other, by the table's.
    values
        Our label or split by the table's word, in lower case; empty where such films are left out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Iterable[str]) -> "Words":
        """Read ``label=Finding`` (a column of ours is the table's), ``TB=tuberculosis`` and ``covid=``.

        Raises
        ------
        CollectionError
            If one has no ``=``, or says two things of one word.

        Examples
        --------
        >>> Words.of(["patient=PatientID", "TB=tuberculosis"])
        Words(columns={'PatientID': 'patient'}, values={'tb': 'tuberculosis'})
        """
        columns: dict[str, str] = {}
        values: dict[str, str] = {}
        for text in said:
            left, sign, right = (stripped(part) for part in text.partition("="))
            if not sign or not left:
                raise CollectionError(
                    f"--map {text}: say patient=PatientID for a column, TB=tuberculosis for a label, or "
                    "covid= to leave films of a label out"
                )
            ours = folded(right)
            if folded(left) not in COLUMNS and (not ours or ours in (*LABELS, *SPLITS)):
                place, key, value = values, folded(left), ours
            else:
                place, key, value = (
                    columns,
                    right,
                    folded(left) if folded(left) in COLUMNS else left,
                )
            if not key or place.setdefault(key, value) != value:
                raise CollectionError(
                    f"--map {text}: {key or left!r} is given two meanings or none"
                )
        return cls(columns, values)


def folded(text: str) -> str:
    """Give a word without case and without space around and within it."""
    return " ".join(stripped(text).casefold().split())


def named(table: pd.DataFrame, words: Words, origin: str) -> pd.DataFrame:
    """Call the columns of a table by our names where they are ours.

    Parameters
    ----------
    table
        As it was read.
    words
        What the user says of it.
    origin
        The table's name in messages.

    Raises
    ------
    CollectionError
        If two columns get one name, `words` speaks of a column that is not there, or no column is
        ``image``, ``label``, ``patient`` or ``split`` but one is nearly.
    """
    there = {folded(str(name)): name for name in table}
    renamed = {}
    for old, new in words.columns.items():
        column = old if old in table else there.get(folded(old))
        if column is None:
            raise CollectionError(
                f"{origin} has no column {old!r} to call {new}, only {_list(table)}: correct --map"
            )
        renamed[column] = new
    for name in table:
        known = folded(str(name))
        renamed.setdefault(name, known if known in COLUMNS else str(name))
    names = [renamed[name] for name in table]
    for name in names:
        if names.count(name) > 1:
            both = " and ".join(repr(old) for old in table if renamed[old] == name)
            raise CollectionError(
                f"{origin}: {both} would both be the column {name!r}: rename one, in the table or with "
                f"--map other={next(old for old in table if renamed[old] == name)}"
            )
    table = table.set_axis(pd.Index(names), axis=1)
    for known in _NEAR:
        near = nearly(known, table.drop(columns=[*set(words.columns.values()) & set(names)]))
        if known not in table and near:
            raise CollectionError(
                f"{origin} has no column {known!r} ({COLUMNS[known]}), but {near!r}; did you mean that? "
                f"{said(origin, f'{known}={near}')}; if it is something else, --map "
                f"{shlex.quote(f'other={near}')} carries it along"
            )
    return table


def nearly(known: str, table: pd.DataFrame, maybe: bool = False) -> str | None:
    """Find the column whose name is nearly one of ours.

    Parameters
    ----------
    known
        One of `COLUMNS`.
    table
        Whose columns are looked at; of ``id`` and the like, whether values stand there twice, too.
    maybe
        Whether a name counts that may also stand beside ours, as ``diagnosis`` beside ``label``.
    """
    alike = {known, *_NEAR.get(known, "").split()}
    alike |= set(_MAYBE.get(known, "").split()) if maybe else set()
    for name in map(str, table):
        key = re.sub(r"[\W_]+", "", name.casefold())
        if folded(name) in COLUMNS or not key:
            continue
        bare = _BEHIND.sub("", _BEFORE.sub("", key))
        typo = (
            key[0] == known[0]
            and abs(len(bare) - len(known)) < 3
            and difflib.SequenceMatcher(None, bare, known).ratio() >= 0.8
        )
        repeated = known == "patient" and key in _IF_REPEATED and table[name].duplicated().any()
        if key in alike or bare in alike or typo or repeated:
            return name
    return None


def said(origin: str, word: str) -> str:
    """Give the command that says what a word of a table means."""
    return f"cxrlens collect csv {shlex.quote(origin)} --map {shlex.quote(word)} -o FILE says so"


def unknown(values: pd.Series, allowed: Iterable[str], origin: str) -> str | None:
    """Say which values of a column are none of ours, and the way out; None if all are.

    Parameters
    ----------
    values
        Of ``label`` or ``split``, as the table has them; the index counts its rows from 0.
    allowed
        Ours.
    """
    wrong = values[
        ~values.map(folded, na_action="ignore").astype("string").isin([*allowed]) & values.notna()
    ]
    if wrong.empty:
        return None
    counts = wrong.value_counts(sort=False)
    first = str(counts.index[0])
    meant = _meant(first, [*allowed])
    offer = f"did you mean {meant}? " if meant else ""
    more = ", ".join(f"{name!r} ({count} rows)" for name, count in list(counts.items())[1:6])
    leave = "" if values.name != "label" else f"; --map {shlex.quote(f'{first}=')} leaves them out"
    return (
        f"{origin}, row {int(wrong.index[0]) + 2}: unknown {values.name} {first!r} "
        f"({counts.iloc[0]} rows so){f', and {more}' if more else ''}, allowed are {', '.join(allowed)}; "
        f"{offer}{said(origin, f'{first}={meant or str(values.name).upper()}')}{leave}"
    )


def _meant(word: str, allowed: list[str]) -> str | None:
    word = folded(word)
    if _MEANT.get(word) in allowed:
        return _MEANT[word]
    return next(iter(difflib.get_close_matches(word, allowed, n=1)), None)


def _list(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table)) or "nothing"
