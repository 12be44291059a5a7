"""Outlines over the film: where the map is strong, valid to the standard, the same in state and report."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest

from cxrlens.explanation.heatmap import HeatMap
from cxrlens.pacs.overlay import presentation_state, region_groups, regions_of
from cxrlens.pacs.results import Result, structured_report
from cxrlens.prediction.trust import NOTICE

from .dicom_film import write_film
from .test_results import HEADERS, dataset, result_of

FILM = np.zeros((200, 100), np.uint8)
WINDOWS = {
    "stored as a negative": {"PhotometricInterpretation": "MONOCHROME1"},
    "two windows, one of no width": {"WindowCenter": [1, 2], "WindowWidth": [0, 5]},
    "more centres than widths": {"WindowCenter": [1, 2, 3], "WindowWidth": [5, 5]},
    "no window": {"WindowCenter": None, "WindowWidth": None, "RescaleType": None},
    "slope without intercept": {"RescaleIntercept": None},
}


def two_regions() -> HeatMap:
    """Return a map of a strong place, a stronger one, a weak one, a speck and a place that speaks against."""
    values = np.zeros(FILM.shape, np.float32)
    values[20:40, 10:50] = 0.6
    values[100:160, 60:90] = 0.9
    values[60:80, 10:50] = 0.4
    values[195, 5] = 1
    values[100:160, 10:40] = -0.9
    return HeatMap(values, FILM, "evidence", "pneumonia", signed=True)


def both(result: Result, heat: HeatMap) -> tuple[bytes, bytes]:
    state = presentation_state(result, heat)
    assert state is not None
    return state, structured_report(result, region_groups(result, heat))


def test_regions_are_outlined_where_they_are_on_the_film() -> None:
    strongest, other = regions_of(two_regions())
    assert (strongest.strongest, other.strongest) == pytest.approx((0.9, 0.6))
    for region, box in ((strongest, (60, 100, 90, 160)), (other, (10, 20, 50, 40))):
        assert (region.outline[0] == region.outline[-1]).all()
        found = [*region.outline.min(0), *region.outline.max(0)]
        assert found == pytest.approx(box, abs=0.5)


def test_a_large_film_is_outlined_in_its_own_pixels() -> None:
    values = np.zeros((3000, 2500), np.float32)
    values[600:1200, 500:2000] = 1
    (region,) = regions_of(HeatMap(values, values.astype(np.uint8), "gradcam", "pneumonia"))
    found = [*region.outline.min(0), *region.outline.max(0)]
    assert found == pytest.approx([500, 600, 2000, 1200], abs=4)


def test_a_weak_map_has_no_outline(tmp_path: Path) -> None:
    heat = two_regions()
    weak = replace(heat, values=np.clip(heat.values, -1, 0.4).astype(np.float32))
    result = result_of(write_film(tmp_path, 1), FILM)
    assert presentation_state(result, weak) is None
    assert region_groups(result, weak) == []


def test_state_and_report_say_the_same_of_the_film(tmp_path: Path) -> None:
    path = write_film(tmp_path, 1)
    result, heat = result_of(path, FILM), two_regions()
    data = both(result, heat)
    assert data == both(result_of(path, FILM), heat)
    state, report = dataset(data[0]), highdicom.sr.ComprehensiveSR.from_dataset(dataset(data[1]))
    film = result.header.repeated
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == film.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaBottomRightHandCorner == [100, 200]
    assert state.SoftcopyVOILUTSequence[0].WindowWidth == 4096
    (annotation,) = state.GraphicAnnotationSequence
    assert NOTICE in annotation.TextObjectSequence[0].UnformattedTextValue
    drawn = {str(o.TrackingUID): list(o.GraphicData) for o in annotation.GraphicObjectSequence}
    groups = report.content.get_planar_roi_measurement_groups()
    told = {str(g.tracking_uid): list(g.roi.value.flatten()) for g in groups}
    assert len(told) == 2
    assert drawn == told
    assert [float(g.get_measurements()[0].value) for g in groups] == [0.9, 0.6]


def test_a_film_stored_as_a_negative_is_shown_as_a_film(tmp_path: Path) -> None:
    for photometric, shape in (("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")):
        path = write_film(tmp_path, 1, PhotometricInterpretation=photometric)
        state = dataset(both(result_of(path, FILM), two_regions())[0])
        assert state.PresentationLUTShape == shape


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
@pytest.mark.parametrize("tags", {**HEADERS, **WINDOWS}.values(), ids={**HEADERS, **WINDOWS})
def test_overlays_and_reports_are_valid(tags: dict, tmp_path: Path) -> None:
    result = result_of(write_film(tmp_path, 1, **tags), FILM)
    kinds = ("GrayscaleSoftcopyPresentationState", "ComprehensiveSR")
    for kind, data in zip(kinds, both(result, two_regions()), strict=True):
        (tmp_path / "result.dcm").write_bytes(data)
        said = subprocess.run(
            ["dciodvfy", tmp_path / "result.dcm"], capture_output=True, text=True, check=False
        )
        text = said.stdout + said.stderr
        assert "Error" not in text, text
        assert kind in text


@pytest.mark.skipif(not shutil.which("dsr2html"), reason="needs Debian's dcmtk")
def test_dcmtk_reads_the_report(tmp_path: Path) -> None:
    data = both(result_of(write_film(tmp_path, 1), FILM), two_regions())[1]
    (tmp_path / "report.dcm").write_bytes(data)
    said = subprocess.run(
        ["dsr2html", tmp_path / "report.dcm"], capture_output=True, text=True, check=True
    )
    for word in ("0.85", "Pneumonia", "Region 1", "Region 2", "Polyline", NOTICE):
        assert word in said.stdout, word
    assert "E: " not in said.stderr
