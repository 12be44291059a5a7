"""Is a film's file whole? Decoders fill what is missing with grey and often say nothing."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_EOI = b"\xff\xd9"
_SOF_LOSSLESS, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_REMARKS = frozenset({*range(0xE0, 0xF0), 0xFE})
_J2K_START, _JP2_START = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
"""JPEG's frame headers of all processes, and the one of JPEG-LS; 0xC4, 0xC8, 0xCC are others."""

_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF, 0xF7})


def fault_of_png(data: bytes) -> str:
    """Tell what is wrong with a PNG: it ends early, or a chunk fails its checksum; "" if nothing.

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
    """Tell whether an end-of-image marker follows `start` (where a JPEG's pixels begin).

    JPEG, JPEG-LS and JPEG 2000 never have these two bytes inside their coded pixels. A download
    that broke off lacks them, even where the file was padded to its full length with zeros.
    """
    return data.rfind(_EOI) >= start


@dataclass(frozen=True, slots=True)
class CodedForm:
    """What the header of a JPEG, JPEG-LS or JPEG 2000 stream says of its pixels.

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
        return CodedForm(
            right - left,
            bottom - top,
            samples,
            (depth & 0x7F) + 1,
            signed=bool(depth & 0x80),
            is_wavelet=True,
        )
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
            if len(body) != 6 + 3 * samples or body[5] != samples:
                return None
            if not 2 <= body[0] <= bits_allocated:
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
        if len(counts) < 16 or len(values) < sum(counts) or body[0] > 3 or codes > 1 << 16:
            return False
        if max(values, default=0) > 16:
            return False
        body = body[17 + len(values) :]
    return True


def segments(stream: bytes, start: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Give marker, body and end of each segment of a JPEG, up to the next scan's header.

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
