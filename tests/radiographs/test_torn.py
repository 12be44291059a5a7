"""JPEG films that lost bytes in their middle, and whole ones of every way to code them."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from cxrlens.errors import FilmError
from cxrlens.radiographs.read import decode_radiograph

from .dicom_films import dataset_of, read, written
from .drawn import drawn, exif, jpeg_with

FILM = drawn(8, (400, 360))
WAYS = {
    "quality 50": {"quality": 50},
    "quality 95": {"quality": 95},
    "own tables": {"quality": 85, "optimize": True},
    "progressive": {"quality": 85, "progressive": True},
    "restarts in each row": {"quality": 85, "restart_marker_rows": 1},
    "restarts after each block": {"quality": 85, "restart_marker_blocks": 1},
    "colour 4:2:0": {"quality": 85, "subsampling": 2, "mode": "RGB"},
    "colour 4:2:2": {"quality": 85, "subsampling": 1, "mode": "RGB"},
    "colour 4:4:4, progressive": {
        "quality": 85,
        "subsampling": 0,
        "mode": "RGB",
        "progressive": True,
    },
    "inks": {"quality": 85, "mode": "CMYK"},
}


def jpeg(film, mode="L", **options):
    file = io.BytesIO()
    Image.fromarray(film).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


CODED = {name: jpeg(FILM, **options) for name, options in WAYS.items()}


@pytest.mark.parametrize("data", CODED.values(), ids=CODED)
def test_whole_films_are_read_however_they_are_coded(data):
    for whole in (
        data,
        data + b"\0\0a thumbnail\xff\xd8\xff\xd9",
        jpeg_with(data, 0xE1, b"Exif\0\0" + exif(1)),
        data[:-2] + b"\xff\xff" + data[-2:],  # fill bytes may stand before any marker
    ):
        error = np.abs(decode_radiograph(whole, "film").astype(int) - FILM)
        assert error.mean() < 6


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (64, 64), (65, 63)])
def test_whole_films_of_every_shape_are_read(shape):
    for options in WAYS.values():
        assert decode_radiograph(jpeg(drawn(8, shape), **options), "film").shape == shape


def lost(data, kind, share=0.5, length=64):
    at = int(len(data) * share)
    if kind == "zeros":
        return data[:at] + bytes(length) + data[at + length :]
    if kind == "cut":
        return data[:at] + data[at + length :]
    return data[:at] + b"\xff\xd9" + data[at + length :]  # an end in the middle


@pytest.mark.parametrize("kind", ["zeros", "cut", "end"])
@pytest.mark.parametrize("share", [0.4, 0.5, 0.7])
@pytest.mark.parametrize("way", [way for way in WAYS if "progressive" not in way])
def test_a_film_that_lost_bytes_in_its_middle_is_refused(way, share, kind):
    data = CODED[way]
    with pytest.raises(FilmError, match=r"^film\.jpg is a (broken )?JPEG file"):
        decode_radiograph(lost(data, kind, share), "film.jpg")


@pytest.mark.parametrize("kind", ["cut", "end"])
@pytest.mark.parametrize("way", [way for way in WAYS if "progressive" in way])
def test_a_progressive_film_that_lost_bytes_of_its_first_scan_is_refused(way, kind):
    with pytest.raises(FilmError, match=r"^film\.jpg is a (broken )?JPEG file"):
        decode_radiograph(lost(CODED[way], kind, 0.12, 32), "film.jpg")


def test_a_missing_restart_is_seen():
    data = CODED["restarts in each row"]
    first, second = data.index(b"\xff\xd3"), data.index(b"\xff\xd4")
    with pytest.raises(FilmError, match="a part of it is lost"):
        decode_radiograph(data[:first] + data[second:], "film.jpg")


@pytest.mark.parametrize("kind", ["zeros", "cut"])
def test_the_same_holds_inside_dicom(kind, capfd):
    data = CODED["quality 95"]
    film = dataset_of(FILM, 8)
    assert np.abs(read(written(film, data, uid.JPEGBaseline8Bit)).astype(int) - FILM).mean() < 2
    with pytest.raises(FilmError, match=r"^film\.dcm is a broken DICOM file .a part of its pixels"):
        read(written(film, lost(data, kind), uid.JPEGBaseline8Bit))
    assert capfd.readouterr() == ("", "")
