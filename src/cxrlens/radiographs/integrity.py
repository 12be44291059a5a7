"""Wholeness of a film's file: Decoders fill what is missing with grey and often say nothing."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cxrlens.radiographs.decoding import remarks_on

_EOI = b"\xff\xd9"
_SOF_LOSSLESS, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_REMARKS = frozenset({*range(0xE0, 0xF0), 0xFE})
_J2K_START, _JP2_START = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
"""JPEG's frame headers of all processes, and the one of JPEG-LS; 0xC4, 0xC8, 0xCC are others."""

_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF, 0xF7})


OLDEST = 120.0
"""Years above which an age is a slip of the pen: NIH's first table has patients of 411."""

TINTED = 2.0
"""What `tint` says of pictures that a camera or a scanner took in colour; grey saved as colour has 0 or 1."""


def tint(image: Image.Image) -> float:
    """Return how far a picture's colours lie from grey, in steps of 255: the median of its pixels."""
    if image.mode not in ("RGB", "RGBA", "P", "CMYK"):
        return 0.0
    image.draft("RGB", (64, 64))
    colours = image.convert("RGB")
    colours.thumbnail((64, 64))
    apart = np.asarray(colours.convert("YCbCr"), float)[..., 1:] - 128
    return float(np.median(np.hypot(*np.moveaxis(apart, -1, 0))))


def fault_of_png(data: bytes) -> str:
    """Return what is wrong with a PNG: it ends early, or a chunk fails its checksum; "" if nothing.

    Pillow does not check the sums of the chunks that hold the pixels, so that a flipped bit in them
    would go unseen.
    """
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        checksum = zlib.crc32(memoryview(data)[place + 4 : end])
        if checksum != int.from_bytes(data[end : end + 4], "big"):
            return "a part of it is damaged"
        if kind == b"IEND":
            return ""
        place = end + 4
    return "it is cut short"


def ends_well(data: bytes, start: int = 0) -> bool:
    """Return whether an end-of-image marker follows `start` (where a JPEG's pixels begin).

    JPEG, JPEG-LS and JPEG 2000 never have these two bytes inside their coded pixels. A download
    that broke off lacks them, even where the file was padded to its full length with zeros.
    """
    return data.rfind(_EOI) >= start


class CodedForm(NamedTuple):
    """Form of the pixels of a JPEG, JPEG-LS or JPEG 2000 stream, as its header has it.

    Attributes
    ----------
    width, height
        Size in pixels.
    samples
        Samples a pixel.
    precision
        Bits a sample.
    signed
        Whether samples are signed, which only JPEG 2000 can say.
    is_dct
        JPEG of the lossy processes.
    is_wavelet
        JPEG 2000.
    """

    width: int
    height: int
    samples: int
    precision: int
    signed: bool = False
    is_dct: bool = False
    is_wavelet: bool = False


def coded_form(stream: bytes) -> CodedForm | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 stream; None if there is no such header."""
    # The standard wants JPEG 2000's bare stream, but some writers leave it in its JP2 container.
    start = stream.find(_J2K_START, 0, 4096) if stream.startswith(_JP2_START) else 0
    if stream.startswith(_J2K_START, max(start, 0)) and len(stream) >= start + 43:
        right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
        samples, depth = struct.unpack_from(">HB", stream, start + 40)
        width, height, precision = right - left, bottom - top, (depth & 0x7F) + 1
        signed = bool(depth & 0x80)
        return CodedForm(width, height, samples, precision, signed, is_wavelet=True)
    for marker, body, _ in segments(stream):
        if marker in _START_OF_FRAME and len(body) >= 6:
            precision, height, width, samples = struct.unpack_from(">BHHB", body)
            is_dct = marker not in _LOSSLESS_FRAMES
            return CodedForm(width, height, samples, precision, is_dct=is_dct)
    return None


def bare_lossless_jpeg(stream: bytes, samples: int, bits_allocated: int) -> bytes | None:
    """Strip a lossless JPEG to what decoding needs; GDCM crashes on headers that make no sense.

    Parameters
    ----------
    stream
        The JPEG, from its start.
    samples
        Samples per pixel that it must have.
    bits_allocated
        Most bits that a sample may have.

    Returns
    -------
    bytes, or None
        The frame's header, its Huffman tables and scan, without remarks of applications. None
        unless there is one frame of Huffman-coded lossless JPEG (ISO/IEC 10918-1, process 14) with
        such samples, sound tables and a scan.
    """
    kept, frames = b"\xff\xd8", 0
    for marker, body, end in segments(stream):
        if marker == _SOF_LOSSLESS:
            frames += 1
            is_fit = len(body) == 6 + 3 * samples and body[5] == samples
            if not is_fit or not 2 <= body[0] <= bits_allocated:
                return None
        elif marker == _DHT:
            if not _huffman_tables_are_sound(body):
                return None
        elif marker == _SOS:
            if frames != 1 or len(body) != 4 + 2 * samples or body[0] != samples:
                return None
        elif marker in _REMARKS:
            continue
        elif marker != _DRI:
            return None
        kept += struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        if marker == _SOS:
            return kept + stream[end:]
    return None


def _huffman_tables_are_sound(body: bytes) -> bool:
    while body:
        counts = body[1:17]
        values = body[17 : 17 + sum(counts)]
        codes = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
        is_whole = len(counts) == 16 and len(values) == sum(counts)
        if not is_whole or body[0] > 3 or codes > 1 << 16 or max(values, default=0) > 16:
            return False
        body = body[17 + len(values) :]
    return True


def segments(stream: bytes, start: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, body and end of each segment of a JPEG, up to the next scan's header.

    `start` is 0 for the JPEG's own start, or the place of the marker behind a scan.
    """
    place = start or 2
    while stream.startswith(b"\xff\xd8") and place + 4 <= len(stream):
        prefix, marker, length = struct.unpack_from(">BBH", stream, place)
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + length
        if prefix != 0xFF or length < 2 or end > len(stream):
            return
        yield marker, stream[place + 4 : end], end
        if marker == _SOS:
            return
        place = end


