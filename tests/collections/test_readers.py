from pathlib import Path

import pytest

from cxrlens.collections.phantom import write_phantoms
from cxrlens.collections.readers import collect
from cxrlens.errors import CollectionError

CXR = Path(__file__).parents[2].parent / "shared" / "data" / "cxr"


def film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"film")


def test_a_folder_a_class(tmp_path: Path) -> None:
    for name in (
        "NORMAL/a.png",
        "NORMAL/deep/b.jpeg",
        "Pneumonia/a.png",
        "TB/c.dcm",
        "TB/notes.txt",
    ):
        film(tmp_path / name)
    films = collect("folders", tmp_path).films
    assert films["label"].tolist() == ["normal", "normal", "pneumonia", "tuberculosis"]
    assert films["image"].iloc[1] == str(tmp_path / "NORMAL/deep/b.jpeg")


def test_a_folder_without_classes(tmp_path: Path) -> None:
    film(tmp_path / "images" / "a.png")
    with pytest.raises(CollectionError, match="no subfolder named like a class"):
        collect("folders", tmp_path)


def test_an_empty_class(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    with pytest.raises(CollectionError, match="normal holds no film"):
        collect("folders", tmp_path)


def test_the_report_layout_takes_acquisitions_from_names(tmp_path: Path) -> None:
    for name in ("P00001_1.png", "P00001_2.jpg", "P00002_1.png"):
        film(tmp_path / "images" / name)
    (tmp_path / "labels.csv").write_text(
        "image,label,patient\nimages/P00001_1.png,normal,H1\nimages/P00001_2.jpg,normal,H1\n"
        "images/P00002_1.png,tuberculosis,H1\n"
    )
    films = collect("report", tmp_path).films
    assert films["acquisition"].tolist() == ["P00001", "P00001", "P00002"]
    assert films["patient"].tolist() == ["H1", "H1", "H1"]


def test_the_report_layout_needs_its_names(tmp_path: Path) -> None:
    film(tmp_path / "images" / "a.png")
    (tmp_path / "labels.csv").write_text("image,label\nimages/a.png,normal\n")
    with pytest.raises(CollectionError, match=r"a\.png: its name does not read ACQUISITION_COPY"):
        collect("report", tmp_path)


def test_a_folder_with_a_table(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", 4, side=64)
    assert len(collect("csv", tmp_path / "set")) == 4
    assert len(collect("csv", tmp_path / "set" / "films.csv")) == 4


def test_an_unknown_layout_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="did you mean folders"):
        collect("folder", tmp_path)


@pytest.mark.skipif(not CXR.exists(), reason="the shared radiographs are not here")
def test_the_shared_collection() -> None:
    collection = collect("csv", CXR)
    assert len(collection) == 10493
    assert collection.counts() == {"normal": 3663, "pneumonia": 3712, "tuberculosis": 3118}
