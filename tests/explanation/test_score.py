import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.explanation import METHODS
from cxrlens.explanation.method import Question, Slopes
from cxrlens.explanation.network_maps import gradcam, hirescam, layercam
from cxrlens.explanation.score import agreement, followed, heat_in, overlap, points_at

SIDE = 40
BOX = np.zeros((SIDE, SIDE), np.bool_)
BOX[10:20, 10:20] = True
FILM = np.full((SIDE, SIDE), 60, np.uint8)
FILM[BOX] = 240


def lesion(films: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A model that reads one thing: how bright the box is."""
    share = films[:, BOX].mean(1) / 255
    return np.stack([1 - share, share], 1)


def test_a_map_of_the_lesion_scores_best_and_its_opposite_worst() -> None:
    right, wrong = BOX.astype(np.float32), 1 - BOX.astype(np.float32)
    assert heat_in(right, BOX) == overlap(right, BOX) == 1
    assert heat_in(wrong, BOX) == overlap(wrong, BOX) == 0
    assert points_at(right, BOX)
    assert not points_at(wrong, BOX)
    hidden, shown = followed(lesion, FILM, 1, right)
    hidden_wrong, shown_wrong = followed(lesion, FILM, 1, wrong)
    assert hidden < hidden_wrong
    assert shown > shown_wrong


def test_heat_against_a_class_points_at_nothing() -> None:
    signed = np.where(BOX, 1, -5).astype(np.float32)
    assert heat_in(signed, BOX) == 1
    assert np.isnan(heat_in(-np.ones((4, 4), np.float32), np.ones((4, 4), np.bool_)))


def test_agreement_is_spearman_s() -> None:
    one = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    assert agreement(one, np.exp(one)) == pytest.approx(1)
    assert agreement(one, -one) == pytest.approx(-1)
    assert np.isnan(agreement(one, np.ones_like(one)))


def test_the_cams_agree_where_slopes_are_even_and_part_where_they_are_not() -> None:
    maps = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32)
    even = Slopes(maps, np.broadcast_to(np.float32([1, 2, 0.5, 3, 1])[:, None, None], maps.shape))
    assert hirescam(even) == pytest.approx(gradcam(even), rel=1e-5)
    assert layercam(even) == pytest.approx(gradcam(even), rel=1e-5)
    uneven = np.ones_like(maps)
    uneven[:, 0, 0] = -1
    of = Slopes(maps, uneven)
    assert gradcam(of)[0, 0] > 0 == hirescam(of)[0, 0] == layercam(of)[0, 0]


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "layercam"])
def test_each_cam_is_a_quick_method(name: str) -> None:
    maps = np.ones((2, 3, 3), np.float32)
    ask = Question(FILM, 1, "tuberculosis", lesion, lambda: [Slopes(maps, maps)], None)
    assert METHODS[name].quick
    assert METHODS[name].explain(ask).values == pytest.approx(np.ones((3, 3)))
