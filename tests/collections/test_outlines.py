from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection, read_boxes, read_lungs
from cxrlens.errors import CollectionError, OutputError


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.full((60, 90), 100, np.uint8))
    return path


def boxes(folder: Path, *rows: str) -> Path:
    (folder / "boxes.csv").write_text("\n".join(["image,finding,x0,y0,x1,y1", *rows]) + "\n")
    return folder / "boxes.csv"


def lungs(folder: Path, mask: np.ndarray) -> Path:
    cv2.imwrite(str(folder / "mask.png"), mask)
    (folder / "lungs.csv").write_text("image,mask\nimages/a.png,mask.png\n")
    return folder / "lungs.csv"


def test_boxes_keep_their_films_wherever_the_table_goes(film: Path, tmp_path: Path) -> None:
    read = read_boxes(
        boxes(tmp_path, "images/a.png,Opacity,0,0.1,0.5,1", "images/a.png,,.2,.2,.3,.3")
    )
    assert read.table["image"].tolist() == [str(film)] * 2
    assert read.table[["x0", "y0", "x1", "y1"]].to_numpy()[0] == pytest.approx([0, 0.1, 0.5, 1])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    again = read_boxes(read.write(tmp_path / "deep" / "er" / "mine.csv"))
    pd.testing.assert_frame_equal(again.table, read.table)
    with pytest.raises(OutputError, match="exists already"):
        read.write(tmp_path / "deep" / "er" / "mine.csv")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "images/a.png,x,0.5,0.1,1.2,0.4",
            r"boxes\.csv, row 3: the box x0 0\.5, .*outside its film",
        ),
        ("images/a.png,x,-0.1,0.1,0.2,0.4", "row 3: .*outside its film"),
        ("images/a.png,x,0.5,0.1,0.5,0.4", "row 3: .*no area"),
        ("images/a.png,x,0.5,,0.6,0.4", "row 3: "),
        ("images/a.png,x,0.5,some,0.6,0.4", "row 3: "),
        (",x,0,0,1,1", "1 rows have no image"),
    ],
)
def test_boxes_at_fault(film: Path, tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(CollectionError, match=sentence) as caught:
        read_boxes(boxes(tmp_path, "images/a.png,x,0,0,1,1", row))
    assert "\n" not in str(caught.value)


def test_tables_that_are_none(film: Path, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"no file .*gone\.csv"):
        read_boxes(tmp_path / "gone.csv")
    (tmp_path / "other.csv").write_text("image,left\na,1\n")
    with pytest.raises(CollectionError, match=r"no column 'x0', only image, left"):
        read_boxes(tmp_path / "other.csv")
    with pytest.raises(CollectionError, match="has no row"):
        read_boxes(boxes(tmp_path))
    (tmp_path / "other.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(CollectionError, match=r"other\.csv"):
        read_lungs(tmp_path / "other.csv")


def only(*images: Path) -> Collection:
    return Collection(pd.DataFrame({"image": [str(image) for image in images]}))


def test_an_unknown_film_is_refused_and_a_missing_one_of_the_collection_is_not(
    film: Path, tmp_path: Path
) -> None:
    read = read_boxes(boxes(tmp_path, "images/a.png,x,0,0,1,1", "images/gone.png,x,0,0,1,1"))
    gone = str(tmp_path / "images" / "gone.png")
    with pytest.raises(
        CollectionError, match=r"boxes\.csv names 1 films .*nor on disk, .*gone\.png"
    ):
        read.of(only(film), "boxes.csv")
    missing = replace(only(film), missing={gone: "is not there"})
    assert len(read.of(missing, "boxes.csv")) == 2


def test_a_mask_that_is_not_there(film: Path, tmp_path: Path) -> None:
    table = lungs(tmp_path, np.full((60, 90), 255, np.uint8))
    (tmp_path / "mask.png").unlink()
    with pytest.raises(CollectionError, match=r"names 1 masks that are not there, .*mask\.png"):
        read_lungs(table).of(only(film), "lungs.csv")


def test_boxes_of_a_german_spreadsheet(film: Path, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("image;finding;x0;y0;x1;y1\nimages/a.png;x;0,1;0,2;0,5;1\n")
    assert read_boxes(tmp_path / "b.csv").table[["x0", "y0", "x1", "y1"]].to_numpy()[
        0
    ] == pytest.approx([0.1, 0.2, 0.5, 1])


def test_rows_of_other_films_are_passed_over_but_not_all_of_them(
    film: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "images" / "b.png"), np.full((60, 90), 100, np.uint8))
    read = read_boxes(boxes(tmp_path, "images/a.png,x,0,0,1,1", "images/b.png,x,0,0,1,1"))
    assert len(read.of(only(film), "boxes.csv")) == 1
    with pytest.raises(CollectionError, match=r"none of the 2 rows of boxes\.csv is of a film"):
        read.of(only(tmp_path / "images" / "c.png"), "boxes.csv")


def test_a_mask_may_be_smaller_than_its_film(film: Path, tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:10] = 255
    read = read_lungs(lungs(tmp_path, mask))
    assert np.array_equal(read.mask(0, (60, 90)), mask > 0)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (
            np.full((60, 60), 255, np.uint8),
            r"mask\.png has 60 x 60 pixels, its film .*a\.png 90 x 60",
        ),
        (np.zeros((60, 90), np.uint8), r"mask\.png is empty"),
    ],
)
def test_masks_at_fault(film: Path, tmp_path: Path, mask: np.ndarray, sentence: str) -> None:
    with pytest.raises(CollectionError, match=sentence):
        read_lungs(lungs(tmp_path, mask)).mask(0, (60, 90))


def test_a_broken_mask(film: Path, tmp_path: Path) -> None:
    table = lungs(tmp_path, np.zeros((4, 4), np.uint8))
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(CollectionError, match="lung mask that cannot be read"):
        read_lungs(table).mask(0, (60, 90))


def test_phantoms_tell_where_their_lesions_are(phantoms: Collection, phantom_table: Path) -> None:
    read = read_boxes(phantom_table.parent / "boxes.csv")
    films = phantoms.films.set_index("image")["label"]
    with_boxes = set(read.table["image"])
    assert with_boxes == set(films.index[films != "normal"])
    assert (films.loc[read.table["image"]].to_numpy() == read.table["finding"]).all()
