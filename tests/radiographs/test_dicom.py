"""DICOM radiographs in each transfer syntax, encoded by imagecodecs, shown as their tags say."""

import io
import logging

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from cxrlens.errors import FilmError
from cxrlens.radiographs.read import decode_radiograph

from .drawn import coloured, drawn, jpeg_with, luma, scaled

CR = uid.ComputedRadiographyImageStorage
DX = uid.DigitalXRayImageStorageForPresentation
CAPTURE = uid.SecondaryCaptureImageStorage
NATIVE = uid.ExplicitVRLittleEndian
EIGHT, TWELVE, SIXTEEN = drawn(8), drawn(12), drawn(16)


def dataset_of(pixels, bits, *, kind=CR, photometric="MONOCHROME2", **tags):
    """A DICOM film of drawn pixels with no more than the tags that it must have, and `tags`."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = kind, "1.2.3.4"
    film.PatientName, film.PatientID = "Rossi^Maria", "MRN0042"
    film.Modality = {CR: "CR", DX: "DX", CAPTURE: "OT"}.get(kind, "")
    film.Rows, film.Columns = pixels.shape[:2]
    film.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    if film.SamplesPerPixel > 1:
        film.PlanarConfiguration = 0
    film.PhotometricInterpretation = photometric
    film.BitsAllocated = 8 * pixels.dtype.itemsize
    film.BitsStored, film.HighBit = bits, bits - 1
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        setattr(film, keyword, value)
    return film


def written(film, pixel_data, syntax=NATIVE):
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        pixel_data = encapsulate([pixel_data])
    film.PixelData = pixel_data
    film["PixelData"].VR = "OB" if syntax.is_encapsulated or film.BitsAllocated == 8 else "OW"
    film["PixelData"].is_undefined_length = syntax.is_encapsulated
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def native(pixels, bits, **tags):
    return written(dataset_of(pixels, bits, **tags), pixels.tobytes())


def read(data):
    return decode_radiograph(data, "film.dcm")


def jpeg8(pixels, **options):
    return imagecodecs.jpeg8_encode(pixels, **options)


def jpeg_lossless(pixels, bits):
    return jpeg8(pixels, lossless=True, predictor=1, bitspersample=bits)


def ljpeg(pixels, bits):
    """Lossless JPEG of predictor 6."""
    return imagecodecs.ljpeg_encode(pixels, bitspersample=bits)


def jpeg2k(pixels, bits):
    return imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0, bitspersample=bits
    )


def jp2(pixels, bits):
    return imagecodecs.jpeg2k_encode(
        pixels, codecformat="jp2", reversible=True, level=0, bitspersample=bits
    )


def htj2k(pixels, bits):
    return imagecodecs.htj2k_encode(pixels, reversible=True)


def jpegls(pixels, bits):
    return imagecodecs.jpegls_encode(pixels)


def rle(pixels, bits):
    """RLE Lossless (PS3.5 annex G), each byte plane a segment, high byte first, literal runs only."""
    planes = pixels[..., None].view(np.uint8)[..., ::-1]
    segments = []
    for plane in np.moveaxis(planes, -1, 0):
        line = plane.tobytes()
        runs = [line[at : at + 128] for at in range(0, len(line), 128)]
        coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(coded + b"\x80" * (len(coded) % 2))
    offsets = np.zeros(16, dtype="<u4")
    offsets[0] = len(segments)
    offsets[1 : 1 + len(segments)] = 64 + np.cumsum([0, *map(len, segments)])[:-1]
    return offsets.tobytes() + b"".join(segments)


LOSSLESS = {
    "JPEG lossless, first order": (uid.JPEGLosslessSV1, jpeg_lossless),
    "JPEG lossless, predictor 6": (uid.JPEGLossless, ljpeg),
    "JPEG 2000 lossless": (uid.JPEG2000Lossless, jpeg2k),
    "JPEG 2000": (uid.JPEG2000, jpeg2k),
    "JPEG 2000 in a container": (uid.JPEG2000Lossless, jp2),
    "HTJ2K lossless": (uid.HTJ2KLossless, htj2k),
    "JPEG-LS": (uid.JPEGLSLossless, jpegls),
    "RLE": (uid.RLELossless, rle),
}


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


def window(stored, centre, width):
    """PS3.3 C.11.2.1.2.1, as its pseudo-code has it, for brightness from 0 to 255."""
    below = stored <= centre - 0.5 - (width - 1) / 2
    above = stored > centre - 0.5 + (width - 1) / 2
    inside = ((stored - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(np.where(below, 0, np.where(above, 255, inside))).astype(np.uint8)


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


def lut(entries, first, bits, *, words=True):
    item = Dataset()
    count = len(entries) % 65536
    item.add_new("LUTDescriptor", "US", [count, first, bits])
    if words:
        item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    item.LUTExplanation = "NORMAL"
    return Sequence([item])


ROOT = np.rint(np.sqrt(np.arange(3000) / 2999) * 4095).astype(int)


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


SOFT = np.dstack([EIGHT, EIGHT, EIGHT]) // 2 + coloured() // 4 + 30
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


OTHERS = {
    "CT": "a CT slice, not a radiograph",
    "MR": "an MR slice, not a radiograph",
    "US": "an ultrasound image, not a radiograph",
    "MG": "a mammogram, not a radiograph",
    "ZZ": "an image of another kind, not a radiograph",
}


@pytest.mark.parametrize("modality", OTHERS)
def test_other_modalities_are_refused(modality):
    with pytest.raises(FilmError, match=f"^film.dcm is {OTHERS[modality]}"):
        read(native(EIGHT, 8, Modality=modality))


def test_without_a_modality_the_class_decides():
    with pytest.raises(FilmError, match=r"^film\.dcm is a DICOM object of another kind"):
        read(native(EIGHT, 8, kind=uid.CTImageStorage))
    np.testing.assert_array_equal(read(native(EIGHT, 8, Modality="")), EIGHT)


def test_several_frames_are_refused():
    film = dataset_of(EIGHT, 8, NumberOfFrames=3)
    with pytest.raises(FilmError, match=r"^film\.dcm is a DICOM film of 3 frames"):
        read(written(film, EIGHT.tobytes() * 3))
    one = written(dataset_of(EIGHT, 8, NumberOfFrames=1), EIGHT.tobytes())
    np.testing.assert_array_equal(read(one), EIGHT)


def test_a_directory_of_films_is_none():
    film = dataset_of(EIGHT, 8, kind=uid.MediaStorageDirectoryStorage)
    with pytest.raises(FilmError, match=r"^film\.dcm is a DICOM object of another kind"):
        read(written(film, EIGHT.tobytes()))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["PixelData"], "a broken DICOM file .its pixels are missing"),
        (["PixelData", "Rows", "Columns"], "a DICOM file without an image"),
        (["Rows"], "a broken DICOM file|holds no pixels"),
        (["BitsAllocated"], "a broken DICOM file"),
        (["PhotometricInterpretation"], "a broken DICOM file"),
    ],
)
def test_missing_tags_are_refused(missing, words):
    film = dataset_of(EIGHT, 8)
    written(film, EIGHT.tobytes())
    for keyword in missing:
        delattr(film, keyword)
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    with pytest.raises(FilmError, match=f"^film.dcm (is )?({words})"):
        read(file.getvalue())


UNKNOWN = uid.UID("1.2.3.4.5")
UNKNOWN.set_private_encoding(False, True)


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (uid.JPEGExtended12Bit, jpeg8(TWELVE, level=90, bitspersample=12)),
        (uid.MPEG4HP41, b"\0\0\1\xb3" * 9),
        (UNKNOWN, b"\0" * 64),
    ],
    ids=["JPEG extended of 12 bits", "MPEG-4", "unknown"],
)
def test_a_compression_without_decoder_is_named(syntax, stream):
    data = written(dataset_of(TWELVE, 12), stream, syntax)
    with pytest.raises(FilmError, match=r"^film\.dcm is compressed in a way that has no decoder"):
        read(data)


CODED = {
    "plain": (NATIVE, TWELVE.tobytes()),
    "deflated": (uid.DeflatedExplicitVRLittleEndian, TWELVE.tobytes()),
    "JPEG": (uid.JPEGBaseline8Bit, jpeg8(EIGHT, level=90)),
    **{name: (syntax, encode(TWELVE, 12)) for name, (syntax, encode) in LOSSLESS.items()},
}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(("syntax", "stream"), CODED.values(), ids=CODED)
def test_a_file_that_is_cut_short_is_refused(syntax, stream, share):
    pixels, bits = (EIGHT, 8) if syntax == uid.JPEGBaseline8Bit else (TWELVE, 12)
    data = written(dataset_of(pixels, bits), stream, syntax)
    with pytest.raises(FilmError, match=r"^film\.dcm is a broken DICOM file"):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("filling", [0, 100_000], ids=["cut", "filled with zeros"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(("syntax", "stream"), CODED.values(), ids=CODED)
def test_a_stream_that_is_cut_short_in_a_whole_file_is_refused(syntax, stream, share, filling):
    if syntax == uid.RLELossless or not syntax.is_encapsulated:
        filling = 0  # zeros are as good pixels as any
    pixels, bits = (EIGHT, 8) if syntax == uid.JPEGBaseline8Bit else (TWELVE, 12)
    kept = stream[: int(len(stream) * share) // 2 * 2] + bytes(filling)
    with pytest.raises(FilmError, match=r"^film\.dcm is a broken DICOM file"):
        read(written(dataset_of(pixels, bits), kept, syntax))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1])
def test_tags_and_stream_must_agree_in_size(syntax):
    encode = dict(LOSSLESS.values())[syntax]
    film = dataset_of(TWELVE, 12, Rows=TWELVE.shape[0] // 2)
    with pytest.raises(FilmError, match="disagree in size"):
        read(written(film, encode(TWELVE, 12), syntax))


@pytest.mark.parametrize(
    ("place", "value"),
    [(24, 0xFF), (24, 0), (29, 2), (38, 0xFF), (35, 0x80), (3, 0), (21, 0xC2), (70, 3)],
)
def test_a_lossless_header_that_would_crash_the_decoder_is_refused(place, value):
    stream = bytearray(jpeg_lossless(TWELVE, 12))
    assert stream[20:22] == b"\xff\xc3"
    stream[place] = value
    with pytest.raises(FilmError, match=r"^film\.dcm is a broken DICOM file"):
        read(written(dataset_of(TWELVE, 12), bytes(stream), uid.JPEGLosslessSV1))


def test_tags_that_would_crash_the_decoder_are_refused():
    stream = jpeg8(SOFT, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB")
    film = dataset_of(SOFT, 7, kind=CAPTURE, photometric="RGB")
    with pytest.raises(FilmError, match=r"^film\.dcm is a broken DICOM file"):
        read(written(film, stream, uid.JPEGLosslessSV1))


def test_remarks_in_a_lossless_stream_do_not_matter():
    stream = jpeg_with(jpeg_lossless(TWELVE, 12), 0xFE, b"a remark")
    stream = jpeg_with(stream, 0xE0, b"JFIF\0\xdf\xff\0\0\1\0\1\0\0")
    film = read(written(dataset_of(TWELVE, 12), stream, uid.JPEGLosslessSV1))
    np.testing.assert_array_equal(film, scaled(TWELVE, 12))


def test_a_huge_film_is_refused_before_it_is_decoded():
    film = dataset_of(TWELVE, 12, Rows=30000, Columns=30000)
    with pytest.raises(FilmError, match=r"^film\.dcm is 30,000 × 30,000 pixels large"):
        read(written(film, TWELVE.tobytes()))


def test_a_deflated_bomb_is_refused_before_it_is_inflated():
    film = dataset_of(EIGHT, 8)
    data = written(film, bytes(2_000_000), uid.DeflatedExplicitVRLittleEndian)
    assert len(data) < 10_000
    with pytest.raises(FilmError, match="deflated DICOM file larger than any film"):
        decode_radiograph(data, "film.dcm", max_pixels=100_000)


def test_nothing_of_the_patient_is_logged_or_said(caplog, capfd, recwarn):
    long_name = "Rossi^Maria" * 20  # longer than the standard allows: pydicom quotes what it minds
    film = dataset_of(EIGHT, 8, WindowCenter="1.00000000000000000000001", WindowWidth="255")
    data = written(film, EIGHT.tobytes())
    data = data.replace(b"PN\x0c\x00Rossi^Maria ", b"PN\xdc\x00" + long_name.encode())
    assert long_name.encode() in data
    cut = jpegls(TWELVE, 12)[:900] + b"\xff\xd9"  # pydicom logs what its decoders stumble over
    broken = written(dataset_of(TWELVE, 12), cut, uid.JPEGLSLossless)
    caplog.clear()  # writing the film made pydicom speak
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        read(data)
        with pytest.raises(FilmError) as refusal:
            read(broken)
    out, err = capfd.readouterr()
    for text in (caplog.text, out, err, str(refusal.value), *map(str, recwarn)):
        assert "Rossi" not in text
        assert "MRN0042" not in text
    assert (out, err, caplog.text, list(recwarn)) == ("", "", "", [])
