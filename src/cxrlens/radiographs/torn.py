"""Is a JPEG whole in its middle? Decoders read on behind lost bytes and say nothing.

What is coded must be spent exactly: a scan that ends before its last block, or goes on behind it, has
lost bytes somewhere, since Huffman codes fall into step again but lose count of the blocks.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cxrlens.radiographs.decoding import remarks_on
from cxrlens.radiographs.integrity import segments

_RESTARTS = range(0xD0, 0xD8)
_BASELINE = (0xC0, 0xC1)
_FRAMES = (0xC0, 0xC1, 0xC2)
_SOS, _EOI, _DNL, _DRI, _DHT = 0xDA, 0xD9, 0xDC, 0xDD, 0xC4
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, _DRI, _DNL, 0xFE, *range(0xE0, 0xF0)})
_MARKER = re.compile(rb"\xff([^\x00\xff])")

_AHEAD = 8
"""Bytes that libjpeg looks ahead."""

_FILLINGS = (0x00, 0x55, 0xAA, 0x33, 0xCC, 0x92, 0x6D, 0xB6, 0xDB, 0xEE, 0xF7, 0xFB)
"""Bytes of which one, repeated, codes no whole block in as many bytes as libjpeg looks ahead."""

_UNLIKELY = 137
"""The last row is painted with it and the next level by turns, to see when it is written."""


@dataclass(frozen=True, slots=True)
class _Course:
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
    """Tell whether a JPEG stream, as DICOM holds it, is whole; it is decoded coarsely for that."""
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
        """Tell whether the scan ended before its last block, or went on behind it."""
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
        if marker == _EOI:
            only = scans == 1 and not interval and frame in _BASELINE and body[0] == len(sampling)
            codes = tables.get(0x10 | (body[2] & 15), b"")
            return _Course(True, stop, codes) if only else _Course(is_sound=True)
        if marker == _DNL:
            return _Course(is_sound=True)
        if marker not in _BETWEEN_SCANS and marker != _SOS:
            return _Course(is_sound=False)
        place = stop


def _tables(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Give class and number of each Huffman table of a segment, with its counts and values."""
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
    """Tell at which bit an end-of-block code ends, if AC values are read from a bit on."""
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
    """Give the numbers of the restarts of a scan, and the place and kind of the marker that ends it."""
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
