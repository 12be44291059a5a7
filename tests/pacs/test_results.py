"""Results: valid to the standard, the same twice, and true to the film and to the model."""

import datetime
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.sr.coding import Code

from cxrlens.errors import FilmError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.pacs.header import ModelIdentity, read_header
from cxrlens.pacs.results import (
    LONGEST,
    SHORTEST,
    Result,
    _words,
    captioned,
    secondary_capture,
    side_by_side,
    structured_report,
)
from cxrlens.prediction import Prediction
from cxrlens.prediction.trust import NOTICE, REASONS
from cxrlens.quality.step import Examination, Finding

from .dicom_film import CR, film_dataset, pixels_of, write_film

MODEL = ModelIdentity("lite0", "0123456789ab", "none-1", "0.1.0")
MADE = datetime.datetime(2026, 1, 2, 3, 4, 5)
SHARES = {"normal": 0.05, "pneumonia": 0.85, "tuberculosis": 0.1}
FINDINGS = {"negative": False, "noisy": True, "not_a_chest": False}

HEADERS = {
    "dx": {},
    "cr": {"kind": CR},
    "bare": dict.fromkeys(
        """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber
        ReferringPhysicianName InstanceNumber PatientOrientation BurnedInAnnotation BodyPartExamined
        ViewPosition""".split()  # noqa: SIM905
    ),
    "three spellings": {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "html": {"PatientName": "<script>alert('x')</script>^<b>"},
    "long": {"PatientName": "Aa" * 90 + "^B", "PatientID": "9" * 64, "PatientAge": "054Y"},
}


def result_of(path: Path, film=None) -> Result:
    film = pixels_of(0) if film is None else film
    findings = {name: Finding(found, float(found)) for name, found in FINDINGS.items()}
    examination = Examination(film, findings)
    said = Prediction("film", "pneumonia", SHARES, examination, film=film)
    return Result(read_header(path), MODEL, MADE, said)


def unsure_of(path: Path, reason: str = "near the threshold", site: str = "") -> Result:
    told = result_of(path)
    assert told.prediction
    left = replace(told.prediction, predicted="unsure", reason=reason, suggests="tuberculosis")
    return replace(told, prediction=left, model=replace(MODEL, site=site))


def heat_of(film) -> HeatMap:
    values = np.zeros(film.shape, np.float32)
    values[: film.shape[0] // 2] = 1
    return HeatMap(values, film, "gradcam", "pneumonia")


def dataset(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def both(path: Path) -> dict[str, bytes]:
    result = result_of(path)
    unsuitable = Result(read_header(path), MODEL, MADE, remark="Not predicted.")
    return {
        "capture": secondary_capture(result, heat_of(pixels_of(0))),
        "report": structured_report(result),
        "not predicted": structured_report(unsuitable),
        "unsure": structured_report(unsure_of(path, site="a" * 12)),
    }


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
@pytest.mark.parametrize("tags", HEADERS.values(), ids=HEADERS)
def test_results_are_valid(tags: dict, tmp_path: Path) -> None:
    for name, data in both(write_film(tmp_path, 1, **tags)).items():
        (tmp_path / "result.dcm").write_bytes(data)
        said = subprocess.run(
            ["dciodvfy", tmp_path / "result.dcm"], capture_output=True, text=True, check=False
        )
        text = said.stdout + said.stderr
        assert "Error" not in text, f"{name}: {text}"
        assert ("SCImage" if name == "capture" else "ComprehensiveSR") in text


@pytest.mark.parametrize("says", [None, "NO", "YES"])
@pytest.mark.parametrize("is_found", [False, True])
def test_a_capture_of_a_film_with_text_in_it_says_so(
    says: str | None, is_found: bool, tmp_path: Path
) -> None:
    result = result_of(write_film(tmp_path, 1, BurnedInAnnotation=says))
    assert result.prediction is not None
    found = {"burnt_in_text": Finding(is_found, float(is_found))}
    result = replace(
        result,
        prediction=replace(
            result.prediction, examination=replace(result.prediction.examination, findings=found)
        ),
    )
    capture = dataset(secondary_capture(result, None))
    assert capture.get("BurnedInAnnotation") == ("YES" if is_found else says)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
def test_the_validator_would_say_so(tmp_path: Path) -> None:
    broken = dataset(both(write_film(tmp_path, 1))["capture"])
    del broken.ConversionType
    broken.save_as(tmp_path / "broken.dcm")
    said = subprocess.run(
        ["dciodvfy", tmp_path / "broken.dcm"], capture_output=True, text=True, check=False
    )
    assert "Error" in said.stdout + said.stderr


@pytest.mark.parametrize("tags", HEADERS.values(), ids=HEADERS)
def test_results_belong_to_the_film_s_patient_and_study(tags: dict, tmp_path: Path) -> None:
    path = write_film(tmp_path, 1, **tags)
    with disable_value_validation():
        film = film_dataset(1, **tags)
        name = str(film.get("PatientName", ""))
    for data in both(path).values():
        result = dataset(data)
        assert result.StudyInstanceUID == film.StudyInstanceUID
        assert result.SeriesInstanceUID != film.SeriesInstanceUID
        assert result.PatientID == film.get("PatientID", "")
        assert str(result.PatientName) == (name if "=" in name else name[:64])
        assert result.StudyDate == film.get("StudyDate", "")


def test_the_same_film_and_model_give_the_same_instances(tmp_path: Path) -> None:
    path, other = write_film(tmp_path, 1), write_film(tmp_path, 2, study=1)
    assert both(path) == both(path)
    first, second = dataset(both(path)["capture"]), dataset(both(other)["capture"])
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID  # one series a study
    assert first.SOPInstanceUID != dataset(both(path)["report"]).SOPInstanceUID
    uid = read_header(path).uid
    successor = ModelIdentity("lite0", "f" * 12, "none-1", "0.1.0")
    assert MODEL.uid_for("capture", uid) == first.SOPInstanceUID
    assert successor.uid_for("capture", uid) != first.SOPInstanceUID
    assert first.SOPInstanceUID.startswith("2.25.")
    assert first.SOPInstanceUID.is_valid


@pytest.mark.parametrize("reason", REASONS)
def test_a_film_left_unsure_is_coded_as_not_assessed_and_named_nowhere(
    reason: str, tmp_path: Path
) -> None:
    result = unsure_of(write_film(tmp_path, 1), reason)
    data = structured_report(result)
    report = highdicom.sr.ComprehensiveSR.from_dataset(dataset(data))
    (group,) = report.content.get_image_measurement_groups()
    assert not group.get_measurements()
    told = {str(one.name.meaning): one.value for one in group.get_qualitative_evaluations()}
    assert told["Predicted class"].meaning == "Not assessed"
    assert told["Reason why it was not assessed"].meaning == REASONS[reason]
    lines = _words(result, result.prediction, None)
    assert f"Not assessed: {REASONS[reason]}" in lines
    for text in (data.decode("latin-1"), " ".join(lines)):
        for disease in ("pneumonia", "tuberculosis", "233604007", "154283005"):
            assert disease not in text.lower()


def test_a_site_file_makes_instances_of_its_own(tmp_path: Path) -> None:
    path = write_film(tmp_path, 1)
    made = [dataset(structured_report(unsure_of(path, site=site))) for site in ("", "a" * 12)]
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert f"site {'a' * 12}" in structured_report(unsure_of(path, site="a" * 12)).decode("latin-1")


@pytest.mark.skipif(not shutil.which("dsr2html"), reason="needs Debian's dcmtk")
def test_dcmtk_reads_threshold_site_and_unsure(tmp_path: Path) -> None:
    path = write_film(tmp_path, 1)
    result = result_of(path)
    assert result.prediction
    trust = SimpleNamespace(trust=SimpleNamespace(thresholds={"pneumonia": 41.6}))
    named = replace(result.prediction, scores={"pneumonia": 87.25}, predictor=trust)
    at_site = replace(result, prediction=named, model=replace(MODEL, site="a" * 12))
    assert "Scores: pneumonia 87 (named from 42)" in _words(at_site, named, None)
    unsure = unsure_of(path, site="a" * 12)
    for told, words in (
        (at_site, ["87.2", "41.6", "Predicted pneumonia. Scores: pneumonia 87 (named from 42)"]),
        (unsure, ["Not assessed", REASONS["near the threshold"]]),
    ):
        (tmp_path / "report.dcm").write_bytes(structured_report(told))
        said = subprocess.run(
            ["dsr2html", tmp_path / "report.dcm"], capture_output=True, text=True, check=True
        )
        for word in (*words, f"site {'a' * 12}", NOTICE):
            assert word in said.stdout, word
        assert "E: " not in said.stderr
        assert ("0.85" in said.stdout) == (told is at_site)


def test_a_report_says_what_the_model_said(tmp_path: Path) -> None:
    path = write_film(tmp_path, 1)
    report = highdicom.sr.ComprehensiveSR.from_dataset(dataset(structured_report(result_of(path))))
    (group,) = report.content.get_image_measurement_groups()
    shares = {str(m.name.meaning): float(m.value) for m in group.get_measurements()}
    assert shares == {f"Probability of {name}": share for name, share in SHARES.items()}
    said = {item.name.value: item.value for item in group.get_qualitative_evaluations()}
    assert said["predicted"] == Code("233604007", "SCT", "Pneumonia")
    assert said["noisy"].meaning == "Present"
    assert said["negative"].meaning == "Absent"
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == read_header(path).uid
    texts = [element.value for element in report.iterall() if element.keyword == "TextValue"]
    assert {MODEL.name, MODEL.digest, f"model digest {MODEL.digest}"} <= {*texts}
    assert f"{NOTICE} Predicted pneumonia." in texts
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.CompletionFlag == "PARTIAL"


def test_a_capture_shows_film_and_map_below_its_words(tmp_path: Path) -> None:
    film = pixels_of(1, 64)
    result = result_of(write_film(tmp_path, 1), film)
    shown = dataset(secondary_capture(result, heat_of(film)))
    picture = shown.pixel_array
    assert picture.shape[1] == 2 * SHORTEST
    top = picture.shape[0] - SHORTEST
    panels = picture[top:, :SHORTEST], picture[top:, SHORTEST:]
    assert (panels[0][..., 0] == panels[0][..., 2]).all()  # grey
    assert (panels[0][SHORTEST * 3 // 4 :] == panels[1][SHORTEST * 3 // 4 :]).all()  # no heat
    assert (panels[0][: SHORTEST // 4] != panels[1][: SHORTEST // 4]).any()
    assert picture[:top].max() > 200  # words
    assert NOTICE in shown.ImageComments
    assert (
        shown.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{film_dataset(1).SOPInstanceUID}"
    )


@pytest.mark.parametrize("shape", [(64, 64), (3000, 2400), (40, 900), (900, 1000)])
def test_panels_have_a_size_that_screens_show(shape: tuple[int, int]) -> None:
    film = np.zeros(shape, np.uint8)
    for heat, panels in ((heat_of(film), 2), (None, 1)):
        picture = side_by_side(film, heat)
        longest = max(picture.shape[0], picture.shape[1] // panels)
        assert SHORTEST <= longest <= LONGEST
        assert picture.shape[2] == 3
    tall = captioned(np.zeros((768, 100, 3), np.uint8), "x", ["many words " * 30])
    assert tall.shape[1] >= 640
    notice = captioned(np.zeros((768, 100, 3), np.uint8), NOTICE, [])
    assert notice[:-768].any()
    assert (
        notice[:-768, :, 2] <= 0.5 * notice[:-768, :, 0]
    ).all()  # in its colour, however many lines


def test_unsuitable_films_are_known_by_their_header(tmp_path: Path) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "399198007", "SCT"
    code.CodeMeaning = "right lateral projection"
    for number, (tags, word) in enumerate(
        [
            ({"ViewPosition": "LL"}, "not a frontal film (view LL)"),
            ({"ViewPosition": "lateral"}, "not a frontal film"),
            ({"ViewPosition": "RLO"}, "not a frontal film"),
            ({"ViewPosition": "", "ViewCodeSequence": [code]}, "not a frontal film"),
            ({"BodyPartExamined": "HAND"}, "another body part (HAND)"),
            ({"BodyPartExamined": "LSPINE"}, "another body part"),
        ]
    ):
        assert word in read_header(write_film(tmp_path, number, **tags)).unsuitable
    for tags in ({}, {"ViewPosition": "AP"}, {"ViewPosition": ""}, {"BodyPartExamined": "THORAX"}):
        assert read_header(write_film(tmp_path, 9, **tags)).unsuitable == ""


def test_values_that_break_the_standard_do_not_go_on(tmp_path: Path) -> None:
    path = write_film(tmp_path, 1)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"19700101", b"1970-1-1").replace(b"20240229", b"yesterda"))
    repeated = read_header(path).repeated
    assert (repeated.PatientBirthDate, repeated.StudyDate) == ("", "")
    assert repeated.StudyTime == "101500"


def test_a_film_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="no valid StudyInstanceUID"):
        read_header(write_film(tmp_path, 1, StudyInstanceUID=None))
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no film at all")
    with pytest.raises(FilmError):
        read_header(broken)
