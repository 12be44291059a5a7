from pathlib import Path

import pytest

from cxrlens.collections.readers import collect, collect_and_count
from cxrlens.collections.tables import Words
from cxrlens.errors import CollectionError
from cxrlens.phantoms import write_phantoms

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
    lines = (CXR / "collection.csv").read_text().splitlines()
    assert len(collection) == len(lines) - 1
    labels = [line.split(",")[1] for line in lines[1:]]
    assert collection.counts() == {name: labels.count(name) for name in collection.counts()}
    assert list(collection.counts()) == ["normal", "pneumonia", "tuberculosis"]


def test_what_a_folder_of_classes_leaves_out_is_named_and_counted(tmp_path: Path) -> None:
    kinds = ("a.png", "b.JFIF", "c.bmp", "d.webp", "e.jpe", "f.TIF", "g.dicom", "h.IMA")
    for name in kinds:
        film(tmp_path / "Normal" / name)
    (tmp_path / "Normal" / "scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("Normal/x.gif", "Normal/y.gif", "Normal/deep/notes.txt", "covid/a.png"):
        film(tmp_path / name)
    for name in ("covid/b.png", "beside.png", "not films/readme.txt", ".hidden/a.png"):
        film(tmp_path / name)
    found = collect_and_count("folders", tmp_path)
    names = [Path(image).name for image in found.collection.films["image"]]
    assert sorted(names) == sorted([*kinds, "scan"])
    assert found.left_out == {
        "in covid, which names no class: say --map covid=LABEL": 2,
        "beside the classes' folders, in none of them": 1,
        ".gif in the classes' folders: no kind of film that can be read": 2,
        ".txt in the classes' folders: no kind of film that can be read": 1,
    }
    films = collect("folders", tmp_path, words=Words.of(["covid=pneumonia"])).films
    assert films["label"].value_counts().to_dict() == {"normal": 9, "pneumonia": 2}
    left_out = collect_and_count("folders", tmp_path, words=Words.of(["Covid="])).left_out
    assert left_out["in covid, by --map"] == 2
    with pytest.raises(CollectionError, match="no subfolder 'flu'"):
        collect("folders", tmp_path, words=Words.of(["flu=pneumonia"]))
    with pytest.raises(CollectionError, match="only csv and folders take --map"):
        collect("kermany", tmp_path, words=Words.of(["covid="]))
