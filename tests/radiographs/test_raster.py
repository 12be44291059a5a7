"""PNG, JPEG and TIFF in every mode, written by other libraries or by hand, never by the decoder's."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from cxrlens.errors import FilmError
from cxrlens.radiographs.read import decode_radiograph, read_radiograph

from .drawn import chunk, coloured, drawn, exif, jpeg_with, jpeg_without, luma, png, scaled

GREY, COLOUR = drawn(), coloured()
ALPHA = np.broadcast_to(np.linspace(0, 255, GREY.shape[1]).astype(np.uint8), GREY.shape)
PALETTE = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
PLTE = chunk(b"PLTE", PALETTE.tobytes())
GREYS, COLOURS, INDEXED, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def on_black(grey, alpha):
    return np.rint(grey.astype(float) * alpha / 255).astype(np.uint8)


def with_alpha(pixels, alpha):
    return np.dstack([pixels, alpha])


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def thumbnailed_tiff():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as pages:
        pages.write(GREY, photometric="minisblack")
        pages.write(GREY[::4, ::4], photometric="minisblack", subfiletype=1)
    return file.getvalue()


def masked(film, level):
    return np.where(film == level, 0, film)


LEVEL = int(GREY[3, 4])
TWELVE = drawn(12)
DEEP = drawn(16)
TRANSPARENT_INDEX = chunk(b"tRNS", bytes(range(256)))

PNGS = {
    "grey 1": (png(GREY >> 7, GREYS, 1), (GREY >> 7) * 255),
    "grey 2": (png(GREY >> 6, GREYS, 2), (GREY >> 6) * 85),
    "grey 4": (png(GREY >> 4, GREYS, 4), (GREY >> 4) * 17),
    "grey 8": (png(GREY, GREYS, 8), GREY),
    "grey 8, one level transparent": (
        png(GREY, GREYS, 8, chunk(b"tRNS", bytes([0, LEVEL]))),
        masked(GREY, LEVEL),
    ),
    "grey 16 of 16 bits": (png(DEEP, GREYS, 16), scaled(DEEP, 16)),
    "grey 16 of 14 bits": (png(drawn(14), GREYS, 16), scaled(drawn(14), 14)),
    "grey 16 of 12 bits": (png(TWELVE, GREYS, 16), scaled(TWELVE, 12)),
    "grey 16 of 10 bits": (png(drawn(10), GREYS, 16), scaled(drawn(10), 10)),
    "grey 16 of 8 bits": (png(GREY, GREYS, 16), GREY),
    "grey 16, one level transparent": (
        png(TWELVE, GREYS, 16, chunk(b"tRNS", int(TWELVE[5, 6]).to_bytes(2, "big"))),
        np.where(TWELVE[5, 6] == TWELVE, 0, scaled(TWELVE, 12)),
    ),
    "colour 8": (png(COLOUR, COLOURS, 8), luma(COLOUR)),
    "colour 8, one colour transparent": (
        png(COLOUR, COLOURS, 8, chunk(b"tRNS", COLOUR[3, 4].astype(">u2").tobytes())),
        np.where((COLOUR[3, 4] == COLOUR).all(-1), 0, luma(COLOUR)),
    ),
    "colour 16 of 12 bits": (png(coloured(12), COLOURS, 16), scaled(luma(coloured(12)), 12)),
    "colour 16 of 16 bits": (png(coloured(16), COLOURS, 16), scaled(luma(coloured(16)), 16)),
    "palette 8": (png(GREY, INDEXED, 8, PLTE), luma(PALETTE)[GREY]),
    "palette 4": (png(GREY >> 4, INDEXED, 4, PLTE), luma(PALETTE)[GREY >> 4]),
    "palette 1": (
        png(GREY >> 7, INDEXED, 1, chunk(b"PLTE", b"\xff\xff\xff\0\0\0")),
        255 - (GREY >> 7) * 255,
    ),
    "palette 8, transparent": (
        png(GREY, INDEXED, 8, PLTE, TRANSPARENT_INDEX),
        on_black(luma(PALETTE)[GREY], GREY),
    ),
    "grey with alpha 8": (png(with_alpha(GREY, ALPHA), GREY_ALPHA, 8), on_black(GREY, ALPHA)),
    "grey with alpha 16": (
        png(with_alpha(TWELVE, ALPHA * np.uint16(257)), GREY_ALPHA, 16),
        on_black(scaled(TWELVE, 12), ALPHA),
    ),
    "colour with alpha 8": (
        png(with_alpha(COLOUR, ALPHA), COLOUR_ALPHA, 8),
        on_black(luma(COLOUR), ALPHA),
    ),
    "colour with alpha 16": (
        png(with_alpha(coloured(16), ALPHA * np.uint16(257)), COLOUR_ALPHA, 16),
        on_black(scaled(luma(coloured(16)), 16), ALPHA),
    ),
    "1 x 1": (png(GREY[:1, :1], GREYS, 8), GREY[:1, :1]),
    "one row": (png(GREY[:1], GREYS, 8), GREY[:1]),
    "1 bit, width no multiple of 8": (png(GREY[:, :13] >> 7, GREYS, 1), (GREY[:, :13] >> 7) * 255),
}

TIFFS = {
    "grey 8": (tiff(GREY), GREY),
    "grey 8, white is zero": (tiff(GREY, photometric="miniswhite"), 255 - GREY),
    "grey 8, lzw": (tiff(GREY, compression="lzw"), GREY),
    "grey 8, deflate, tiles": (tiff(GREY, compression="zlib", tile=(16, 16)), GREY),
    "grey 8, packbits, strips": (tiff(GREY, compression="packbits", rowsperstrip=7), GREY),
    "grey 8, BigTIFF": (tiff(GREY, bigtiff=True), GREY),
    "grey 8, turned": (tiff(GREY, extratags=[(274, 3, 1, 6, True)]), np.rot90(GREY, -1)),
    "grey 8 with a thumbnail": (thumbnailed_tiff(), GREY),
    "grey 1": (tiff(GREY > 150, photometric="minisblack"), (GREY > 150) * np.uint8(255)),
    "grey 1, white is zero": (
        tiff(GREY > 150, photometric="miniswhite"),
        (GREY <= 150) * np.uint8(255),
    ),
    "grey 16 of 12 bits": (tiff(TWELVE), scaled(TWELVE, 12)),
    "grey 16 of 12 bits, big endian": (tiff(TWELVE, byteorder=">"), scaled(TWELVE, 12)),
    "grey 16, white is zero": (tiff(DEEP, photometric="miniswhite"), 255 - scaled(DEEP, 16)),
    "grey 16, deflate, predictor": (tiff(DEEP, compression="zlib", predictor=2), scaled(DEEP, 16)),
    "grey 16, turned": (
        tiff(TWELVE, extratags=[(274, 3, 1, 8, True)]),
        np.rot90(scaled(TWELVE, 12), 1),
    ),
    "colour 8": (tiff(COLOUR, photometric="rgb"), luma(COLOUR)),
    "colour 8, planes": (
        tiff(COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        luma(COLOUR),
    ),
    "colour 16": (
        tiff(coloured(16), photometric="rgb"),
        scaled(luma(coloured(16)), 16),
    ),
    "colour 16 of 12 bits, turned": (
        tiff(coloured(12), photometric="rgb", extratags=[(274, 3, 1, 3, True)]),
        scaled(luma(coloured(12)), 12)[::-1, ::-1],
    ),
    "colour with alpha": (
        tiff(with_alpha(COLOUR, ALPHA), photometric="rgb", extrasamples=["unassalpha"]),
        on_black(luma(COLOUR), ALPHA),
    ),
    "palette": (
        tiff(GREY, photometric="palette", colormap=PALETTE.T.astype(np.uint16) * 257),
        luma(PALETTE)[GREY],
    ),
}


@pytest.mark.parametrize(
    ("data", "expected"),
    [pytest.param(*pair, id=f"PNG {name}") for name, pair in PNGS.items()]
    + [pytest.param(*pair, id=f"TIFF {name}") for name, pair in TIFFS.items()],
)
def test_every_lossless_mode_reads_as_it_was_written(data, expected):
    film = decode_radiograph(data, "film")
    assert (film.dtype, film.shape) == (np.uint8, expected.shape)
    assert film.flags.c_contiguous
    assert film.flags.writeable
    # 1 where two ways of rounding meet: the luma, then the depth or the alpha.
    assert np.abs(film.astype(int) - expected).max() <= 1
    assert (film == expected).mean() > 0.9


def jpeg(pixels, **options):
    return imagecodecs.jpeg8_encode(pixels, level=95, **options)


INKS = np.dstack([COLOUR, np.full_like(GREY, 40)])
ADOBE = jpeg(255 - INKS, colorspace="CMYK", outcolorspace="CMYK")
PLAIN_INKS = jpeg_without(jpeg(INKS, colorspace="CMYK", outcolorspace="CMYK"), 0xEE)


def printed(inks):
    """Grey of cyan, magenta, yellow and black, each taking away its share of light."""
    return luma((255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255)


JPEGS = {
    "grey": (jpeg(GREY), GREY),
    "colour": (jpeg(COLOUR, subsampling="444"), luma(COLOUR)),
    "colour, subsampled": (jpeg(COLOUR, subsampling="420"), luma(COLOUR)),
    "grey in colour": (jpeg(np.dstack([GREY] * 3)), GREY),
    "RGB without luma": (jpeg(COLOUR, colorspace="RGB", outcolorspace="RGB"), luma(COLOUR)),
    "CMYK of Adobe, inverted": (ADOBE, printed(INKS)),
    "YCCK of Adobe, inverted": (
        jpeg(255 - INKS, colorspace="CMYK", outcolorspace="YCCK"),
        printed(INKS),
    ),
    "CMYK as it is": (PLAIN_INKS, printed(INKS)),
    "1 x 1": (jpeg(GREY[:1, :1]), GREY[:1, :1]),
}


@pytest.mark.parametrize(("data", "expected"), JPEGS.values(), ids=JPEGS)
def test_every_mode_of_jpeg_reads_close_to_what_was_written(data, expected):
    film = decode_radiograph(data, "film")
    assert film.shape == expected.shape
    assert np.abs(film.astype(float) - expected).mean() < 2


def test_the_adobe_files_are_what_they_claim():
    assert b"Adobe" in ADOBE[:100]
    assert b"Adobe" not in PLAIN_INKS[:100]


def test_grey_jpeg_equals_another_decoder_bit_for_bit():
    data = jpeg(GREY)
    np.testing.assert_array_equal(
        decode_radiograph(data, "film"), imagecodecs.jpeg8_decode(data), strict=True
    )


TURNS = {
    1: np.array,
    2: np.fliplr,
    3: lambda film: np.rot90(film, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda film: np.rot90(film, -1),
    7: lambda film: np.rot90(film, 2).T,
    8: np.rot90,
    9: np.array,
}
ORIENTED = {orientation: turn(GREY) for orientation, turn in TURNS.items()}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_given(orientation, order):
    block = exif(orientation, order)
    of_png = decode_radiograph(png(GREY, GREYS, 8, chunk(b"eXIf", block)), "film")
    np.testing.assert_array_equal(of_png, ORIENTED[orientation])
    of_jpeg = decode_radiograph(jpeg_with(jpeg(GREY), 0xE1, b"Exif\0\0" + block), "film")
    assert np.abs(of_jpeg.astype(int) - ORIENTED[orientation]).max() < 20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("film", "bits"), [(GREY, 8), (TWELVE, 12)], ids=["L", "I;16"])
def test_a_tiff_that_is_not_compressed_is_turned_as_it_asks(tmp_path, film, bits, orientation):
    path = tmp_path / "film.tif"
    path.write_bytes(tiff(film, extratags=[(274, "H", 1, orientation, True)]))
    expected = TURNS[orientation](scaled(film, bits))
    np.testing.assert_array_equal(read_radiograph(path), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_pixels_come_from_the_bytes_whatever_lies_under_the_film_s_name(tmp_path, kind):
    other = tmp_path / "other"
    Image.fromarray(np.zeros_like(GREY)).save(other, kind)
    film = io.BytesIO()
    Image.fromarray(GREY).save(film, kind)
    named = decode_radiograph(film.getvalue(), str(other))
    np.testing.assert_array_equal(named, decode_radiograph(film.getvalue(), "film"))
    assert named.std() > 0


def test_orientation_reaches_deep_colour():
    data = png(coloured(16), COLOURS, 16, chunk(b"eXIf", exif(6)))
    expected = np.rot90(scaled(luma(coloured(16)), 16), -1)
    assert np.abs(decode_radiograph(data, "film").astype(int) - expected).max() <= 1


def test_broken_exif_is_passed_over():
    block = b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03"
    film = decode_radiograph(jpeg_with(jpeg(GREY), 0xE1, block), "film")
    assert film.shape == GREY.shape


def test_a_stray_bright_pixel_leaves_the_scale_of_a_twelve_bit_film():
    stray = TWELVE.copy()
    stray[0, 0] = 4095
    others = decode_radiograph(png(stray, GREYS, 16), "film").ravel()[1:]
    np.testing.assert_array_equal(others, scaled(TWELVE, 12).ravel()[1:])


WIDE = drawn(12, (180, 200))


def marked(film, level, side, smooth=False):
    film = film.astype(np.uint16)
    film[4 : 4 + side, 4 : 4 + side] = level
    if smooth:  # as letters are drawn
        film[4, 4 : 4 + side] = film[4 + side, 4 : 4 + side] = level // 2
    return film


MARKS = {
    "one pixel": (marked(WIDE, 65535, 1), 12),
    "a large mark": (marked(WIDE, 65535, 30), 12),
    "a mark with soft edges": (marked(WIDE, 65535, 12, smooth=True), 12),
    "a mark of 15 bits": (marked(WIDE, 32767, 20), 12),
    "a mark on 14 bits": (marked(drawn(14, (180, 200)), 65535, 20), 14),
    "a mark on 10 bits": (marked(drawn(10, (180, 200)), 4095, 20), 10),
    "a dark film": (WIDE // 3, 12),
}


@pytest.mark.parametrize("write", [lambda film: png(film, GREYS, 16), tiff], ids=["PNG", "TIFF"])
@pytest.mark.parametrize(("film", "bits"), MARKS.values(), ids=MARKS)
def test_a_burnt_in_mark_leaves_the_scale_of_the_film(film, bits, write):
    expected = np.minimum(np.rint(film * (255 / (2**bits - 1))), 255)
    assert np.abs(decode_radiograph(write(film), "film").astype(int) - expected).max() <= 1


def test_a_bright_part_of_the_film_is_no_mark():
    film = drawn(16, (180, 200)) // 16
    film[40:90, 40:90] = drawn(16, (50, 50))
    assert (
        np.abs(decode_radiograph(png(film, GREYS, 16), "film").astype(int) - scaled(film, 16)).max()
        <= 1
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(GREY.astype(np.float32)), "floating-point"),
        (tiff(GREY.astype(np.int16)), "signed"),
        (tiff(GREY.astype(np.int8)), "signed"),
        (tiff(GREY.astype(np.uint32)), "32-bit"),
        (tiff(np.stack([GREY, GREY, GREY, GREY, GREY])), "5 pages"),
    ],
    ids=["float", "int16", "int8", "uint32", "pages"],
)
def test_tiff_without_one_meaning_is_refused(data, words):
    with pytest.raises(FilmError, match=f"^film.tif is a TIFF file of .*{words}"):
        decode_radiograph(data, "film.tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_what_libtiff_says_of_a_damaged_film_reaches_no_terminal(compression, capfd):
    film = drawn(8, (96, 80))
    file = io.BytesIO()
    Image.fromarray(film).save(file, "TIFF", compression=compression)
    whole = file.getvalue()
    assert decode_radiograph(whole, "film").shape == film.shape
    refused = 0
    for at in range(8, len(whole) // 2, len(whole) // 60):
        damaged = whole[:at] + b"\x00\xff" + whole[at + 2 :]
        try:
            decode_radiograph(damaged, "film")
        except FilmError as error:
            refused += "broken" in str(error)
    assert refused > 0
    assert capfd.readouterr() == ("", "")


def test_sixteen_bits_of_which_little_is_filled_are_stretched():
    narrow = (drawn(16) // 64 + 30_000).astype(np.uint16)
    for data in (png(narrow, 0, 16), tiff(narrow)):
        film = decode_radiograph(data, "film")
        assert len(np.unique(film)) > 200
        assert np.corrcoef(film.ravel(), narrow.ravel())[0, 1] > 0.999
    assert np.unique(decode_radiograph(png(np.full_like(narrow, 30_000), 0, 16), "film")).size == 1
