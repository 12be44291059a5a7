"""What stands in a table comes back letter for letter, through every reader and writer."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import LABELS, Collection, read_collection
from cxrlens.collections.combine import fold, merge, split
from cxrlens.collections.pairs import reduce_pairs
from cxrlens.collections.readers import collect
from cxrlens.collections.tables import persons, read_own_table, read_text_table
from cxrlens.errors import CollectionError, MissingExtraError
from cxrlens.runs.run import read_predictions, write_predictions

ODD = (
    *("NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", "None", "none", "<NA>", "#N/A", "NaT"),
    *("007", "7", "7.0", "1e5", "100000", "1.0", "1", "-1", "+1", "0x10", "inf", "1_000", "True"),
    *("a,b", "a;b", 'say "x"', "Müller", "王", "p 1", "-", "?", "1/2/2020", "12345678901234567890"),
)
"""Patients whose names a reader of numbers would change, lose, or take for one another."""


@pytest.fixture
def odd(tmp_path: Path) -> Collection:
    """One patient of each odd name, with two films; every text column holds the name."""
    rows = []
    for number, name in enumerate(ODD * 2):
        path = tmp_path / f"{number:03d}.png"
        path.write_bytes(b"film %d" % number)
        label = ("normal", "pneumonia", "tuberculosis")[number % len(ODD) % 3]
        row = {"image": str(path), "label": label, "age": 30.0}
        rows.append(row | dict.fromkeys(("patient", "source", "view", "sex", "ward"), name))
    columns = ["label", "patient", "source", "view", "sex", "ward", "image"]
    return Collection(pd.DataFrame(rows).astype(dict.fromkeys(columns, "string")))


def told(films: pd.DataFrame, column: str) -> dict[str, str]:
    return dict(zip(films["image"].map(lambda path: Path(path).name), films[column], strict=True))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_verb_s_table_keeps_odd_names(odd: Collection, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"films.{suffix}"
    odd.write(path)
    first = read_collection(path)
    dealt = fold(split(first), 2)
    tables = [first, collect("csv", path), dealt]
    tables.append(read_collection(dealt.write(tmp_path / f"split.{suffix}")))
    tables.append(
        reduce_pairs(Collection(first.films.assign(acquisition=first.films["image"]))).kept
    )
    half = persons(first.films["patient"]) < "m"
    first.of(first.films[half]).write(tmp_path / f"a.{suffix}")
    first.of(first.films[~half]).write(tmp_path / f"b.{suffix}")
    tables.append(merge([tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"]).collection)
    for table in tables:
        for column in ("patient", "source", "view", "sex", "ward"):
            assert told(table.films, column) == told(odd.films, column)
    assert (dealt.films.groupby("patient")["split"].nunique() == 1).all()
    assert dealt.films["patient"].nunique() == len(ODD)


def test_predictions_keep_odd_names_and_every_digit(odd: Collection, tmp_path: Path) -> None:
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], len(odd))
    table = odd.films.assign(predicted="normal", calibrated=True, digest="012e45")
    table[["normal", "pneumonia", "tuberculosis"]] = scores
    write_predictions(tmp_path / "predictions.csv", table)
    back = read_predictions(tmp_path / "predictions.csv", LABELS)
    for column in ("patient", "source", "view", "sex", "label", "digest", "image"):
        assert back[column].tolist() == table[column].tolist()
    assert (back[["normal", "pneumonia", "tuberculosis"]].to_numpy() == scores).all()
    assert back["calibrated"].dtype == bool


def test_an_empty_field_alone_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("image,patient,ward\na.png,,NA\nb.png, ,\n")
    table = read_text_table(path)
    assert table["patient"].isna().all()
    assert table["ward"].tolist()[0] == "NA"
    assert table["ward"].isna().tolist() == [False, True]
    assert read_own_table(path)["patient"].isna().tolist() == [True, False]


ROWS = [("image", "label", "patient"), ("a.png", "normal", "Ödön"), ("b.png", "pneumonia", "NA")]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects_of_other_programs(
    tmp_path: Path, encoding: str, separator: str, end: str
) -> None:
    path = tmp_path / "films.csv"
    text = end.join(separator.join(row) for row in ROWS) + end
    path.write_bytes(text.encode(encoding))
    table = read_text_table(path)
    assert tuple(table) == ROWS[0]
    assert [tuple(row) for row in table.itertuples(index=False)] == ROWS[1:]
    path.write_bytes(f"sep={separator}{end}{text}".encode(encoding))
    pd.testing.assert_frame_equal(read_text_table(path), table)


def test_a_quote_that_is_not_closed_takes_no_rows_with_it(tmp_path: Path) -> None:
    rows = [f"{number}.png,a,p{number}\n" for number in range(20000)]
    path = tmp_path / "films.csv"
    for few, close in ((20, ""), (20000, ""), (20, '"x, y"')):
        rows[9] = f"9.png,{close or 'a'},p9\n"
        rows[2] = '2.png,"a,p2\n'
        path.write_text("image,note,patient\n" + "".join(rows[:few]))
        with pytest.raises(CollectionError, match=r"films\.csv, line 4: a quote that opens there"):
            read_text_table(path)
    path.write_text('image,note\na.png,"good" film\nb.png,"two\nlines, ""so"""\nc.png,1" off\n')
    assert read_text_table(path)["note"].tolist() == ["good film", 'two\nlines, "so"', '1" off']


def test_empty_columns_and_lines_of_a_spreadsheet_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("image;label;;\na.png;normal;;\n;;;\n\nb.png;\n")
    table = read_text_table(path)
    assert list(table) == ["image", "label"]
    assert table["image"].tolist() == ["a.png", "b.png"]
    assert table["label"].isna().tolist() == [False, True]


def test_parquet_s_numbers_are_written_as_they_are_said(tmp_path: Path) -> None:
    path = tmp_path / "odd name"
    columns = {"image": ["a", "b"], "patient": [7.0, np.nan], "ward": [1, 2], "dose": [0.5, 1.0]}
    pd.DataFrame(columns).set_index("image").to_parquet(path)
    table = read_text_table(path)
    assert table["patient"].tolist()[0] == "7"
    assert table["image"].tolist() == ["a", "b"]
    assert table["ward"].tolist() == ["1", "2"]
    assert table["dose"].tolist() == ["0.5", "1.0"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04rest", r"is a spreadsheet \(XLSX or ODS\): save it as CSV"),
        (b"\x1f\x8brest", "is compressed"),
        (b"image,label\na.png,normal,x\n", "line 2: 3 fields, but the header names 2"),
        (b"image,image\na.png,b.png\n", "two columns 'image'"),
        (b"image\x00\x01\n\x00", "null characters|no table"),
        (b"\n\n", "is empty"),
        (b"PAR1 and no more", "no table that can be read"),
    ],
)
def test_what_is_no_table_gets_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(content)
    with pytest.raises(CollectionError, match=sentence) as caught:
        read_text_table(path)
    assert "\n" not in str(caught.value)


def test_parquet_without_its_extra_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, phantoms: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = phantoms.write(tmp_path / "films.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = r"\.parquet, a Parquet file, needs the extra 'parquet' \(pyarrow is missing\)"
    with pytest.raises(MissingExtraError, match=sentence):
        read_collection(there)
    with pytest.raises(MissingExtraError, match=sentence):
        phantoms.write(tmp_path / "other.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["films.parquet"]
