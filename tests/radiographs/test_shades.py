"""Grey DICOM films are shown as their tags say."""

import numpy as np
import pytest
from pydicom import uid

from .dicom_films import (
    ROOT,
    SIXTEEN,
    TWELVE,
    dataset_of,
    jpeg2k,
    lut,
    native,
    read,
    window,
    written,
)
from .drawn import drawn, scaled


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
def test_the_stored_bits_are_the_scale(bits):
    """A dark film stays dark: nothing is stretched to the pixels that are met."""
    dark = drawn(bits) // 3
    np.testing.assert_array_equal(read(native(dark, bits)), scaled(dark, bits))


def test_sixteen_bits_may_be_only_the_container():
    np.testing.assert_array_equal(read(native(TWELVE, 16)), scaled(TWELVE, 12))


def test_signed_pixels():
    signed = (TWELVE.astype(np.int16) - 2048).astype(np.int16)
    np.testing.assert_array_equal(read(native(signed, 12)), scaled(TWELVE, 12))
    windowed = read(native(signed, 16, WindowCenter="0", WindowWidth="4096"))
    np.testing.assert_array_equal(windowed, scaled(TWELVE, 12))


def test_signed_jpeg_2000():
    signed = (TWELVE.astype(np.int16) - 2048).astype(np.int16)
    film = dataset_of(signed, 12)
    data = written(film, jpeg2k(signed, 12), uid.JPEG2000Lossless)
    np.testing.assert_array_equal(read(data), scaled(TWELVE, 12))


def test_monochrome1_is_inverted():
    np.testing.assert_array_equal(
        read(native(TWELVE, 12, photometric="MONOCHROME1")), 255 - scaled(TWELVE, 12)
    )


def test_overlay_bits_above_the_stored_ones_are_ignored():
    marked = TWELVE | (np.uint16(1) << 15)
    np.testing.assert_array_equal(read(native(marked, 12)), scaled(TWELVE, 12))


@pytest.mark.parametrize("centre", [("1500", "3000"), "1500"], ids=["the first of two", "one"])
def test_linear_window(centre):
    width = ["1000", "200"] if isinstance(centre, tuple) else "1000"
    centre = list(centre) if isinstance(centre, tuple) else centre
    film = read(native(TWELVE, 12, WindowCenter=centre, WindowWidth=width))
    np.testing.assert_array_equal(film, window(TWELVE.astype(float), 1500, 1000))
    assert (film.min(), film.max()) == (0, 255)


def test_a_stray_pixel_changes_nothing_else():
    tags = {"WindowCenter": "1500", "WindowWidth": "3000"}
    stray = TWELVE.copy()
    stray[0, 0] = 0
    stray[0, 1] = 4095
    for options in ({}, tags):
        film, strayed = (read(native(pixels, 12, **options)) for pixels in (TWELVE, stray))
        np.testing.assert_array_equal(film.ravel()[2:], strayed.ravel()[2:])


def test_exact_window_and_sigmoid():
    stored = TWELVE.astype(float)
    tags = {"WindowCenter": "1500", "WindowWidth": "1000"}
    exact = read(native(TWELVE, 12, VOILUTFunction="LINEAR_EXACT", **tags))
    expected = np.rint(np.clip((stored - 1500) / 1000 + 0.5, 0, 1) * 255)
    np.testing.assert_array_equal(exact, expected)
    sigmoid = read(native(TWELVE, 12, VOILUTFunction="SIGMOID", **tags))
    np.testing.assert_array_equal(sigmoid, np.rint(255 / (1 + np.exp(-4 * (stored - 1500) / 1000))))


def test_window_of_width_one_parts_in_two():
    film = read(native(TWELVE, 12, WindowCenter="2000", WindowWidth="1"))
    np.testing.assert_array_equal(film, np.where(TWELVE >= 2000, 255, 0))


@pytest.mark.parametrize(
    ("centre", "width"), [("2000", "0"), ("2000", "-5"), ("", ""), ("2000", None), (None, "7")]
)
def test_a_window_that_is_none_is_passed_over(centre, width):
    film = read(native(TWELVE, 12, WindowCenter=centre, WindowWidth=width))
    np.testing.assert_array_equal(film, scaled(TWELVE, 12))


def test_a_window_that_is_no_number_is_passed_over():
    data = native(TWELVE, 12, WindowCenter="2345", WindowWidth="1000")
    film = read(data.replace(b"2345", b"oops"))
    np.testing.assert_array_equal(film, scaled(TWELVE, 12))


def test_rescale_comes_before_the_window():
    film = native(
        TWELVE,
        12,
        RescaleSlope="2",
        RescaleIntercept="-1000",
        WindowCenter="2000",
        WindowWidth="3000",
    )
    expected = window(TWELVE.astype(float) * 2 - 1000, 2000, 3000)
    np.testing.assert_array_equal(read(film), expected)


def test_rescale_without_window():
    film = read(native(TWELVE, 12, RescaleSlope="0.5", RescaleIntercept="-300"))
    np.testing.assert_array_equal(film, scaled(TWELVE, 12))
    falling = read(native(TWELVE, 12, RescaleSlope="-1", RescaleIntercept="4095"))
    np.testing.assert_array_equal(falling, 255 - scaled(TWELVE, 12))
    nothing = read(native(TWELVE, 12, RescaleSlope="0", RescaleIntercept="0"))
    np.testing.assert_array_equal(nothing, scaled(TWELVE, 12))


@pytest.mark.parametrize("words", [True, False], ids=["OW", "US"])
def test_voi_lut(words):
    film = read(native(TWELVE, 12, VOILUTSequence=lut(ROOT, 500, 12, words=words)))
    expected = ROOT[np.clip(TWELVE.astype(int) - 500, 0, 2999)]
    np.testing.assert_array_equal(film, scaled(expected, 12))


def test_voi_lut_goes_before_the_window_and_may_overstate_its_bits():
    film = native(
        TWELVE, 12, VOILUTSequence=lut(ROOT, 500, 16), WindowCenter="100", WindowWidth="2"
    )
    expected = ROOT[np.clip(TWELVE.astype(int) - 500, 0, 2999)]
    np.testing.assert_array_equal(read(film), scaled(expected, 12))


def test_voi_lut_of_65536_entries():
    falling = np.arange(65535, -1, -1)
    film = read(native(SIXTEEN, 16, VOILUTSequence=lut(falling, 0, 16)))
    np.testing.assert_array_equal(film, 255 - scaled(SIXTEEN, 16))


def test_modality_lut_comes_before_the_window():
    modality = lut(np.arange(4096)[::-1], 0, 12)
    modality[0].ModalityLUTType = "US"
    plain = read(native(TWELVE, 12, ModalityLUTSequence=modality))
    np.testing.assert_array_equal(plain, 255 - scaled(TWELVE, 12))
    both = read(
        native(TWELVE, 12, ModalityLUTSequence=modality, WindowCenter="1500", WindowWidth="1000")
    )
    np.testing.assert_array_equal(both, window(4095 - TWELVE.astype(float), 1500, 1000))


def test_monochrome1_with_window():
    film = read(
        native(TWELVE, 12, photometric="MONOCHROME1", WindowCenter="1500", WindowWidth="1000")
    )
    np.testing.assert_array_equal(film, 255 - window(TWELVE.astype(float), 1500, 1000))
