"""Public sets, each as a small tree in its published layout."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from cxrlens.collections.readers import LAYOUTS, collect, collect_and_count
from cxrlens.collections.readers.folders import years
from cxrlens.collections.readers.published import ADULT, reading_of, youngest
from cxrlens.errors import CollectionError
from cxrlens.phantoms import draw_phantom
from cxrlens.radiographs.read import read_radiograph

DX = "1.2.840.10008.5.1.4.1.1.1.1"


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.uint8]:
    return draw_phantom(1, "normal", side=64).film


@pytest.fixture
def lay(tmp_path: Path, drawn: NDArray[np.uint8]):
    """Lay films down at these paths of a folder."""

    def films(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), drawn)
        return tmp_path

    return films


def save_dicom(path: Path, pixels: NDArray[np.uint8], **tags: object) -> None:
    dataset = Dataset()
    dataset.SOPClassUID = DX
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = "1.2.3"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def by_name(films: pd.DataFrame) -> pd.DataFrame:
    return films.set_index(films["image"].map(lambda image: Path(image).name))


def test_kermany_knows_the_patient_from_the_name(lay) -> None:
    root = lay(
        "chest_xray/train/PNEUMONIA/person23_bacteria_78.jpeg",
        "chest_xray/train/PNEUMONIA/person23_virus_55.jpeg",
        "chest_xray/train/PNEUMONIA/person2_virus_5.jpeg",
        "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
        "chest_xray/train/NORMAL/IM-0115-0001-0002.jpeg",
        "chest_xray/test/NORMAL/NORMAL2-IM-0115-0001.jpeg",
        "chest_xray/test/PNEUMONIA/BACTERIA-1135262-0004.jpeg",
        "chest_xray/val/NORMAL/NORMAL-1049278-0001.jpeg",
        "chest_xray/val/PNEUMONIA/of another form.jpeg",
    )
    films = by_name(collect("kermany", root).films)
    assert films["patient"].to_dict() == {
        "person23_bacteria_78.jpeg": "kermany-person23",
        "person23_virus_55.jpeg": "kermany-person23",
        "person2_virus_5.jpeg": "kermany-person2",
        "IM-0115-0001.jpeg": "kermany-IM-0115",
        "IM-0115-0001-0002.jpeg": "kermany-IM-0115",
        "NORMAL2-IM-0115-0001.jpeg": "kermany-NORMAL2-IM-0115",
        "BACTERIA-1135262-0004.jpeg": "kermany-1135262",
        "NORMAL-1049278-0001.jpeg": "kermany-1049278",
        "of another form.jpeg": "kermany-of another form",
    }
    assert films.loc["person2_virus_5.jpeg", "finding"] == "virus"
    assert films.loc["BACTERIA-1135262-0004.jpeg", "finding"] == "bacteria"
    assert films.loc["BACTERIA-1135262-0004.jpeg", "published_split"] == "test"
    assert films["label"].value_counts().to_dict() == {"pneumonia": 5, "normal": 4}
    assert "split" not in films


def test_kermany_takes_the_outer_of_two_nested_copies(lay) -> None:
    names = ("train/NORMAL/IM-0115-0001.jpeg", "train/PNEUMONIA/person1_bacteria_1.jpeg")
    root = lay(*(f"chest_xray/{n}" for n in names), *(f"chest_xray/chest_xray/{n}" for n in names))
    assert len(collect("kermany", root)) == 2


def test_a_set_that_lies_there_twice_is_refused(lay) -> None:
    names = ("train/NORMAL/IM-0115-0001.jpeg", "train/PNEUMONIA/person1_bacteria_1.jpeg")
    root = lay(*(f"a/{n}" for n in names), *(f"b/{n}" for n in names))
    with pytest.raises(CollectionError, match="twice, in a and b"):
        collect("kermany", root)


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)


def test_nih_leaves_out_and_counts(lay) -> None:
    root = lay(
        "images_001/images/00000001_000.png",
        "images_001/images/00000001_001.png",
        "images_002/images/00001336_000.png",
        "images_002/images/00001400_000.png",
    )
    (root / "Data_Entry_2017.csv").write_text(
        NIH_HEADER
        + "00000001_000.png,No Finding,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        + "00000001_001.png,Effusion|Pneumonia,1,1,58,M,AP,2682,2749,0.143,0.143,\n"
        + "00001336_000.png,Pneumonia,0,1336,411,F,PA,2682,2749,0.143,0.143,\n"
        + "00001400_000.png,Cardiomegaly,0,1400,60,F,PA,2682,2749,0.143,0.143,\n"
        + "00002000_000.png,No Finding,0,2000,60,F,PA,2682,2749,0.143,0.143,\n"
    )
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png")
    (root / "test_list.txt").write_text("00001336_000.png")
    collected = collect_and_count("nih", root)
    films = by_name(collected.collection.films)
    assert films["label"].tolist() == ["normal", "pneumonia", "pneumonia"]
    assert films["patient"].tolist() == ["nih-00001", "nih-00001", "nih-01336"]
    assert films["view"].tolist() == ["PA", "AP", "PA"]
    assert films["sex"].tolist() == ["M", "M", "F"]
    assert films["age"].tolist()[:2] == [58, 58]
    assert math.isnan(films["age"].iloc[2])
    assert films["published_split"].tolist() == ["train_val", "train_val", "test"]
    assert films.loc["00000001_001.png", "finding"] == "Effusion|Pneumonia"
    assert dict(collected.left_out) == {
        "no file in this folder": 1,
        "neither 'No Finding' nor pneumonia": 1,
    }


def test_nih_reads_the_table_as_it_was_revised(lay) -> None:
    root = lay("images/00000001_000.png")
    header = NIH_HEADER.replace("Gender", "Sex").rstrip(",\n") + "\n"
    (root / "Data_Entry_2017_v2020.csv").write_text(
        header + "00000001_000.png,No Finding,0,1,57,M,PA,2682,2749,0.143,0.143\n"
    )
    films = collect("nih", root).films
    assert films[["age", "sex"]].values.tolist() == [[57, "M"]]


def test_nih_with_a_comma_at_the_end_of_lines_only(lay) -> None:
    root = lay("images/00000001_000.png")
    (root / "Data_Entry_2017.csv").write_text(
        NIH_HEADER.rstrip(",\n") + "\n00000001_000.png,No Finding,0,1,57,M,PA,2682,2749,0.1,0.1,\n"
    )
    films = collect("nih", root).films
    assert films[["patient", "age", "view"]].values.tolist() == [["nih-00001", 57, "PA"]]


def test_nih_without_its_films(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text(
        NIH_HEADER + "00000001_000.png,No Finding,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
    )
    with pytest.raises(CollectionError, match="unpack the archives"):
        collect("nih", tmp_path)


def test_a_table_of_another_set(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text("name,finding\na.png,none\n")
    with pytest.raises(CollectionError, match="no column 'Image Index'"):
        collect("nih", tmp_path)


def lay_rsna(root: Path, pixels: NDArray[np.uint8]) -> Path:
    for name, age in (("aaa", "51"), ("bbb", "007"), ("ccc", "40")):
        save_dicom(
            root / "stage_2_train_images" / f"{name}.dcm",
            pixels,
            PatientID=name,
            PatientAge=age,
            PatientSex="F",
            ViewPosition="AP",
        )
    (root / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\naaa,264,152,213,379,1\naaa,562,152,256,453,1\n"
        "bbb,,,,,0\nccc,,,,,0\nddd,,,,,0\n"
    )
    (root / "stage_2_detailed_class_info.csv").write_text(
        "patientId,class\naaa,Lung Opacity\naaa,Lung Opacity\nbbb,Normal\n"
        "ccc,No Lung Opacity / Not Normal\nddd,Normal\n"
    )
    return root


# The challenge writes ages without a unit, which DICOM does not allow.
@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_rsna(tmp_path: Path, drawn: NDArray[np.uint8]) -> None:
    collected = collect_and_count("rsna", lay_rsna(tmp_path, drawn))
    films = collected.collection.films
    assert films["label"].tolist() == ["pneumonia", "normal"]
    assert films["patient"].tolist() == ["rsna-aaa", "rsna-bbb"]
    assert films["age"].tolist() == [51, 7]
    assert films["view"].tolist() == ["AP", "AP"]
    boxes = collected.boxes.table
    assert [Path(image).name for image in boxes["image"]] == ["aaa.dcm", "aaa.dcm"]
    assert boxes[["x0", "y0", "x1", "y1"]].to_numpy() * 1024 == pytest.approx(
        np.array([[264, 152, 477, 531], [562, 152, 818, 605]])
    )
    assert dict(collected.left_out) == {
        "neither normal nor a lung opacity": 1,
        "no readable file in this folder": 1,
    }


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_rsna_takes_the_patient_from_the_list_of_names_at_nih(
    tmp_path: Path, drawn: NDArray[np.uint8]
) -> None:
    root = lay_rsna(tmp_path, drawn)
    mapping = root / "pneumonia-challenge-dataset-mappings_2018.json"
    mapping.write_text(json.dumps([{"subset_img_id": "bbb", "img_id": "00000013_005.png"}]))
    films = collect("rsna", root).films
    assert films["patient"].tolist() == ["rsna-aaa", "nih-00013"]
    assert films["nih_image"].iloc[1] == "00000013_005.png"
    mapping.write_text(json.dumps([{"id": 1}]))
    with pytest.raises(CollectionError, match="is not RSNA's list"):
        collect("rsna", root)


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_rsna_tables_of_two_stages(tmp_path: Path, drawn: NDArray[np.uint8]) -> None:
    root = lay_rsna(tmp_path, drawn)
    table = root / "stage_2_train_labels.csv"
    table.write_text(table.read_text().replace("bbb,,,,,0", "bbb,1,1,2,2,1"))
    with pytest.raises(CollectionError, match="contradict each other on bbb"):
        collect("rsna", root)


def test_nlm_reads_both_hospitals_and_no_mask(lay) -> None:
    root = lay(
        "MontgomerySet/CXR_png/MCUCXR_0001_0.png",
        "MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png",
        "MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png",
        "ChinaSet_AllFiles/mask/CHNCXR_0327_1_mask.png",
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png",
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0327_1.png",
    )
    texts = {
        "MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt": (
            "Patient's Sex: F\r\nPatient's Age: 027Y\r\nnormal\r\n"
        ),
        "ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0327_1.txt": (
            "male 45yrs\n1.bilateral PTB\n2.pleurisy"
        ),
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    films = by_name(collect("nlm", root).films)
    assert films["patient"].to_dict() == {
        "CHNCXR_0001_0.png": "shenzhen-0001",
        "CHNCXR_0327_1.png": "shenzhen-0327",
        "MCUCXR_0001_0.png": "montgomery-0001",
    }
    assert films["label"].tolist() == ["normal", "tuberculosis", "normal"]
    assert films["source"].tolist() == ["shenzhen", "shenzhen", "montgomery"]
    assert films["sex"].fillna("").tolist() == ["", "M", "F"]
    assert films["age"].tolist()[1:] == [45, 27]
    assert films.loc["CHNCXR_0327_1.png", "finding"] == "1.bilateral PTB 2.pleurisy"
    assert films.loc["MCUCXR_0001_0.png", "finding"] == "normal"
    lungs = collect_and_count("nlm", root).lungs.table
    assert [Path(mask).parts[-2:] for mask in lungs["mask"]] == [
        ("mask", "CHNCXR_0327_1_mask.png"),
        ("leftMask", "MCUCXR_0001_0.png"),
        ("rightMask", "MCUCXR_0001_0.png"),
    ]
    assert all(Path(image).parent.name == "CXR_png" for image in lungs["image"])


def test_nlm_twice(lay) -> None:
    root = lay("a/CXR_png/MCUCXR_0001_0.png", "b/CXR_png/MCUCXR_0001_0.png")
    with pytest.raises(CollectionError, match=r"holds MCUCXR_0001_0\.png twice"):
        collect("nlm", root)


@pytest.mark.parametrize(
    ("text", "age", "sex", "finding"),
    [
        ("femal 32yrs\nnormal", 32, "F", "normal"),
        ("male 16month\nnormal", 16 / 12, "M", "normal"),
        ("female 64days\nnormal", 64 / 365.25, "F", "normal"),
        ("Female , 24yrs \n\nright PTB", 24, "F", "right PTB"),
        ("male45yrs\nSTB", 45, "M", "STB"),
        ("normal", math.nan, None, "normal"),
        ("", math.nan, None, None),
    ],
)
def test_readings_as_they_are_spelled(
    tmp_path: Path, text: str, age: float, sex: str | None, finding: str | None
) -> None:
    (tmp_path / "a.txt").write_text(text)
    reading = reading_of(tmp_path / "a.txt")
    assert reading["age"] == pytest.approx(age, nan_ok=True)
    assert (reading["sex"], reading["finding"]) == (sex, finding)


def test_tbx11k_leaves_out_what_has_no_class_or_no_label(lay) -> None:
    root = lay(
        "TBX11K/imgs/health/h0001.png",
        "TBX11K/imgs/health/h0002.png",
        "TBX11K/imgs/tb/tb0003.png",
        "TBX11K/imgs/sick/s0001.png",
        "TBX11K/imgs/test/test_0001.png",
        "TBX11K/imgs/extra/mc+shenzhen/train/CHNCXR_0001_0.png",
    )
    (root / "TBX11K/lists").mkdir()
    (root / "TBX11K/lists/all_train.txt").write_text("health/h0001.png\nextra/da+db/train/n1.png\n")
    (root / "TBX11K/lists/TBX11K_val.txt").write_text("imgs/tb/tb0003.png\n")
    collected = collect_and_count("tbx11k", root)
    films = by_name(collected.collection.films)
    assert films["label"].to_dict() == {
        "h0001.png": "normal",
        "h0002.png": "normal",
        "tb0003.png": "tuberculosis",
    }
    assert films["published_split"].fillna("").tolist() == ["train", "", "val"]
    assert films["patient"].is_unique
    assert sorted(collected.left_out.values()) == [1, 1, 1]


def test_tbx11k_names_the_kinds_of_boxes(lay) -> None:
    root = lay("imgs/health/h0001.png", "imgs/tb/tb0003.png", "imgs/tb/tb0004.png")
    boxes = root / "annotations" / "json" / "TBX11K_trainval.json"
    boxes.parent.mkdir(parents=True)
    coco = {
        "categories": [
            {"id": 1, "name": "ActiveTuberculosis"},
            {"id": 2, "name": "ObsoletePulmonaryTuberculosis"},
        ],
        "images": [
            {"id": 5, "file_name": "tb/tb0003.png", "width": 512, "height": 256},
            {"id": 6, "file_name": "tb/tb0004.png", "width": 512, "height": 512},
            {"id": 7, "file_name": "tb/tb0099.png", "width": 512, "height": 512},
        ],
        "annotations": [
            {"image_id": 5, "category_id": 2, "bbox": [128, 64, 256, 64]},
            {"image_id": 5, "category_id": 1, "bbox": [0, 0, 51.2, 25.6]},
            {"image_id": 5, "category_id": 1, "bbox": [448, 0, 70, 128]},
            {"image_id": 7, "category_id": 1, "bbox": [1, 1, 2, 2]},
        ],
    }
    boxes.write_text(json.dumps(coco))
    assert by_name(collect("tbx11k", root).films)["finding"].fillna("").to_dict() == {
        "h0001.png": "",
        "tb0003.png": "ActiveTuberculosis|ObsoletePulmonaryTuberculosis",
        "tb0004.png": "",
    }
    table = collect_and_count("tbx11k", root).boxes.table
    assert {Path(image).name for image in table["image"]} == {"tb0003.png"}
    assert (
        table["finding"].tolist() == ["ObsoletePulmonaryTuberculosis"] + ["ActiveTuberculosis"] * 2
    )
    assert table[["x0", "y0", "x1", "y1"]].to_numpy() == pytest.approx(
        # The last one is published reaching out of the film.
        np.array([[0.25, 0.25, 0.75, 0.5], [0, 0, 0.1, 0.1], [0.875, 0, 1, 0.5]])
    )
    boxes.write_text("[]")
    with pytest.raises(CollectionError, match="no COCO file"):
        collect("tbx11k", root)


def test_qatar(lay) -> None:
    root = lay(
        "TB_Chest_Radiography_Database/Normal/Normal-1.png",
        "TB_Chest_Radiography_Database/Tuberculosis/Tuberculosis-1.png",
    )
    films = collect("qatar", root).films
    assert films["label"].tolist() == ["normal", "tuberculosis"]
    assert films["patient"].tolist() == ["qatar-Normal-1", "qatar-Tuberculosis-1"]


def test_mendeley_in_its_two_folders_of_one_name(lay) -> None:
    name = "Dataset of Tuberculosis Chest X-rays Images"
    root = lay(
        f"{name}/{name}/Normal Chest X-rays/others (1).jpg",
        f"{name}/{name}/TB Chest X-rays/TB.1.jpg",
    )
    films = collect("mendeley", root).films
    assert films["label"].tolist() == ["normal", "tuberculosis"]
    assert films["source"].tolist() == ["mendeley", "mendeley"]


def lay_dicom(root: Path, pixels: NDArray[np.uint8]) -> Path:
    person = {"PatientName": "Roe^Jane", "PatientID": "MRN-4711", "PatientBirthDate": "19600101"}
    save_dicom(
        root / "1" / "first.dcm",
        pixels,
        **person,
        PatientAge="058Y",
        PatientSex="F",
        ViewPosition="PA",
        BodyPartExamined="CHEST",
    )
    save_dicom(root / "1" / "second.dcm", pixels, **person, PatientAge="003M", PatientSex="F")
    save_dicom(root / "2" / "unnamed.dcm", pixels, StudyInstanceUID="1.2.4")
    save_dicom(root / "2" / "ct.dcm", pixels, Modality="CT")
    save_dicom(root / "2" / "report.dcm", pixels, Rows=None, PixelData=None)
    (root / "2" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 30)
    cv2.imwrite(str(root / "2" / "screen.png"), pixels)
    return root


def test_dicom_tells_patients_apart_by_a_hash(tmp_path: Path, drawn: NDArray[np.uint8]) -> None:
    collected = collect_and_count("dicom", lay_dicom(tmp_path, drawn), salt="secret")
    films = by_name(collected.collection.films)
    assert set(films.index) == {"first.dcm", "second.dcm", "unnamed.dcm"}
    assert films.loc["first.dcm", ["view", "age", "sex", "body_part"]].tolist() == [
        "PA",
        58,
        "F",
        "CHEST",
    ]
    assert films.loc["second.dcm", "age"] == pytest.approx(0.25)
    assert films.loc["first.dcm", "patient"] == films.loc["second.dcm", "patient"]
    assert films.loc["first.dcm", "patient"] != films.loc["unnamed.dcm", "patient"]
    assert films["patient"].str.fullmatch(r"dicom-[0-9a-f]{16}").all()
    assert "label" not in films
    assert dict(collected.left_out) == {
        "no DICOM file": 1,
        "of another modality": 1,
        "without an image, or cut off before it": 2,
    }
    assert len(read_radiograph(films["image"].iloc[0])) == len(drawn)


def test_dicom_hashes_depend_on_the_salt(tmp_path: Path, drawn: NDArray[np.uint8]) -> None:
    root = lay_dicom(tmp_path, drawn)
    patients = [
        by_name(collect("dicom", root, salt=salt).films).loc["first.dcm", "patient"]
        for salt in ("one", "one", "two", None, None)
    ]
    assert patients[0] == patients[1]
    assert len(set(patients)) == 4


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_dicom_lets_nobody_be_named(
    tmp_path: Path,
    drawn: NDArray[np.uint8],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = lay_dicom(tmp_path / "films", drawn)
    # A value that its tag does not allow: pydicom quotes it in a warning and in its log.
    save_dicom(root / "3.dcm", drawn, PatientID="MRN-4711", ViewPosition="Jane*Roe")
    assert b"Jane*Roe" in (root / "3.dcm").read_bytes()
    capfd.readouterr()
    caplog.clear()
    table = collect("dicom", root).write(tmp_path / "films.csv")
    captured = capfd.readouterr()
    said = table.read_text() + captured.out + captured.err + caplog.text
    for private in ("Roe", "Jane", "MRN", "4711", "1960"):
        assert private not in said
    assert pd.isna(by_name(pd.read_csv(table)).loc["3.dcm", "view"])


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_dicom_takes_small_letters_for_a_code(tmp_path: Path, drawn: NDArray[np.uint8]) -> None:
    save_dicom(tmp_path / "a.dcm", drawn, ViewPosition="pa", PatientSex="f")
    films = collect("dicom", tmp_path).films
    assert films[["view", "sex"]].values.tolist() == [["PA", "F"]]


@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if name not in ("csv", "folders", "report")]
)
def test_a_wrong_folder_gets_one_sentence(layout: str, lay) -> None:
    root = lay("pictures/a.png")
    with pytest.raises(CollectionError) as caught:
        collect(layout, root)
    sentence = str(caught.value)
    assert str(root) in sentence
    assert "\n" not in sentence
    assert any(word in sentence for word in ("looked for", "no DICOM radiograph"))


@pytest.mark.parametrize(
    ("layout", "names", "empty"),
    [
        ("kermany", ("train/NORMAL/IM-0115-0001.jpeg",), "train/PNEUMONIA"),
        ("qatar", ("Normal/Normal-1.png",), "Tuberculosis"),
        ("mendeley", ("TB Chest X-rays/TB.1.jpg",), "Normal Chest X-rays"),
        ("tbx11k", ("imgs/tb/tb0001.png",), "imgs/health"),
    ],
)
def test_an_empty_class(layout: str, names: tuple[str, ...], empty: str, lay) -> None:
    root = lay(*names)
    (root / empty).mkdir(parents=True)
    with pytest.raises(CollectionError, match=f"{empty} holds no film"):
        collect(layout, root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("058Y", 58),
        ("016M", 16 / 12),
        ("010D", 10 / 365.25),
        ("003W", 21 / 365.25),
        ("58", 58),
        ("120", 120),
        ("121", math.nan),
        ("", math.nan),
        ("unknown", math.nan),
    ],
)
def test_ages(text: str, expected: float) -> None:
    assert years(text) == pytest.approx(expected, nan_ok=True)


def test_the_youngest_of_a_class_is_told_by_ages_and_by_what_is_known_of_the_source() -> None:
    films = pd.DataFrame(
        {
            "label": ["normal", "normal", "pneumonia", "tuberculosis"],
            "source": ["nih", "ours", "kermany", "mendeley"],
            "age": [30.0, 4.0, math.nan, math.nan],
        }
    )
    told = youngest(films, ["normal", "pneumonia", "tuberculosis"])
    assert told == {"normal": 4, "pneumonia": 1, "tuberculosis": ADULT}
    films.loc[3, "age"] = 2.0
    assert youngest(films, ["tuberculosis"]) == {"tuberculosis": 2}
    assert youngest(films[["label"]], ["normal"]) == {}
