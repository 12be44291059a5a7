"""Grey DICOM films are shown as their tags say."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxrlens.errors import FilmError

from .dicom_films import (
    LOSSLESS,
    NATIVE,
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


@pytest.mark.parametrize(
    ("centre", "width"), [("2000", "1"), ("60000", "10"), ("-900", "50"), ("32768", "65536")]
)
def test_a_window_that_leaves_no_greys_is_passed_over(centre, width):
    film = read(native(TWELVE, 12, WindowCenter=centre, WindowWidth=width))
    np.testing.assert_array_equal(film, scaled(TWELVE, 12))
    several = {"WindowCenter": [centre, "1500"], "WindowWidth": [width, "1000"]}
    film = read(native(TWELVE, 12, **several))
    np.testing.assert_array_equal(film, window(TWELVE.astype(float), 1500, 1000))


@pytest.mark.parametrize("bits", [14, 15])
def test_a_film_that_fills_little_of_its_bits_is_stretched_to_what_it_fills(bits):
    narrow = (TWELVE // 4 + 1500).astype(np.uint16)
    film = read(native(narrow, bits)).astype(int)
    low, high = np.quantile(narrow, [0.001, 0.999], method="inverted_cdf").astype(int)
    expected = np.rint(np.clip((narrow.astype(int) - low) / (high - low), 0, 1) * 255)
    assert np.abs(film - expected).max() <= 1
    assert len(np.unique(film)) > 200
    flat = np.full_like(narrow, 1500)
    assert len(np.unique(read(native(flat, bits)))) == 1


def test_of_a_film_of_two_levels_a_window_may_leave_two():
    two = np.where(TWELVE > 2000, 2100, 1900).astype(np.uint16)
    film = read(native(two, 12, WindowCenter="2000", WindowWidth="1"))
    np.testing.assert_array_equal(film, np.where(two >= 2000, 255, 0))


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


EDGE = np.s_[:, :9]


def padded(pixels, value):
    film = pixels.copy()
    film[EDGE] = value
    return film


def background(film):
    film = film.copy()
    film[EDGE] = 0
    return film


SIGNED = TWELVE.astype(np.int16) - 2048
FULL = scaled(TWELVE, 12)
PADDED = {
    "65535 in 16 bits": (TWELVE, 65535, 16, {}, FULL),
    "65535, which 12 bits cannot hold": (TWELVE, 65535, 12, {}, FULL),
    "4095 in 12 bits": (np.minimum(TWELVE, 4094), 4095, 12, {}, FULL),
    "0 of MONOCHROME1": (
        np.maximum(TWELVE, 1),
        0,
        12,
        {"photometric": "MONOCHROME1"},
        255 - FULL,
    ),
    "-2000 in 16 signed bits": (TWELVE.astype(np.int16), -2000, 16, {}, FULL),
    "-32768 round 12 signed bits": (SIGNED, -32768, 12, {}, FULL),
    "-2048 in 12 signed bits": (np.maximum(SIGNED, -2047), -2048, 12, {}, FULL),
    "with a window": (
        TWELVE,
        65535,
        16,
        {"WindowCenter": "1500", "WindowWidth": "1000"},
        window(TWELVE.astype(float), 1500, 1000),
    ),
    "with a falling slope": (
        TWELVE,
        65535,
        16,
        {"RescaleSlope": "-1", "RescaleIntercept": "4095"},
        255 - FULL,
    ),
    "with a VOI LUT": (
        TWELVE,
        65535,
        16,
        {"VOILUTSequence": lut(np.arange(4096), 0, 12)},
        FULL,
    ),
    "a range": (
        TWELVE,
        65000,
        16,
        {"PixelPaddingRangeLimit": 64000},
        FULL,
    ),
}


@pytest.mark.parametrize(
    ("pixels", "value", "bits", "tags", "expected"), PADDED.values(), ids=PADDED
)
def test_padding_is_black_and_counts_for_nothing(pixels, value, bits, tags, expected):
    film = padded(pixels, value)
    if "PixelPaddingRangeLimit" in tags:
        film[EDGE] -= np.arange(9, dtype=film.dtype) * 100
    seen = read(native(film, bits, PixelPaddingValue=value, **tags))
    assert np.abs(seen.astype(int) - background(expected)).max() <= 1


def test_a_film_of_nothing_but_padding_is_refused():
    with pytest.raises(FilmError, match="nothing but padding"):
        read(native(np.full((9, 9), 7, dtype=np.uint16), 12, PixelPaddingValue=7))


JUNK = np.random.default_rng(3).integers(0, 1 << 16, TWELVE.shape).astype(np.uint16)
PLACES = [(12, 15), (12, 13), (12, 11), (10, 15), (10, 11), (8, 15), (14, 15)]
CONTAINERS = {
    "plain": (NATIVE, lambda pixels: pixels.tobytes()),
    "implicit": (uid.ImplicitVRLittleEndian, lambda pixels: pixels.tobytes()),
    "big endian": (uid.ExplicitVRBigEndian, lambda pixels: pixels.astype(">u2").tobytes()),
    **{name: (syntax, lambda p, e=e: e(p, 16)) for name, (syntax, e) in LOSSLESS.items()},
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high"), PLACES)
@pytest.mark.parametrize(("syntax", "encode"), CONTAINERS.values(), ids=CONTAINERS)
def test_bits_outside_the_stored_ones_are_masked_in_every_syntax(
    syntax, encode, bits, high, signed
):
    values = drawn(bits).astype(np.uint16)
    shift, mask = high + 1 - bits, (1 << bits) - 1
    codes = (values - (1 << bits - 1)) & mask if signed else values
    pixels = ((codes.astype(np.uint16) << shift) | (JUNK & (0xFFFF - (mask << shift)))).astype(
        np.uint16
    )
    film = dataset_of(pixels, bits, HighBit=high, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(read(written(film, encode(pixels), syntax)), scaled(values, bits))


def test_a_stream_of_the_stored_bits_alone_is_not_shifted():
    film = dataset_of(TWELVE, 12, HighBit=15)
    data = written(film, jpeg2k(TWELVE, 12), uid.JPEG2000Lossless)
    np.testing.assert_array_equal(read(data), FULL)


def table(descriptor, data, vr="OW"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", vr, data)
    return Sequence([item])


STEPS = np.rint(np.linspace(0, 255, 4096)).astype(np.uint8)
RAMP = np.arange(4096, dtype="<u2")
TABLES = {
    "8 bits in words": table([4096, 0, 8], STEPS.astype("<u2").tobytes()),
    "8 bits, two in a word": table([4096, 0, 8], STEPS.tobytes()),
    "8 bits, two in a number": table([4096, 0, 8], STEPS.view("<u2").tolist(), "US"),
    "fewer entries told": table([256, 0, 12], RAMP.tobytes()),
    "more entries told": table([60000, 0, 12], RAMP.tobytes()),
    "65536 entries told": table([0, 0, 12], RAMP.tolist(), "US"),
    "16 bits told of 12": table([4096, 0, 16], RAMP.tobytes()),
    "8 bits told of 12": table([4096, 0, 8], RAMP.tobytes()),
    "no bits told": table([4096, 0, 0], RAMP.tobytes()),
}


@pytest.mark.parametrize("sequence", TABLES.values(), ids=TABLES)
def test_entries_decide_where_the_descriptor_contradicts_them(sequence):
    seen = read(native(TWELVE, 12, VOILUTSequence=sequence))
    assert np.abs(seen.astype(int) - FULL).max() <= 1


@pytest.mark.parametrize("syntax", [NATIVE, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("first", "tags", "pixels", "bits"),
    [
        (64512, {"RescaleIntercept": "-1024", "RescaleSlope": "1"}, TWELVE, 12),
        (63488, {}, SIGNED, 12),
        (40000, {}, TWELVE + np.uint16(40000), 16),
        (32768, {"RescaleIntercept": "-32768", "RescaleSlope": "1"}, TWELVE, 16),
    ],
)
def test_the_first_value_of_a_table_has_the_sign_of_what_it_maps(syntax, first, tags, pixels, bits):
    sequence = table([4096, first, 12], RAMP.tobytes())
    film = dataset_of(pixels, bits, VOILUTSequence=sequence, **tags)
    np.testing.assert_array_equal(read(written(film, pixels.tobytes(), syntax)), FULL)
    if "RescaleSlope" not in tags:
        film = dataset_of(pixels, bits, ModalityLUTSequence=sequence)
        np.testing.assert_array_equal(read(written(film, pixels.tobytes(), syntax)), FULL)


def test_a_table_without_its_descriptor_is_named():
    sequence = table([4096, 0, 12], RAMP.tobytes())
    del sequence[0].LUTDescriptor
    with pytest.raises(FilmError, match="VOILUTSequence lacks LUTDescriptor"):
        read(native(TWELVE, 12, VOILUTSequence=sequence))
