"""DICOM in each transfer syntax, encoded by another library than the one that decodes."""

import io

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from .dicom_films import (
    CAPTURE,
    CR,
    DX,
    EIGHT,
    LOSSLESS,
    NATIVE,
    SIXTEEN,
    SOFT,
    TWELVE,
    dataset_of,
    jpeg2k,
    jpeg8,
    jpegls,
    native,
    read,
    window,
    written,
)
from .drawn import coloured, drawn, luma, scaled


@pytest.mark.parametrize("kind", [CR, DX, CAPTURE], ids=["CR", "DX", "SC"])
@pytest.mark.parametrize(("pixels", "bits"), [(EIGHT, 8), (TWELVE, 12), (SIXTEEN, 16)])
@pytest.mark.parametrize(("syntax", "encode"), LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_syntaxes_give_the_very_pixels(syntax, encode, pixels, bits, kind):
    film = dataset_of(pixels, bits, kind=kind)
    np.testing.assert_array_equal(
        read(written(film, encode(pixels, bits), syntax)), scaled(pixels, bits), strict=True
    )


@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, NATIVE, uid.DeflatedExplicitVRLittleEndian],
    ids=["implicit", "explicit", "deflated"],
)
@pytest.mark.parametrize(("pixels", "bits"), [(EIGHT, 8), (TWELVE, 12), (SIXTEEN, 16)])
def test_plain_syntaxes_give_the_very_pixels(syntax, pixels, bits):
    data = written(dataset_of(pixels, bits), pixels.tobytes(), syntax)
    np.testing.assert_array_equal(read(data), scaled(pixels, bits), strict=True)


def test_big_endian_gives_the_very_pixels():
    film = dataset_of(TWELVE, 12, WindowCenter="2048", WindowWidth="4096")
    data = written(film, TWELVE.astype(">u2").tobytes(), uid.ExplicitVRBigEndian)
    assert np.abs(read(data).astype(int) - scaled(TWELVE, 12)).max() <= 1


@pytest.mark.parametrize("implicit", [True, False])
def test_old_files_without_a_preamble(implicit):
    file = io.BytesIO()
    film = dataset_of(TWELVE, 12, WindowCenter="1500", WindowWidth="1000")
    film.add_new("PixelData", "OW", TWELVE.tobytes())
    film.save_as(file, implicit_vr=implicit, little_endian=True)
    assert b"DICM" not in file.getvalue()
    np.testing.assert_array_equal(read(file.getvalue()), window(TWELVE.astype(float), 1500, 1000))


LOSSY = {
    "JPEG baseline": (uid.JPEGBaseline8Bit, EIGHT, 8, lambda film: jpeg8(film, level=90)),
    "JPEG extended, 8 bits": (uid.JPEGExtended12Bit, EIGHT, 8, lambda film: jpeg8(film, level=90)),
    "JPEG 2000, 8 bits": (
        uid.JPEG2000,
        EIGHT,
        8,
        lambda film: imagecodecs.jpeg2k_encode(film, 45, codecformat="j2k", reversible=False),
    ),
    "JPEG 2000, 12 bits": (
        uid.JPEG2000,
        TWELVE,
        12,
        lambda film: imagecodecs.jpeg2k_encode(
            film, 70, codecformat="j2k", reversible=False, bitspersample=12
        ),
    ),
    "JPEG-LS, near lossless": (
        uid.JPEGLSNearLossless,
        EIGHT,
        8,
        lambda film: imagecodecs.jpegls_encode(film, 3),
    ),
    "HTJ2K": (
        uid.HTJ2K,
        EIGHT,
        8,
        lambda film: imagecodecs.htj2k_encode(film, 0.005, reversible=False),
    ),
}


@pytest.mark.parametrize(("syntax", "pixels", "bits", "encode"), LOSSY.values(), ids=LOSSY)
def test_lossy_syntaxes_stay_close(syntax, pixels, bits, encode):
    film = read(written(dataset_of(pixels, bits), encode(pixels), syntax))
    error = np.abs(film.astype(float) - scaled(pixels, bits))
    assert film.shape == pixels.shape
    assert 0 < error.mean() < 2.5


