import cv2
import numpy as np
import pytest
from skimage.transform import downscale_local_mean

from cxrlens.radiographs.grey import resize

from .drawn import drawn


def test_a_film_of_the_size_is_copied_bit_for_bit():
    film = drawn(shape=(64, 64))
    same = resize(film, 64)
    np.testing.assert_array_equal(same, film, strict=True)
    assert not np.shares_memory(same, film)


@pytest.mark.parametrize(
    "shape", [(46, 62), (300, 40), (40, 300), (1, 1), (1, 500), (64, 65), (64, 30)]
)
def test_any_shape_becomes_the_square(shape):
    film = drawn(shape=shape)
    before = film.copy()
    square = resize(film, 64)
    assert (square.shape, square.dtype) == ((64, 64), np.uint8)
    assert film.min() <= square.min() <= square.max() <= film.max()
    np.testing.assert_array_equal(film, before)


def test_shrinking_averages_the_area():
    film = drawn(shape=(128, 256))
    expected = downscale_local_mean(film.astype(float), (4, 8))
    assert np.abs(resize(film, 32) - expected).max() <= 0.5 + 1e-9


def test_shrinking_one_axis_and_growing_the_other_keeps_the_mean():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (20, 200))  # 20 × 400, finest of stripes
    square = resize(stripes, 100)
    assert set(np.unique(square)) <= {127, 128}  # sampled instead of averaged, stripes would remain


def test_growing_is_linear():
    film = drawn(shape=(20, 30))
    expected = cv2.resize(film, (80, 80), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(film, 80), expected)


@pytest.mark.parametrize("film", [np.zeros((5, 5, 3), np.uint8), np.zeros((0, 5), np.uint8)])
def test_no_grey_film_is_refused(film):
    with pytest.raises(ValueError, match="grey array"):
        resize(film, 8)


def test_no_side_is_refused():
    with pytest.raises(ValueError, match="side must be 1 or more, not 0"):
        resize(drawn(), 0)
