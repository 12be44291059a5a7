"""What is made of lung fields: mask, outline, box, crop, filled film."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.lungs import Lungs


def lungs(*boxes: tuple[int, int, int, int], side: int = 128) -> Lungs:
    """Lungs that are boxes: top, bottom, left, right."""
    likely = np.zeros((side, side), np.uint8)
    for top, bottom, left, right in boxes:
        likely[top:bottom, left:right] = 255
    return Lungs(likely, 4.0, -4.0)


PAIR = lungs((30, 100, 20, 56), (30, 100, 70, 106))
NONE = lungs()


def test_mask_has_the_films_size_and_the_fields_place() -> None:
    mask = PAIR.mask((256, 512))
    assert mask.shape == (256, 512)
    expected = np.zeros((256, 512), bool)
    expected[60:200, 80:224] = expected[60:200, 280:424] = True
    assert (mask != expected).mean() < 0.01


def test_islands_are_no_lung() -> None:
    with_island = lungs((30, 100, 20, 56), (30, 100, 70, 106), (5, 9, 5, 9))
    np.testing.assert_array_equal(with_island.mask((128, 128)), PAIR.mask((128, 128)))
    assert not lungs((5, 9, 5, 9)).mask((64, 64)).any()


def test_outline_is_a_polygon_each_in_fractions_left_first() -> None:
    outline = PAIR.outline()
    assert len(outline) == 2
    for polygon, (left, right) in zip(outline, ((20, 56), (70, 106)), strict=True):
        points = np.array(polygon)
        assert points.min(axis=0) == pytest.approx([left / 128, 30 / 128], abs=0.012)
        assert points.max(axis=0) == pytest.approx([right / 128, 100 / 128], abs=0.012)
    assert NONE.outline() == ()


def test_fields_of_a_cropped_film_lie_in_the_whole_one() -> None:
    whole = PAIR.within((200, 100), (50, 50, 0, 0))
    mask = whole.mask((200, 100))
    assert not mask[:50].any()
    assert not mask[150:].any()
    np.testing.assert_array_equal(mask[50:150], PAIR.mask((100, 100)))
    ys = [y for polygon in whole.outline() for _, y in polygon]
    assert (min(ys), max(ys)) == pytest.approx((0.25 + 15 / 128, 0.25 + 50 / 128), abs=0.01)


def test_box_holds_both_lungs_and_a_margin() -> None:
    assert PAIR.box(0) == pytest.approx((30 / 128, 100 / 128, 20 / 128, 106 / 128))
    top, bottom, left, right = PAIR.box(0.1) or (0, 0, 0, 0)
    room = 0.1 * 86 / 128
    expected = (30 / 128 - room, 100 / 128 + room, 20 / 128 - room, 106 / 128 + room)
    assert (top, bottom, left, right) == pytest.approx(expected)
    assert NONE.box() is None


def test_a_white_lung_is_not_cut_away() -> None:
    for alone, hidden in (((30, 100, 20, 56), 90 / 128), ((30, 100, 70, 106), 36 / 128)):
        box = lungs(alone).box(0)
        assert box is not None
        assert box[2] < hidden < box[3]
        # What is filled leaves the place of the white lung as it is.
        film = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
        kept = lungs(alone).alone(film) == film
        assert kept[65, round(hidden * 128)]


def test_crop_counts_pixels_that_lie_outside() -> None:
    assert PAIR.crop((256, 256), 0) == (60, 56, 40, 44)
    assert NONE.crop((256, 256)) == (0, 0, 0, 0)
    for shape in ((1, 300), (300, 1), (30, 30)):
        top, bottom, left, right = PAIR.crop(shape)
        assert top + bottom < shape[0]
        assert left + right < shape[1]


def test_filled_film_keeps_the_lungs_and_nothing_else() -> None:
    film: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 256, (90, 120), dtype=np.uint8)
    before = film.copy()
    alone = PAIR.alone(film)
    np.testing.assert_array_equal(film, before)
    inside = PAIR.mask(film.shape)
    np.testing.assert_array_equal(alone[inside], film[inside])
    assert np.unique(alone[:10]).size == 1
    assert abs(int(alone[0, 0]) - film[inside].mean()) < 6
    np.testing.assert_array_equal(NONE.alone(film), film)
