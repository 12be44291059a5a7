from pathlib import Path

import pandas as pd
import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.errors import CollectionError, OutputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"")
    return tmp_path


def table(folder: Path, text: str) -> Path:
    path = folder / "films.csv"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_table_and_other_columns_are_carried(folder: Path) -> None:
    films = read_collection(
        table(
            folder, "image,label,patient,age,ward\na.png,Normal,007,61,B\nb.png, pneumonia,8,,C\n"
        )
    ).films
    assert films["image"].tolist() == [str(folder / "a.png"), str(folder / "b.png")]
    assert films["label"].tolist() == ["normal", "pneumonia"]
    assert films["patient"].tolist() == ["007", "8"]
    assert films["age"].tolist()[0] == 61
    assert films["ward"].tolist() == ["B", "C"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_written_elsewhere_the_films_are_still_found(folder: Path, suffix: str) -> None:
    first = read_collection(
        table(folder, "image,label,patient,fold\na.png,normal,007,1\nb.png,,8,\n")
    )
    path = first.write(folder / "sub" / f"films.{suffix}")
    second = read_collection(path)
    pd.testing.assert_frame_equal(first.films, second.films)
    with pytest.raises(OutputError):
        first.write(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("film,label\na.png,normal\n", "no column 'image'"),
        (
            "image,label\na.png,tuberculose\n",
            r"row 2: unknown label 'tuberculose'.*did you mean tuberculosis",
        ),
        ("image,label\ny.png,normal\nz.png,normal\n", r"2 of 2 images are not there.*y\.png"),
        ("image\na.png\na.png\n", "more than once"),
        (
            "image,patient,split\na.png,p,train\nb.png,p,test\n",
            "1 patients stand in more than one split",
        ),
        ("image,patient,fold\na.png,p,0\nb.png,p,1\n", "more than one fold"),
        ("image,split\na.png,training\n", "unknown split 'training'"),
        ("image,age\na.png,old\n", "age 'old'"),
        (
            "image,age\na.png,30\nb.png,-5\n",
            "row 3: age '-5' is no number .* leave the field empty",
        ),
        ("image,age\na.png,1e9\n", "age '1e9'"),
        ("image,fold\na.png,0.5\n", "fold"),
        ("image\n", "lists no film"),
        ("", "no table that can be read"),
        ("image\n,\n", "no table|no image|lists no film"),
    ],
)
def test_broken_promises_get_one_sentence(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(CollectionError, match=sentence) as caught:
        read_collection(table(folder, text))
    assert "\n" not in str(caught.value)


def test_a_missing_label_column_is_named(folder: Path) -> None:
    collection = read_collection(table(folder, "image,diagnosis\na.png,normal\n"))
    with pytest.raises(CollectionError, match="no column 'label', only image, diagnosis"):
        collection.need("label")


def test_a_missing_label_is_counted(folder: Path) -> None:
    collection = read_collection(table(folder, "image,label\na.png,normal\nb.png,\n"))
    with pytest.raises(CollectionError, match=r"1 films have no label, the first is .*b\.png"):
        collection.need("label")


def test_counts_are_in_the_classes_order() -> None:
    films = pd.DataFrame({"label": ["tuberculosis", "normal", "normal"]})
    assert list(Collection(films).counts().items()) == [("normal", 2), ("tuberculosis", 1)]


def test_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="there is no file"):
        read_collection(tmp_path / "none.csv")


def test_a_table_whose_labels_are_all_missing_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "films.csv").write_text("image,label,split\na.png,,\n")
    films = read_collection(tmp_path / "films.csv").films
    assert films[["label", "split"]].isna().all().all()