_RESTARTS = range(0xD0, 0xD8)
_BASELINE = (0xC0, 0xC1)
_FRAMES = (0xC0, 0xC1, 0xC2)
_DNL = 0xDC
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, _DRI, _DNL, 0xFE, *range(0xE0, 0xF0)})
_MARKER = re.compile(rb"\xff([^\x00\xff])")

_AHEAD = 8
"""Bytes that libjpeg looks ahead."""

_FILLINGS = (0x00, 0x55, 0xAA, 0x33, 0xCC, 0x92, 0x6D, 0xB6, 0xDB, 0xEE, 0xF7, 0xFB)
"""Bytes of which one, repeated, codes no whole block in as many bytes as libjpeg looks ahead."""

_UNLIKELY = 137
"""The last row is painted with it and the next level by turns, to see when it is written."""


class _Course(NamedTuple):
    """How the markers of a JPEG follow each other.

    Attributes
    ----------
    is_sound
        No marker is in a place where there can be none, and no restart is missing.
    end
        Where the only scan ends, if there is one alone, without restarts; -1 otherwise.
    codes
        Huffman table of the first component's AC values, as a JPEG holds it.
    """

    is_sound: bool
    end: int = -1
    codes: bytes = b""


def load_whole(image: JpegImageFile, data: bytes, name: str) -> bool:
    """Decode a JPEG with Pillow, and tell whether bytes were lost in its middle.

    Parameters
    ----------
    image
        Opened on `data` and not loaded yet; `JpegImageFile.draft` may have been called.
    data
        The file.
    name
        What messages call it.

    Returns
    -------
    bool
        False if a marker is misplaced or a restart missing, if the only scan ends before its last block or
        goes on behind it, or if the decoder remarks on one of several scans or restarts.
    """
    course = _course(data)
    if course.end < 0:
        image.load()
        return course.is_sound and not remarks_on("JPEG", data, name)
    image.fp = watched = _Watched(data, course, image)
    image.load()
    return course.is_sound and not watched.is_torn()


def is_whole(stream: bytes, name: str) -> bool:
    """Return whether a JPEG stream, as DICOM holds it, is whole; it is decoded coarsely for that."""
    image = JpegImageFile(io.BytesIO(stream))
    image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))
    return load_whole(image, stream, name)