def test_fragments_of_one_frame_are_joined():
    stream = jpegls(TWELVE, 12)
    film = dataset_of(TWELVE, 12)
    data = written(film, stream, uid.JPEGLSLossless)
    whole, parts = encapsulate([stream]), encapsulate([stream], fragments_per_frame=3)
    assert whole != parts
    assert whole in data
    np.testing.assert_array_equal(read(data.replace(whole, parts)), scaled(TWELVE, 12))


def ybr(colour):
    """Full-range YCbCr of BT.601 (PS3.3 C.7.6.3.1.2)."""
    red, green, blue = np.moveaxis(colour.astype(float), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [grey, (blue - grey) / 1.772 + 128, (red - grey) / 1.402 + 128]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def planes(colour):
    film = dataset_of(colour, 8, kind=CAPTURE, photometric="RGB", PlanarConfiguration=1)
    return written(film, colour.transpose(2, 0, 1).tobytes())


def palette_film():
    entries = np.random.default_rng(1).integers(0, 65536, (256, 3)).astype("<u2")
    film = dataset_of(EIGHT, 8, kind=CAPTURE, photometric="PALETTE COLOR")
    for name, channel in zip(("Red", "Green", "Blue"), entries.T, strict=True):
        film.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        film.add_new(f"{name}PaletteColorLookupTableData", "OW", channel.tobytes())
    return written(film, EIGHT.tobytes()), scaled(luma(entries), 16)[EIGHT]


COLOURED = {
    "RGB": (native(SOFT, 8, kind=CAPTURE, photometric="RGB"), luma(SOFT)),
    "RGB by planes": (planes(SOFT), luma(SOFT)),
    "YBR": (native(ybr(SOFT), 8, kind=CAPTURE, photometric="YBR_FULL"), luma(SOFT)),
    "RGB of 12 bits": (
        native(coloured(12), 12, kind=CAPTURE, photometric="RGB"),
        scaled(luma(coloured(12)), 12),
    ),
    "palette": palette_film(),
    "JPEG, YBR": (
        written(
            dataset_of(SOFT, 8, kind=CAPTURE, photometric="YBR_FULL_422"),
            jpeg8(SOFT, level=98, subsampling="422"),
            uid.JPEGBaseline8Bit,
        ),
        luma(SOFT),
    ),
    "JPEG lossless, RGB": (
        written(
            dataset_of(SOFT, 8, kind=CAPTURE, photometric="RGB"),
            jpeg8(SOFT, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB"),
            uid.JPEGLosslessSV1,
        ),
        luma(SOFT),
    ),
    "JPEG called RGB that is YBR": (
        written(
            dataset_of(SOFT, 8, kind=CAPTURE, photometric="RGB"),
            jpeg8(SOFT, level=98),
            uid.JPEGBaseline8Bit,
        ),
        luma(SOFT),
    ),
    "JPEG 2000, RGB": (
        written(
            dataset_of(SOFT, 8, kind=CAPTURE, photometric="YBR_RCT"),
            jpeg2k(SOFT, 8),
            uid.JPEG2000Lossless,
        ),
        luma(SOFT),
    ),
    "JPEG-LS, RGB": (
        written(
            dataset_of(SOFT, 8, kind=CAPTURE, photometric="RGB"),
            jpegls(SOFT, 8),
            uid.JPEGLSLossless,
        ),
        luma(SOFT),
    ),
}


@pytest.mark.parametrize(("data", "expected"), COLOURED.values(), ids=COLOURED)
def test_colour_captures_become_grey(data, expected):
    error = np.abs(read(data).astype(int) - expected)
    assert error.mean() < 0.8
    assert error.max() <= 6


def test_one_bit_capture():
    shape = drawn(1, (16, 24))
    film = dataset_of(shape, 1, kind=CAPTURE, BitsAllocated=1)
    bits = np.packbits(shape.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(read(written(film, bits)), shape * 255)
