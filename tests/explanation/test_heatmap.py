from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.errors import CxrlensError, OutputError
from cxrlens.explanation import METHODS
from cxrlens.explanation.heatmap import PALETTES, HeatMap, normalised, to_film
from cxrlens.reports.explained import SheetRow, sheet

VALUES = np.zeros((60, 60), np.float32)
VALUES[10:20, 10:20], VALUES[40:50, 40:50] = 1, -0.8
FILM = np.full((60, 60), 120, np.uint8)


def heat(method: str = "lime") -> HeatMap:
    known = METHODS[method]
    values = VALUES if known.signed else np.abs(VALUES)
    return HeatMap(values, FILM, method, "normal", signed=known.signed, regional=known.regional)


def test_a_signed_overlay_tells_for_from_against_and_leaves_the_rest() -> None:
    overlay = heat().overlay()
    assert (overlay[30, 30] == 120).all()
    assert overlay[15, 15].argmax() == 2
    assert overlay[45, 45].argmax() == 0
    assert not heat("gradcam").signed


def test_the_report_s_panels_are_green_and_red_then_blue_and_red() -> None:
    film, regions, weights = np.split(heat().panels("report"), 3, axis=1)
    assert (film == 120).all()
    assert regions[15, 15].argmax() == 1
    assert regions[45, 45].argmax() == 0
    assert (regions[30, 30] == 120).all()
    assert weights[15, 15].argmax() == 2
    assert weights[45, 45].argmax() == 0
    assert (weights[30, 30] > 235).all()


@pytest.mark.parametrize("palette", list(PALETTES))
@pytest.mark.parametrize(("method", "width"), [("lime", 180), ("occlusion", 120), ("gradcam", 120)])
def test_what_is_saved(tmp_path: Path, method: str, width: int, palette: str) -> None:
    path = heat(method).save(tmp_path / "why.png", palette)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (60, width, 3)
    assert (cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) == heat(method).picture(palette)).all()
    with pytest.raises(OutputError):
        heat(method).save(path, palette)
    with pytest.raises(CxrlensError, match="known are ember, report"):
        heat(method).save(path, "rainbow")


def test_default_colours_stay_apart_without_red_or_green() -> None:
    """For and against in the colours that deuteranopes and protanopes see (Viénot et al. 1999)."""
    for against, support in [
        (PALETTES["ember"].against, PALETTES["ember"].support),
        [tuple(255 * PALETTES["ember"].colours(end, signed=True)[:3]) for end in (-1.0, 1.0)],
    ]:
        linear = (np.array([against, support]) / 255) ** 2.2
        lms = (
            linear
            @ np.array(
                [
                    [17.8824, 43.5161, 4.11935],
                    [3.45565, 27.1554, 3.86714],
                    [0.02996, 0.18431, 1.46709],
                ]
            ).T
        )
        deuteran = lms @ np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]).T
        protan = lms @ np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]).T
        for seen in (deuteran, protan):
            share = seen / seen.sum(axis=1, keepdims=True)
            assert np.abs(share[0] - share[1]).max() > 0.02


def test_maps_come_to_the_film_s_geometry() -> None:
    coarse = np.array([[0.0, -2.0], [1.0, 0.5]], np.float32)
    assert normalised(coarse).min() == -1
    assert (normalised(np.zeros((2, 2), np.float32)) == 0).all()
    assert np.unique(to_film(coarse, (30, 50), smooth=False)).tolist() == [-2, 0, 0.5, 1]
    assert to_film(coarse, (30, 50)).shape == (30, 50)
    assert len(np.unique(to_film(coarse, (30, 50)))) > 10


def test_a_sheet_holds_films_and_members() -> None:
    alone = sheet([SheetRow.of("a $1", [heat("gradcam")])], "normal")
    row = SheetRow.of("b", [heat(), heat(), heat()], "report")
    wide = sheet([row, row], "normal", ["member 1", "member 2"])
    assert alone.dtype == wide.dtype == np.uint8
    assert wide.shape[0] > 1.5 * alone.shape[0]
    assert wide.shape[1] > 2 * alone.shape[1]
    blueish = (wide[..., 2].astype(int) - wide[..., 0]) > 60
    assert blueish.sum() > 1000


def test_the_lungs_outline_is_drawn_over_the_map_and_not_over_the_film() -> None:
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    plain = HeatMap(np.zeros((60, 60), np.float32), FILM, "gradcam", "normal")
    outlined = HeatMap(plain.values, FILM, "gradcam", "normal", lungs=(square,))
    assert (plain.overlay() == 120).all()
    changed = (outlined.overlay() != plain.overlay()).any(axis=2)
    assert changed[14:16, 20:40].any(axis=0).all()
    assert not changed[20:40, 20:40].any()
    assert (outlined.beside()[:, :60] == 120).all()
