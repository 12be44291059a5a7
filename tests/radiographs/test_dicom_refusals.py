"""DICOM files that are no film, broken, huge or dangerous; and nothing of the patient leaks."""

import io
import logging

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from cxrlens.errors import FilmError
from cxrlens.radiographs.read import decode_radiograph

from .dicom_films import (
    DX,
    EIGHT,
    LOSSLESS,
    NATIVE,
    TWELVE,
    dataset_of,
    jpeg8,
    jpeg_lossless,
    jpegls,
    native,
    read,
    written,
)
from .drawn import coloured, jpeg_with, scaled

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


def test_a_slice_called_a_film_is_refused_and_a_maker_s_own_class_is_not():
    with pytest.raises(FilmError, match=r"^film\.dcm is a DICOM object of another kind"):
        read(native(EIGHT, 8, Modality="CR", kind=uid.CTImageStorage))
    private = uid.UID("1.2.392.200036.9125.1.1.2")
    np.testing.assert_array_equal(read(native(EIGHT, 8, Modality="CR", kind=private)), EIGHT)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ViewPosition": "LL"}, r"not a frontal film \(view LL\)"),
        ({"BodyPartExamined": "HAND"}, r"a film of another body part \(HAND\)"),
    ],
)
def test_other_views_and_parts_are_refused(tags, words):
    with pytest.raises(FilmError, match=rf"^film\.dcm is by its header {words}"):
        read(native(EIGHT, 8, **tags))
    film = native(EIGHT, 8, ViewPosition="PA", BodyPartExamined="CHEST")
    np.testing.assert_array_equal(read(film), EIGHT)


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
        (["PixelData"], "is a broken DICOM file .its pixels are missing"),
        (["PixelData", "Rows", "Columns"], "is a DICOM file without an image"),
        (["Rows"], "lacks the DICOM tag Rows"),
        (["Columns"], "lacks the DICOM tag Columns"),
        (
            ["SamplesPerPixel", "PhotometricInterpretation"],
            "lacks the DICOM tag SamplesPerPixel",
        ),
        (["PixelRepresentation"], "lacks the DICOM tag PixelRepresentation"),
    ],
)
def test_missing_tags_are_refused_by_name(missing, words):
    film = dataset_of(TWELVE, 12)
    written(film, TWELVE.tobytes())
    for keyword in missing:
        delattr(film, keyword)
    with pytest.raises(FilmError, match=f"^film.dcm {words}") as told:
        read(saved(film))
    assert "copy it again" not in str(told.value) or "PixelData" in missing


COLOURLESS = np.dstack([EIGHT] * 3)


@pytest.mark.parametrize(
    ("pixels", "bits", "missing", "tags"),
    [
        (EIGHT, 8, ["PixelRepresentation"], {}),
        (TWELVE, 12, ["PixelRepresentation"], {"kind": DX}),
        (TWELVE, 12, ["HighBit"], {}),
        (TWELVE, 12, ["BitsStored"], {}),
        (TWELVE, 12, ["BitsStored", "HighBit"], {}),
        (TWELVE, 12, ["BitsAllocated"], {}),
        (EIGHT, 8, ["BitsAllocated", "BitsStored", "HighBit"], {}),
        (TWELVE, 12, ["SamplesPerPixel"], {}),
        (TWELVE, 12, ["PhotometricInterpretation"], {}),
        (TWELVE, 12, ["PhotometricInterpretation"], {"PresentationLUTShape": "IDENTITY"}),
        (COLOURLESS, 8, ["PlanarConfiguration"], {"photometric": "RGB"}),
        (COLOURLESS, 8, ["PhotometricInterpretation"], {"photometric": "RGB"}),
        (COLOURLESS, 8, ["SamplesPerPixel"], {"photometric": "RGB"}),
    ],
)
def test_missing_tags_get_the_one_meaning_that_they_can_have(pixels, bits, missing, tags):
    film = dataset_of(pixels, bits, **tags)
    written(film, pixels.tobytes())
    for keyword in missing:
        delattr(film, keyword)
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    np.testing.assert_array_equal(read(saved(film)), scaled(grey, bits))


