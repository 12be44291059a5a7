"""Each filter against scikit-image or SciPy."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from cxrlens.radiographs.grey import (
    box,
    clahe,
    gaussian,
    laplacian,
    log_response,
    median,
    otsu_threshold,
)

from .drawn import drawn

FILM = drawn(shape=(120, 160))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5, 6.0])
def test_gaussian(sigma):
    smooth = gaussian(FILM, sigma)
    expected = ndimage.gaussian_filter(FILM.astype(float), sigma, mode="mirror", truncate=6)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(smooth, expected, atol=0.05)


def test_gaussian_of_a_flat_film_is_flat():
    np.testing.assert_allclose(gaussian(np.full((50, 50), 77, np.uint8), 3), 77, rtol=1e-6)


def test_laplacian_has_a_negative_centre():
    point = np.zeros((5, 5), np.uint8)
    point[2, 2] = 10
    cross = np.array([[0, 10, 0], [10, -40, 10], [0, 10, 0]])
    np.testing.assert_array_equal(laplacian(point)[1:4, 1:4], cross)
    np.testing.assert_allclose(laplacian(FILM), ndimage.laplace(FILM.astype(float), mode="mirror"))


def test_subtracting_the_laplacian_sharpens():
    edge = np.repeat(np.array([50, 50, 60, 140, 150, 150], np.uint8)[None], 6, axis=0)
    sharp = edge - laplacian(edge)
    assert np.ptp(sharp[3]) > np.ptp(edge[3])


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_log_response(sigma):
    expected = ndimage.laplace(
        ndimage.gaussian_filter(FILM.astype(float), sigma, mode="mirror", truncate=6), mode="mirror"
    )
    response = log_response(FILM, sigma)
    assert response.dtype == np.float32
    np.testing.assert_allclose(response, expected, atol=0.1)
    assert response.min() < 0 < response.max()


def test_clahe_raises_contrast_within_its_limit():
    dull = (FILM // 8 + 100).astype(np.uint8)
    gentle, strong = clahe(dull, 1.5, tiles=(4, 4)), clahe(dull, 40, tiles=(4, 4))
    assert dull.std() < gentle.std() < strong.std()
    assert gentle.shape == dull.shape
    assert gentle.dtype == np.uint8


def test_clahe_takes_tiles_across_and_down():
    dull = (FILM // 8 + 100).astype(np.uint8)
    np.testing.assert_array_equal(clahe(dull, 2, (2, 5)), clahe(dull.T.copy(), 2, (5, 2)).T)
    assert (clahe(dull, 2, (2, 5)) != clahe(dull, 2, (5, 2))).any()


def test_otsu():
    two = np.where(FILM > 128, np.uint8(200), np.uint8(30))
    for film in (FILM, two):
        bright = film > otsu_threshold(film)
        np.testing.assert_array_equal(bright, film > threshold_otsu(film))
    assert otsu_threshold(np.full((9, 9), 90, np.uint8)) in (0, 90)


def test_median_removes_salt_and_pepper():
    noisy = FILM.copy()
    noisy[::9, ::7] = 255
    noisy[4::9, 3::7] = 0
    clean = median(noisy, 3)
    np.testing.assert_array_equal(clean, ndimage.median_filter(noisy, 3, mode="nearest"))
    assert np.abs(clean.astype(int) - FILM).mean() < np.abs(noisy.astype(int) - FILM).mean() / 2


@pytest.mark.parametrize("side", [1, 3, 7])
def test_box(side):
    expected = ndimage.uniform_filter(FILM.astype(float), side, mode="mirror")
    assert np.abs(box(FILM, side) - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("apply", [lambda film: median(film, 5), lambda film: box(film, 5)])
def test_filters_leave_their_input(apply):
    before = FILM.copy()
    result = apply(FILM)
    np.testing.assert_array_equal(FILM, before)
    assert not np.shares_memory(result, FILM)
