"""Films that ask for minutes or gigabytes are given up; others are read as ever."""

import io
import subprocess
import sys
import threading
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import decoders
from cxrlens.radiographs.integrity import TINTED
from cxrlens.radiographs.read import decode_film, decode_film_apart, decode_radiograph
from tests.radiographs.dicom_films import native

GREY = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 200), np.uint8), (0, 0), 3)
WARM = np.clip(GREY[..., None] * [0.85, 0.97, 1.05] + 12, 0, 255).astype(np.uint8)


def encoded(form: str, film: np.ndarray = GREY, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(film).save(file, form, **options)
    return file.getvalue()


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def many_pages(count: int) -> bytes:
    """A TIFF whose pages are thumbnails, each with a directory of its own that names the next."""
    whole = encoded("TIFF")
    directory = int.from_bytes(whole[4:8], "little")
    entries = int.from_bytes(whole[directory : directory + 2], "little")
    end = directory + 2 + 12 * entries
    tags = dict.fromkeys((254, 256, 257, 258, 259, 262, 273, 278, 279), 1) | {258: 8, 273: 8}
    own = bytearray(len(tags).to_bytes(2, "little"))
    for tag, value in tags.items():
        own += tag.to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00" + value.to_bytes(4, "little")
    at = len(whole)
    pages = bytearray()
    for number in range(count):
        after = at + (number + 1) * (len(own) + 4) if number + 1 < count else 0
        pages += own + after.to_bytes(4, "little")
    return whole[:end] + at.to_bytes(4, "little") + whole[end + 4 :] + bytes(pages)


def many_chunks(count: int) -> bytes:
    """A PNG with empty chunks before its pixels."""
    data = encoded("PNG")
    chunk = b"\x00\x00\x00\x00teSt" + zlib.crc32(b"teSt").to_bytes(4, "big")
    return data[:33] + chunk * count + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(form, WARM) for form in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")),
        encoded("PNG"),
        native(GREY.astype(np.uint16) * 16, 12, PatientAge="007Y"),
    ],
)
def test_a_film_is_read_as_ever(data: bytes) -> None:
    here, apart = decode_film(data, "film"), decode_film_apart(data, "film")
    assert np.array_equal(apart.pixels, here.pixels)
    assert apart[1:] == here[1:]


@pytest.mark.parametrize(
    ("tags", "age"),
    [
        ({}, None),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientBirthDate": "20000101", "StudyDate": "20060101"}, pytest.approx(6, abs=0.01)),
        ({"PatientAge": "007Y", "PatientBirthDate": "20000101", "StudyDate": "20060101"}, 7),
        ({"PatientBirthDate": "20000101", "StudyDate": ""}, None),
        ({"PatientBirthDate": "20060101", "StudyDate": "20000101"}, 0),
    ],
)
def test_a_film_tells_the_patient_s_age(tags: dict[str, str], age: float | None) -> None:
    assert decode_film(native(GREY, 8, **tags), "film").age == age


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_a_film_tells_how_far_its_colours_lie_from_grey(form: str) -> None:
    assert decode_film(encoded(form, WARM), "film").tint >= TINTED
    for grey in (GREY, np.dstack([GREY] * 3)):
        assert decode_film(encoded(form, grey), "film").tint < TINTED


UNDER_A_LIMIT = """
import resource, sys
from cxrlens.radiographs.read import decode_film_apart

film = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_AS, 2 * (20 * 2**30,))
for _ in range(2):
    assert decode_film_apart(film, "film").pixels.shape == (240, 200)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory are Linux's")
def test_a_film_is_read_where_memory_has_a_limit_already() -> None:
    command = [sys.executable, "-c", UNDER_A_LIMIT]
    ended = subprocess.run(command, input=encoded("PNG"), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")


def test_a_refusal_has_the_reader_s_words() -> None:
    for data in (b"", b"broken", encoded("PNG")[:300]):
        with pytest.raises(FilmError) as expected:
            decode_radiograph(data, "film 7")
        with pytest.raises(FilmError) as raised:
            decode_film_apart(data, "film 7")
        assert str(raised.value) == str(expected.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        many_scans(20_000),
        many_pages(40_000),
        many_chunks(2_000_000),
        b"\xff\xd8" + b"\xff" * 8_000_000,
    ],
    ids=["scans", "pages", "chunks", "fill bytes"],
)
def test_what_asks_for_minutes_is_given_up(data: bytes) -> None:
    used = time.process_time()
    try:
        decode_film_apart(data, "the film", seconds=2)
    except FilmError as error:
        assert "the film" in str(error)  # noqa: PT017  (reading it within the time is right, too)
    assert time.process_time() - used < 2
    assert decode_film_apart(encoded("PNG"), "film").pixels.shape == GREY.shape


@pytest.mark.slow
def test_who_waits_is_told_when_the_decoders_end() -> None:
    told: list[str] = []

    def read() -> None:
        try:
            decode_film_apart(many_scans(20_000), "film", seconds=50)
        except FilmError as error:
            told.append(str(error))

    decode_film_apart(encoded("PNG"), "film")
    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.5)
    decoders.end()
    reader.join(10)
    assert told
    assert decode_film_apart(encoded("PNG"), "film").pixels.shape == GREY.shape
