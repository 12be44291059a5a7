"""Is a JPEG whole in its middle? Decoders read on behind lost bytes and say nothing.

What is coded must be spent exactly: a scan that ends before its last block, or goes on behind it, has
lost bytes somewhere, since Huffman codes fall into step again but lose count of the blocks.
"""

import io
import re
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cxrlens.radiographs.decoding import remarks_on_jpeg
from cxrlens.radiographs.integrity import segments

_RESTARTS = range(0xD0, 0xD8)
_BASELINE = (0xC0, 0xC1)
_FRAMES = (0xC0, 0xC1, 0xC2)
_SOS, _EOI, _DNL, _DRI = 0xDA, 0xD9, 0xDC, 0xDD
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, _DRI, _DNL, 0xFE, *range(0xE0, 0xF0)})
_MARKER = re.compile(rb"\xff([^\x00\xff])")

_FILLING = b"\xff\0" * 8
"""Codes that no table has, 64 bits of them: libjpeg looks so far ahead."""

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
    """

    is_sound: bool
    end: int = -1


def load_whole(image: JpegImageFile, data: bytes) -> bool:
    """Decode a JPEG with Pillow, and tell whether bytes were lost in its middle.

    Parameters
    ----------
    image
        Opened on `data` and not loaded yet; `JpegImageFile.draft` may have been called.
    data
        The file.

    Returns
    -------
    bool
        False if a marker is misplaced or a restart missing, if the only scan ends before its last block or
        goes on behind it, or if the decoder remarks on one of several scans or restarts.
    """
    course = _course(data)
    if course.end < 0:
        image.load()
        return course.is_sound and not remarks_on_jpeg(data)
    image.fp = watched = _Watched(data, course.end, image)
    image.load()
    return course.is_sound and not watched.is_torn()


class _Watched(io.BytesIO):
    """The bytes of a JPEG of one scan, handed to Pillow so that it is seen where decoding ends.

    Before the scan's last byte the last row must be open. Behind it comes a filling that codes next to
    nothing, as far as decoders look ahead: then the last row must be written.
    """

    def __init__(self, data: bytes, end: int, image: JpegImageFile) -> None:
        super().__init__(data[:end] + _FILLING + data[end:])
        self.stops = [end - 1, end + len(_FILLING)]
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
            return _Course(is_sound=True, end=stop if only else -1)
        if marker == _DNL:
            return _Course(is_sound=True)
        if marker not in _BETWEEN_SCANS and marker != _SOS:
            return _Course(is_sound=False)
        place = stop


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
