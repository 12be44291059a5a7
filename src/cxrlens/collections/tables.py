"""Tables as text: what stands in a field comes back letter for letter.

A patient may be called NA, 007 or 1e5. So nothing is guessed to be missing or to be a number: an empty
field, and only that, says that nothing is known.
"""

import csv
import difflib
import html
import io
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxrlens.errors import CollectionError, CxrlensError, need, visible
from cxrlens.files import own_text

LARGEST = 2**30
"""Bytes of a table; ten million films."""

MOST_ROWS = 20_000_000
"""Rows of a Parquet table."""

TEXT = (
    *("image", "label", "predicted", "patient", "acquisition", "source", "view", "sex", "split"),
    *("finding", "reason", "repairs", "digest"),
)
"""Columns of our own tables that hold text, whatever it looks like."""

SEPARATORS = (",", ";", "\t", "|")

_UNSEEN = "".join(map(chr, (*range(33), 0x85, 0xA0, *range(0x2000, 0x2010), 0x2028, 0x2029)))
_UNSEEN += "\u202f\u205f\u2060\u3000\ufeff"
"""Space of all kinds, joiners, byte-order marks: text editors and web pages leave them behind."""

_OTHER_KINDS = {
    b"PK\x03\x04": "is a spreadsheet (XLSX or ODS)",
    b"\xd0\xcf\x11\xe0": "is an old spreadsheet (XLS)",
    b"\x1f\x8b": "is compressed (gzip)",
}


def read_text_table(path: Path, columns: Sequence[str] = (), way_out: str = "") -> pd.DataFrame:
    r"""Read a table that anybody may have written: CSV in any of its dialects, or Parquet.

    Parameters
    ----------
    path
        Fields of a CSV may be parted by commas, semicolons, tabs or bars; the one that gives the header
        most columns is taken, or what a first line ``sep=;`` says. It may be UTF-8, UTF-16 or, where it
        is neither, Windows' Latin-1 (code page 1252). A Parquet file is known by its content.
    columns, way_out
        What it must have, and what is said where one of them is missing.

    Returns
    -------
    DataFrame
        Every column text (``string``), stripped of space around it; an empty field is missing. Whole
        numbers of a Parquet file are written without a point. Lines without any field are passed over.

    Raises
    ------
    CollectionError
        If it cannot be read, is no table, names two columns alike, lacks a column, or has a row with more
        fields than the header.

    Examples
    --------
    >>> Path("own.csv").write_text("image;patient\na.png;007\nb.png;\n")
    31
    >>> read_text_table(Path("own.csv"))["patient"].tolist()
    ['007', <NA>]
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"PAR1"):
            need("parquet", what=f"{path}, a Parquet file,")
            table = _text_of(_parquet(data), path)
        else:
            for magic, kind in _OTHER_KINDS.items():
                if data.startswith(magic):
                    raise CollectionError(f"{path} {kind}: save it as CSV and name that file")
            table = _rows_of(_decoded(data), path)
    except (ValueError, OSError, csv.Error) as error:
        detail = " ".join(str(error).split())
        raise CollectionError(f"{path} is no table that can be read: {detail}") from error
    for column in columns:
        if column not in table:
            only = ", ".join(map(str, table))
            raise CollectionError(f"{path} has no column {column!r}, only {only}: {way_out}")
    return table


def read_own_table(
    path: Path,
    fault: type[CxrlensError] = CollectionError,
    way_out: str = "write it again",
    *,
    words: Sequence[str] = (),
    numbers: Mapping[str, tuple[float, float]] | None = None,
    cut: bool = False,
) -> pd.DataFrame:
    """Read a CSV that cxrlens wrote: columns of `TEXT` as text, others as what they hold.

    Only an empty field is missing.

    Parameters
    ----------
    path
        The table.
    fault, way_out
        What to raise where it is damaged, and what the user can do.
    words, numbers
        Columns that have a value in every row: text, and numbers with the least and the highest that each
        can be.
    cut
        Whether the last line may have been cut off, as of a table that was growing; it is left out then.

    Raises
    ------
    CxrlensError
        The `fault`, with the line or the column.
    """
    text = own_text(path, fault, way_out, LARGEST)
    if cut:
        text = text[: text.rfind("\n") + 1]
        if text.count("\n") < 2:
            return pd.DataFrame()
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise fault(f"{path} is damaged in line {line}, it holds null characters: {way_out}")
    try:
        table = pd.read_csv(
            io.StringIO(text),
            dtype=dict.fromkeys(TEXT, "string"),
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except (ValueError, OverflowError) as error:
        raise fault(
            f"{path} is damaged, no table ({' '.join(str(error).split())}): {way_out}"
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes fields beyond the header for names of the rows.
        raise fault(f"{path} is damaged, its rows have more fields than its header: {way_out}")
    bounds = numbers or {}
    for name in (*words, *bounds):
        if name not in table:
            raise fault(f"{path} is damaged, it has no column {name!r}: {way_out}")
        wrong = table[name].isna()
        if name in bounds:
            wrong = ~pd.to_numeric(table[name], errors="coerce").between(*bounds[name])
        if wrong.any():
            row = int(wrong.to_numpy(bool).argmax())
            value = str(table[name].iloc[row])[:60]
            raise fault(f"{path} is damaged in row {row + 1}, {name} is {value!r}: {way_out}")
        if table[name].dtype == object:
            table[name] = table[name].astype(float)
    return table


def _parquet(data: bytes) -> pd.DataFrame:
    """Read Parquet; what it claims to hold is looked at before it is unpacked."""
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        file = pyarrow.parquet.ParquetFile(
            pyarrow.BufferReader(data), page_checksum_verification=True
        )
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows > MOST_ROWS or sum(of.total_byte_size for of in groups) > LARGEST:
            raise ValueError(f"more than {MOST_ROWS:,} rows or {LARGEST:,} bytes")
        table: pd.DataFrame = file.read().to_pandas()
        # What was a named index is a column to whoever wrote it.
        if any(name is not None for name in table.index.names):
            table = table.reset_index()
    except (pyarrow.ArrowException, OSError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else "no Parquet") from error
    return table


def stripped(text: str) -> str:
    """Strip space, byte-order marks and what else cannot be seen from both ends."""
    return text.strip(_UNSEEN)


def as_text(column: pd.Series) -> pd.Series:
    """Write a column as text, whole numbers without a point; what is empty is missing."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").map(stripped, na_action="ignore").astype("string")
    return text.mask(text == "")


