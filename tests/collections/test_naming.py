from pathlib import Path
from unicodedata import normalize

import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.readers import collect_and_count
from cxrlens.collections.tables import Words
from cxrlens.errors import CollectionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in "abcd":
        (tmp_path / "images" / f"{name}.png").write_bytes(name.encode())
    return tmp_path


def read(folder: Path, text: str, *said: str) -> Collection:
    path = folder / "films.csv"
    path.write_text(text)
    return read_collection(path, Words.of(said))


@pytest.mark.parametrize(
    "name",
    [
        " patient",
        "patient ",
        "Patient",
        "PATIENT",
        '" Patient "',
        ' "patient"',
        "\tpatient",
        "\ufeffpatient",
        "patient\xa0",
    ],
)
def test_a_known_column_is_known_in_any_case_and_with_space(folder: Path, name: str) -> None:
    films = read(
        folder, f"{name},Image,label\np,images/a.png, Normal\nq,images/b.png,PNEUMONIA\n"
    ).films
    assert list(films) == ["patient", "image", "label"]
    assert films["patient"].tolist() == ["p", "q"]
    assert films["label"].tolist() == ["normal", "pneumonia"]


@pytest.mark.parametrize(
    ("known", "name"),
    [
        *(
            ("patient", name)
            for name in ("PatientID", "patient_id", "Patient ID", "patients", "patiant")
        ),
        *(
            ("patient", name)
            for name in ("Pat.-Nr.", "subject_id", "Subject", "MRN", "pid", "pt_id")
        ),
        *(
            ("patient", name)
            for name in ("anonymized_patient_id", "Patientennummer", "person", "ID", "study_id")
        ),
        *(
            ("patient", name)
            for name in ("paciente", "ID del paciente", "Código paciente", "id_paciente")
        ),
        *(
            ("label", name)
            for name in ("lable", "labels", "Class", "class_name", "label_id", "Etiqueta")
        ),
        *(("split", name) for name in ("splits", "subset", "dataset_split")),
        *(
            ("image", name)
            for name in ("filename", "file_path", "Image Index", "img", "path", "imágenes")
        ),
    ],
)
def test_a_column_that_is_nearly_known_is_asked_for(folder: Path, known: str, name: str) -> None:
    values = {"image": "images/%s.png", "label": "normal", "patient": "p", "split": "train"}
    names = {column: name if column == known else column for column in values}
    rows = [",".join(values.values()) % film for film in "ab"]
    text = "\n".join([",".join(names.values()), *rows]) + "\n"
    with pytest.raises(CollectionError, match=f"no column '{known}'.*'{name}'; did you mean"):
        read(folder, text)
    films = read(folder, text, f"{known}={name}").films
    assert list(films) == list(values)
    if known != "image":
        assert list(read(folder, text, f"other={name}").films) == [
            "other" if column == known else column for column in values
        ]


@pytest.mark.parametrize(
    "name", ["Patient Age", "patient_sex", "ward", "inpatient", "finding", "notes"]
)
def test_other_columns_are_carried_unasked(folder: Path, name: str) -> None:
    assert list(read(folder, f"image,{name}\nimages/a.png,x\n").films) == ["image", name]


def test_an_id_of_each_film_is_no_patient(folder: Path) -> None:
    assert "id" in read(folder, "image,id\nimages/a.png,1\nimages/b.png,2\n").films