class _Watched(io.BytesIO):
    """The bytes of a JPEG of one scan, handed to Pillow so that it is seen where decoding ends.

    Before the scan's last byte the last row must be open. Behind it comes a filling as long as decoders
    look ahead, too short for a block: then the last row must be written.
    """

    def __init__(self, data: bytes, course: _Course, image: JpegImageFile) -> None:
        end = course.end
        super().__init__(data[:end] + _filling(course.codes) + data[end:])
        self.stops = [end - 1, end + _AHEAD]
        self.image = image
        self.was_open: list[bool] = []
        self.before: object = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to the next place at which to look at the last row."""
        at = self.tell()
        if at == 0:
            self._paint()
        elif at in self.stops:
            self.was_open.append(self._last_row() == self.before)
        stop = next((place for place in self.stops if at < place), None)
        return super().read(-1 if stop is None else stop - at)

    def is_torn(self) -> bool:
        """Return whether the scan ended before its last block, or went on behind it."""
        return self.was_open not in ([True], [True, False])

    def _paint(self) -> None:
        image = self.image.im
        width, height = image.size
        row = np.full((1, width, max(image.bands, 1)), _UNLIKELY, dtype=np.uint8)
        row[:, 1::2] += 1
        painted = Image.fromarray(row[..., 0] if image.bands == 1 else row)
        image.paste(painted.im, (0, height - 1, width, height))
        self.before = self._last_row()

    def _last_row(self) -> object:
        width, height = self.image.im.size
        row = self.image.im.crop((0, height - 1, width, height))
        return [row.getband(band).histogram() for band in range(row.bands)]


def _course(data: bytes) -> _Course:
    frame, interval, scans, blocks, end = 0, 0, 0, 0, -1
    sampling: dict[int, tuple[int, int]] = {}
    tables: dict[int, bytes] = {}
    size = (0, 0)
    place = 0
    while True:
        for marker, body, end in segments(data, place):  # noqa: B007
            if marker in _FRAMES:
                frame = marker
                size = struct.unpack_from(">HH", body, 1)
                parts = [body[at : at + 3] for at in range(6, len(body) - 2, 3)]
                sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
            elif marker == _DRI and len(body) >= 2:
                interval = int.from_bytes(body[:2], "big")
            elif marker == _DHT:
                tables.update(_tables(body))
            elif marker == _SOS:
                break
        else:
            return _Course(is_sound=False)
        scans += 1
        restarts, stop, marker = _restarts(data, end)
        blocks = _units(size, sampling, body)
        expected = (blocks - 1) // interval if interval and blocks else 0
        if blocks and size[0] and (restarts != [n % 8 for n in range(expected)]):
            return _Course(is_sound=False)
        if marker == _EOI[1]:
            only = scans == 1 and not interval and frame in _BASELINE and body[0] == len(sampling)
            codes = tables.get(0x10 | (body[2] & 15), b"")
            return _Course(True, stop, codes) if only else _Course(is_sound=True)
        if marker == _DNL:
            return _Course(is_sound=True)
        if marker not in _BETWEEN_SCANS and marker != _SOS:
            return _Course(is_sound=False)
        place = stop


def _tables(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield class and number of each Huffman table of a segment, with its counts and values."""
    while len(body) > 16:
        length = 17 + sum(body[1:17])
        yield body[0], body[1:length]
        body = body[length:]


@lru_cache(maxsize=64)
def _filling(table: bytes) -> bytes:
    """Choose the bytes that code the longest block, wherever in one of them a code starts."""
    codes: dict[tuple[int, int], int] = {}
    code, place = 0, 16
    for length, count in enumerate(table[:16], start=1):
        for value in table[place : place + count]:
            codes[length, code] = value
            code += 1
        place += count
        code <<= 1
    fills = [bytes([level]) * _AHEAD for level in _FILLINGS]
    return max(fills, key=lambda fill: min(_block_ends(fill, codes, at) for at in range(8)))


def _block_ends(fill: bytes, codes: dict[tuple[int, int], int], at: int) -> int:
    """Return at which bit an end-of-block code ends, if AC values are read from a bit on."""
    bits, count = int.from_bytes(fill, "big"), 8 * len(fill)
    while at < count:
        for length in range(1, 17):
            value = codes.get((length, bits >> max(count - at - length, 0) & ((1 << length) - 1)))
            if value is not None:
                break
        else:
            return at + 16  # no code at all counts as the end of a block
        at += length
        if value == 0:
            return at
        at += value & 15
    return count


def _restarts(data: bytes, start: int) -> tuple[list[int], int, int]:
    """Return the numbers of the restarts of a scan, and the place and kind of the marker that ends it."""
    found: list[int] = []
    for match in _MARKER.finditer(data, start):
        marker = match[1][0]
        if marker not in _RESTARTS:
            stop = match.start()
            while data[stop - 1] == 0xFF and stop - 1 > start:  # fill bytes
                stop -= 1
            return found, stop, marker
        found.append(marker - 0xD0)
    return found, len(data), 0


def _units(size: tuple[int, int], sampling: dict[int, tuple[int, int]], scan: bytes) -> int:
    """Count the coded units of a scan: blocks of its one component, or squares of all of them."""
    height, width = size
    if not sampling or not scan:
        return 0
    widest = max(across for across, _ in sampling.values())
    tallest = max(down for _, down in sampling.values())
    side, rise = 8 * widest, 8 * tallest
    if scan[0] == 1 and len(scan) > 1 and scan[1] in sampling:
        across, down = sampling[scan[1]]
        width, height = -(-width * across // widest), -(-height * down // tallest)
        side = rise = 8
    return -(-width // side) * -(-height // rise)