def persons(names: pd.Series) -> pd.Series:
    """Return who is meant by names of patients; capitals, and a number's ``.0``, make no other person.

    A table that went through a spreadsheet or through NumPy says ``12.0`` for ``12``. Names stay as they are
    written; two persons taken for one cost little, one who stands in two splits spoils a measurement.

    Examples
    --------
    >>> persons(pd.Series(["12", "A-7", "12.0", "a-7", "007"], dtype="string")).tolist()
    ['12', 'a-7', '12', 'a-7', '007']
    """
    return names.astype("string").str.casefold().str.replace(r"^(\d+)\.0$", r"\1", regex=True)


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:2]:  # the header's first letter, without a mark before it
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _rows_of(text: str, path: Path) -> pd.DataFrame:
    if "\0" in text:
        raise CollectionError(f"{path} is no table that can be read: it holds null characters")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    first, _, rest = text.partition("\n")
    said = first.rstrip("\r").strip('"')
    if said.lower().startswith("sep=") and len(said) == 5:
        separator, text, line = said[4], rest, 1
    else:
        separator, line = _separator(text, path), 0
    names: list[str] = []
    rows: list[list[str]] = []
    for last, row in _records(text, separator, f"{path}, line", line):
        fields = [stripped(field) for field in row]
        if not any(fields):
            continue
        if not names:
            names = _header(fields, path)
            continue
        if any(fields[len(names) :]):
            raise CollectionError(
                f"{path}, line {last}: {len(fields)} fields, but the header names "
                f"{len(names)}: put a field with {separator!r} in it in quotes"
            )
        rows.append([*fields[: len(names)], *[""] * (len(names) - len(fields))])
    if not names:
        raise CollectionError(f"{path} is no table that can be read: it is empty")
    table = pd.DataFrame(rows, columns=names, dtype="string")
    return table.mask(table == "")