def test_planes_and_triples_are_told_apart_without_their_tag():
    colours = dataset_of(COLOURLESS, 8, photometric="RGB")
    written(colours, COLOURLESS.transpose(2, 0, 1).tobytes())
    del colours.PlanarConfiguration
    np.testing.assert_array_equal(read(saved(colours)), EIGHT)


def test_a_grey_film_in_ybr_without_the_tag_that_says_so():
    ybr = np.dstack([EIGHT, np.full_like(EIGHT, 128), np.full_like(EIGHT, 128)])
    film = dataset_of(ybr, 8, photometric="YBR_FULL")
    written(film, ybr.tobytes())
    del film.PhotometricInterpretation
    np.testing.assert_array_equal(read(saved(film)), EIGHT)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"BitsStored": 17}, "BitsStored"),
        ({"BitsAllocated": 12}, "BitsAllocated"),
        ({"SamplesPerPixel": 2}, "SamplesPerPixel"),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation"),
        ({"PhotometricInterpretation": "GREY"}, "PhotometricInterpretation"),
    ],
)
def test_tags_that_contradict_are_named(tags, words):
    film = dataset_of(TWELVE, 12, **tags)
    with pytest.raises(FilmError, match=rf"^film\.dcm .*{words}"):
        read(written(film, TWELVE.tobytes()))


def saved(film):
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


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


@pytest.mark.parametrize("syntax", [NATIVE, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("pixels", "bits", "tags"),
    [
        (TWELVE, 12, {"Rows": TWELVE.shape[0] * 3 // 5}),
        (TWELVE, 12, {"Columns": TWELVE.shape[1] - 1}),
        (TWELVE, 12, {"Rows": TWELVE.shape[0] // 2}),  # as two frames of which no tag tells
        (EIGHT, 8, {"Rows": EIGHT.shape[0] - 1}),
        (coloured(), 8, {"Rows": EIGHT.shape[0] - 1}),
    ],
)
def test_more_pixels_than_the_tags_promise_are_refused(syntax, pixels, bits, tags):
    photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    film = dataset_of(pixels, bits, photometric=photometric, **tags)
    words = rf"disagree in size: .* bytes, and it has {pixels.nbytes:,}\): export it anew"
    with pytest.raises(FilmError, match=words):
        read(written(film, pixels.tobytes(), syntax))


@pytest.mark.parametrize("of_offsets", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in CODED if kind not in ("plain", "deflated")])
def test_compressed_frames_of_which_no_tag_tells_are_refused_and_fragments_are_not(
    kind, of_offsets
):
    syntax, stream = CODED[kind]
    film = dataset_of(*((EIGHT, 8) if kind == "JPEG" else (TWELVE, 12)))
    whole = read(written(film, stream, syntax))
    film.PixelData = encapsulate([stream, stream], has_bot=of_offsets)
    with pytest.raises(FilmError, match="is a DICOM film of 2 frames"):
        read(saved(film))
    if syntax != uid.RLELossless:  # whose frame is one fragment
        film.PixelData = encapsulate([stream], fragments_per_frame=3, has_bot=of_offsets)
        np.testing.assert_array_equal(read(saved(film)), whole)


def test_a_film_of_an_odd_length_has_its_padding():
    odd = np.ascontiguousarray(EIGHT[:45, :61])
    for padding in (b"", b"\0"):
        film = dataset_of(odd, 8)
        np.testing.assert_array_equal(read(written(film, odd.tobytes() + padding)), odd)


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
    with pytest.raises(FilmError, match=r"^film\.dcm is a (broken )?DICOM fil"):
        read(written(dataset_of(TWELVE, 12), bytes(stream), uid.JPEGLosslessSV1))


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("stored", range(1, 8))
def test_tags_that_crashed_the_decoder_are_read(syntax, stored):
    """GDCM aborts on fewer bits than allocated; it is told of the coded ones, and the tags come after."""
    pixels = EIGHT & ((1 << stored) - 1)
    film = dataset_of(pixels, stored)
    coded = read(written(film, jpeg_lossless(pixels, 8), syntax))
    np.testing.assert_array_equal(coded, scaled(pixels, stored))


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
