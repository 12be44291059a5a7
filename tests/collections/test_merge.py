from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.collections.combine import merge
from cxrlens.collections.readers import LAYOUTS
from cxrlens.errors import CollectionError


def table(path: Path, **columns: object) -> Path:
    """Write a collection whose films are files of their own, each with bytes of its own."""
    films = pd.DataFrame(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    if "image" not in films:
        films["image"] = [f"{path.stem}-{number}.png" for number in range(len(films))]
    for image in films["image"]:
        if not (path.parent / image).exists():
            (path.parent / image).write_bytes(f"film {path} {image}".encode())
    films.to_csv(path, index=False)
    return path


def test_every_film_keeps_its_source(tmp_path: Path) -> None:
    first = table(tmp_path / "a" / "first.csv", source=["x", "y"], label=["normal", "pneumonia"])
    second = table(tmp_path / "b" / "second.csv", label=["normal", "tuberculosis"], age=[30, 40])
    merged = merge([first, second])
    films = merged.collection.films
    assert films["source"].tolist() == ["x", "y", "second", "second"]
    assert films["label"].tolist() == ["normal", "pneumonia", "normal", "tuberculosis"]
    assert np.isnan(films["age"].iloc[0])
    assert merged.notes == ()
    written = merged.collection.write(tmp_path / "all.csv")
    assert pd.read_csv(written)["image"].tolist()[0] == "a/first-0.png"


def test_one_patient_id_under_two_sources_is_refused(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["x", "x"], patient=["7", "8"])
    second = table(tmp_path / "second.csv", source=["y", "y"], patient=["8", "9"])
    with pytest.raises(CollectionError, match=r"1 patients .* '8' under x and y: if they are diff"):
        merge([first, second])
    other = table(tmp_path / "other.csv", source=["y"], patient=["8.0"])
    with pytest.raises(CollectionError, match=r"1 patients .* '8' under x and y"):
        merge([first, other])


def test_tables_without_sources_count_as_two(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", patient=["7"])
    second = table(tmp_path / "second.csv", patient=["7"])
    with pytest.raises(CollectionError, match="under first and second"):
        merge([first, second])


def test_one_source_in_two_tables_may_share_patients(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["x"], patient=["7"])
    second = table(tmp_path / "second.csv", source=["x"], patient=["7"])
    assert merge([first, second]).collection.films["patient"].tolist() == ["7", "7"]


def test_a_patient_of_two_hospitals_in_one_table_is_no_clash(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["x", "y"], patient=["7", "7"])
    second = table(tmp_path / "second.csv", source=["z"], patient=["8"])
    assert len(merge([first, second]).collection) == 3


def test_a_film_without_a_patient_becomes_one_of_its_own(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", patient=["7"])
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    second = table(tmp_path / "second.csv", image=["b/a.png", "c/a.png"])
    assert merge([first, second]).collection.films["patient"].tolist() == [
        "7",
        "second-a",
        "second-a#2",
    ]


def test_an_invented_patient_is_nobody_else(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["A", "A"], patient=["a-F20", "a-f20#2"])
    second = table(tmp_path / "second.csv", image=["f20.png", "F20.png"], source=["A", "A"])
    merged = merge([first, second]).collection.films["patient"]
    assert merged.tolist() == ["a-F20", "a-f20#2", "A-f20#3", "A-F20#4"]


def test_the_same_file_in_two_tables_is_refused(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", image=["a.png", "b.png"])
    second = table(tmp_path / "second.csv", image=["b.png", "c.png"])
    with pytest.raises(CollectionError, match=r"1 films are in two tables, the first is .*b\.png"):
        merge([first, second])


def test_a_copy_of_a_file_in_two_tables_is_refused(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", image=["a.png"])
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    second = table(tmp_path / "second.csv", image=["copy.png"])
    with pytest.raises(CollectionError, match=r"a\.png .* and .*copy\.png .* are the same film"):
        merge([first, second])


def test_copies_within_one_table_are_that_tables_own_matter(tmp_path: Path) -> None:
    for name in ("a.png", "copy.png"):
        (tmp_path / name).write_bytes(b"one")
    (tmp_path / "c.png").write_bytes(b"two")  # as long, so that bytes are compared
    first = table(tmp_path / "first.csv", image=["a.png", "copy.png"])
    second = table(tmp_path / "second.csv", image=["c.png"])
    assert len(merge([first, second]).collection) == 3


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["x"], patient=["7"], split=["train"])
    second = table(tmp_path / "second.csv", source=["x"], patient=["7"], split=["test"])
    with pytest.raises(CollectionError, match="more than one split"):
        merge([first, second])


def test_sets_that_share_films_are_told(tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", source=["montgomery", "shenzhen"])
    second = table(tmp_path / "second.csv", source=["qatar"], split=["train"])
    notes = merge([first, second]).notes
    assert [note.partition(" share")[0] for note in notes[:2]] == [
        "montgomery and qatar",
        "qatar and shenzhen",
    ]
    assert notes[2].startswith("2 films have no split")


def test_one_table_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="at least two"):
        merge([table(tmp_path / "first.csv", label=["normal"])])


def test_the_verbs(tmp_path: Path) -> None:
    for label in ("normal", "pneumonia"):
        for place in ("one", "two"):
            folder = tmp_path / place / label
            folder.mkdir(parents=True)
            (folder / "a.png").write_bytes(f"{label} {place}".encode())
    run = CliRunner().invoke
    for place in ("one", "two"):
        made = run(
            app,
            ["collect", "folders", str(tmp_path / place), "-o", str(tmp_path / f"{place}.csv")],
        )
        assert made.exit_code == 0
    tables = [str(tmp_path / "one.csv"), str(tmp_path / "two.csv")]
    merged = run(app, ["merge", *tables, "-o", str(tmp_path / "all.csv")])
    assert merged.exit_code == 0
    assert "4 films (2 normal, 2 pneumonia)" in merged.stdout
    assert pd.read_csv(tmp_path / "all.csv")["source"].tolist() == ["one", "one", "two", "two"]


def test_the_help_names_every_layout() -> None:
    said = CliRunner().invoke(app, ["collect", "--help"]).stdout
    assert [name for name in LAYOUTS if name not in said] == []


def test_boxes_and_lungs_beside_the_tables_come_along(tmp_path: Path) -> None:
    first = table(tmp_path / "a" / "first.csv", label=["normal", "tuberculosis"])
    second = table(tmp_path / "b" / "second.csv", label=["pneumonia"])
    third = table(tmp_path / "c" / "third.csv", label=["normal"])
    for path, image in ((first, "first-1.png"), (second, "second-0.png")):
        boxes = path.with_name(f"{path.stem}-boxes.csv")
        boxes.write_text(f"image,finding,x0,y0,x1,y1\n{image},Lesion,0.1,0.2,0.3,0.4\n")
    (tmp_path / "c" / "third-lungs.csv").write_text("image,mask\nthird-0.png,mask.png\n")
    out = tmp_path / "all.csv"
    said = CliRunner().invoke(app, ["merge", *map(str, (first, second, third)), "-o", str(out)])
    assert said.exit_code == 0
    boxes = pd.read_csv(tmp_path / "all-boxes.csv")
    assert boxes["image"].tolist() == ["a/first-1.png", "b/second-0.png"]
    assert boxes["x1"].tolist() == [0.3, 0.3]
    lungs = pd.read_csv(tmp_path / "all-lungs.csv")
    assert lungs.to_numpy().tolist() == [["c/third-0.png", "c/mask.png"]]
    again = CliRunner().invoke(app, ["merge", *map(str, (first, second)), "-o", str(out)])
    assert again.exit_code != 0