def _records(text: str, separator: str, at: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it ends in.

    A quote that is not closed would take all rows up to the next one, or to the table's end, into its field;
    such a record has several lines, and they are no CSV by the letter. A quote within a line is left alone.
    """
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for one in io.StringIO(text, newline=""):
            taken.append(one)
            yield one

    reader = csv.reader(lines(), delimiter=separator, skipinitialspace=True)
    while True:
        try:
            row = next(reader, None)
            if len(taken) > 1:
                [*csv.reader(taken, delimiter=separator, skipinitialspace=True, strict=True)]
        except csv.Error as error:
            if len(taken) < 2:
                raise
            raise CollectionError(
                f"{at} {line + 1}: a quote that opens there is not closed, so that the rows behind it would "
                "be lost: close it, or take it away"
            ) from error
        if row is None:
            return
        line += len(taken)
        yield line, row
        taken.clear()


def _separator(text: str, path: Path) -> str:
    """Choose the separator that parts the header into most fields; the comma where none parts it."""

    def fields(separator: str) -> int:
        for _, row in _records(text, separator, f"{path}, line", 0):
            if any(row):
                return len(row)
        return 0

    return max(SEPARATORS, key=fields)


def _header(fields: list[str], path: Path) -> list[str]:
    """Name the columns; a nameless one after the others, as of a comma at the end, is not there."""
    while fields and not fields[-1]:
        fields.pop()
    names = [name or f"column {place}" for place, name in enumerate(fields, 1)]
    for name in names:
        if names.count(name) > 1:
            raise CollectionError(f"{path} has two columns {name!r}: name them apart")
    return names


def _text_of(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    text = {stripped(str(name)): as_text(column) for name, column in table.items()}
    if len(text) < len(table.columns):
        raise CollectionError(f"{path} has two columns of the same name: name them apart")
    return pd.DataFrame(text, index=table.index)


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
    "xray xrayfile dicom dicomfile dicompath imagen imagenes archivo fichero ruta placa radiografia",
    "label": "labels class classes classname labelname labeltext category categories etiqueta clase",
    "patient": "patients pat pats patid patno pid ptid pt subject subjects subj person participant "
    "client mrn medicalrecordnumber hospitalnumber patientpseudonym pseudonym patienthash "
    "paciente pacientes sujeto persona nhc historiaclinica",
    "split": "splits subset datasplit datasetsplit partition traintest trainvaltest particion",
}
"""Names, without case and signs, that say the same as ours; what they hold decides nothing."""

_MAYBE = {
    "label": "finding findings findinglabel findinglabels diagnosis diagnoses diagnose dx disease "
    "diseases condition pathology target group result impression y diagnostico hallazgo enfermedad"
}
"""Names that may say the same, or something that stands beside a label."""

_IF_REPEATED = {
    *("id", "ids", "case", "cases", "caseid", "name", "exam", "examid", "accession"),
    *("accessionnumber", "studyid", "studyuid", "studyinstanceuid"),
}
"""Names of a film or of a person: of a person, where a value stands on several films."""

_BEFORE = re.compile(
    r"^(id|anonymi[sz]ed|anon|pseudonymi[sz]ed|pseudo|deidentified|hashed|codigo|numero|nombre)"
    r"(del?|of)?(?=.)"
)
_BEHIND = re.compile(
    r"(?<=.)(ids?|nos?|nrs?|num|number|nummer|name|code|key|uid|identifier|hash|index|pseudonym)$"
)
_MEANT = {
    "tb": "tuberculosis",
    "tbc": "tuberculosis",
    "healthy": "normal",
    "sano": "normal",
    "sana": "normal",
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
    "cap": "pneumonia",
}
"""Words for labels and splits that are offered, never taken."""


@dataclass(frozen=True)
class Words:
    """A user's meanings of the words of their table.

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
                place, key = columns, right
                value = folded(left) if folded(left) in COLUMNS else left
            if not key or place.setdefault(key, value) != value:
                raise CollectionError(
                    f"--map {text}: {key or left!r} is given two meanings or none"
                )
        return cls(columns, values)


def folded(text: str) -> str:
    """Return a word without case and without space around and within it."""
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
                f"{origin} has no column {old!r} to call {new}, only "
                f"{', '.join(map(str, table)) or 'nothing'}: correct --map"
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
        key = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKD", name.casefold()))
        key = "".join(sign for sign in key if not unicodedata.combining(sign))
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
    """Return the command that says what a word of a table means."""
    return f"cxrlens collect csv {shlex.quote(origin)} --map {shlex.quote(word)} -o FILE says so"


def unknown(values: pd.Series, allowed: Iterable[str], origin: str) -> str | None:
    """Word the values of a column that are none of ours, and the way out; None if all are ours.

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
    meant = meant_by(first, [*allowed])
    offer = f"did you mean {meant}? " if meant else ""
    more = ", ".join(f"{name!r} ({count} rows)" for name, count in list(counts.items())[1:6])
    leave = "" if values.name != "label" else f"; --map {shlex.quote(f'{first}=')} leaves them out"
    return (
        f"{origin}, row {int(wrong.index[0]) + 2}: unknown {values.name} {first!r} "
        f"({counts.iloc[0]} rows so){f', and {more}' if more else ''}, allowed are {', '.join(allowed)}; "
        f"{offer}{said(origin, f'{first}={meant or str(values.name).upper()}')}{leave}"
    )


def meant_by(word: str, allowed: Sequence[str]) -> str | None:
    """Guess which of our words a word of somebody else's means, to offer it; None if none comes near."""
    near = [_MEANT.get(folded(word), ""), *difflib.get_close_matches(folded(word), allowed, n=1)]
    return next((name for name in near if name in allowed), None)


def as_html(line: str, table: pd.DataFrame) -> str:
    """Write a line and a table for a notebook; what they hold is shown as text, never as markup."""
    return f"<p>{html.escape(visible(line))}</p>{table.to_html(index=False, border=0, na_rep='')}"