def test_words_of_the_user(folder: Path) -> None:
    text = (
        "image,Finding,who\nimages/a.png,TB,1\nimages/b.png, No  Finding,2\nimages/c.png,covid,3\n"
    )
    said = ("label=finding", "tb=tuberculosis", "no finding=normal", "COVID=", "patient=who")
    collection = read(folder, text, *said)
    assert collection.films["label"].tolist() == ["tuberculosis", "normal"]
    assert collection.films["patient"].tolist() == ["1", "2"]
    assert collection.left_out == {"covid": 1}
    with pytest.raises(CollectionError, match=r"label=Finding"):
        read(folder, text).need("label")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (("label",), "--map label: say"),
        (("=x",), "--map =x: say"),
        (("patient=who", "label=who"), "two meanings"),
        (("label=Nothing",), "no column 'Nothing' to call label, only image, Finding"),
        (
            ("label=Finding",),
            "unknown label 'TB'.*did you mean tuberculosis.*--map TB=tuberculosis",
        ),
        (("label=Finding", "TB=tuberculosis", "x=normal"), "no label or split 'x'"),
        (("image=Finding",), "would both be the column 'image'"),
        (("label=Finding", "TB="), "leaves every film out"),
    ],
)
def test_what_cannot_be_meant(folder: Path, said: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CollectionError, match=sentence):
        read(folder, "image,Finding\nimages/a.png,TB\n", *said)


@pytest.mark.parametrize(
    "before", ["", ".\\", "C:", "D:\\sets\\my set\\", "\\\\server\\share\\sets\\"]
)
def test_paths_from_windows(folder: Path, before: str) -> None:
    films = read(folder, f"image\n{before}images\\a.png\n{before}images\\b.png\n").films
    assert films["image"].tolist() == [str(folder / "images" / f"{name}.png") for name in "ab"]


@pytest.mark.parametrize(("written", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_may_be_one_sign_or_two(folder: Path, written: str, asked: str) -> None:
    name = normalize(written, "tórax ñ.png")
    (folder / name).write_bytes(b"film")
    films = read(folder, f"image\n{normalize(asked, 'tórax ñ.png')}\n").films
    assert films["image"].tolist() == [str(folder / name)]


def test_a_name_with_a_backslash_is_itself(folder: Path) -> None:
    (folder / "images\\a.png").write_bytes(b"other")
    films = read(folder, "image\nimages\\a.png\n").films
    assert films["image"].tolist() == [str(folder / "images\\a.png")]


def test_films_of_another_root_are_not_taken_for_ours(folder: Path) -> None:
    collection = read(folder, "image\nD:\\x\\images\\a.png\nE:\\y\\images\\b.png\n")
    assert [Path(image).name for image in collection.films["image"]] == ["a.png"]
    assert len(collection.missing) == 1


def test_a_missing_film_is_named_and_the_others_stay(folder: Path) -> None:
    collection = read(folder, "image,label\nimages/a.png,normal\nimages/z.png,normal\n")
    assert len(collection) == 1
    assert list(collection.missing) == [str(folder / "images" / "z.png")]
    assert "is not there" in collection.missing[str(folder / "images" / "z.png")]
    assert collect_and_count("csv", folder).collection.missing == collection.missing


def test_ages_with_a_comma_and_without_a_number(folder: Path) -> None:
    films = read(folder, "image;age\nimages/a.png;45,5\nimages/b.png;NA\nimages/c.png;\n").films
    assert films["age"].tolist()[0] == 45.5
    assert films["age"].isna().tolist() == [False, True, True]


def test_ages_as_dicom_writes_them(folder: Path) -> None:
    films = read(folder, "image,age\nimages/a.png,045Y\nimages/b.png,006M\nimages/c.png,7\n").films
    assert films["age"].tolist() == [45, 0.5, 7]
    with pytest.raises(CollectionError, match="row 2: age '45 años' is no number"):
        read(folder, "image,age\nimages/a.png,45 años\n")


def test_a_patient_written_in_two_ways_stands_in_one_split(folder: Path) -> None:
    text = (
        "image,label,patient,split\nimages/%s.png,normal,%s,train\nimages/%s.png,normal,%s,test\n"
    )
    for one, other in (("12", "12.0"), ("A-7", "a-7")):
        with pytest.raises(CollectionError, match=f"1 patients stand in .*, for example '{one}'"):
            read(folder, text % ("a", one, "b", other))
    assert read(folder, text % ("a", "7", "b", "007")).films["patient"].tolist() == ["7", "007"]
