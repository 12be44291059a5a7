"""Is a film's file whole? Decoders fill what is missing with grey and often say nothing."""

import struct
import zlib

_EOI = b"\xff\xd9"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
"""JPEG's frame headers of all processes, and the one of JPEG-LS; 0xC4, 0xC8, 0xCC are others."""


def fault_of_png(data: bytes) -> str:
    """Tell what is wrong with a PNG: chunks that miss, or that fail their checksum; "" if nothing.

    Decoders check the sums of the header chunks at most, so that a flipped bit in the pixels goes
    unseen. Checksums of ancillary chunks (text, times) are not minded, as in libpng.
    """
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        is_critical = not kind[0] & 0x20
        if is_critical:
            checksum = zlib.crc32(memoryview(data)[place + 4 : end])
            if checksum != int.from_bytes(data[end : end + 4], "big"):
                return f"its {kind.decode('ascii', 'replace')} chunk is damaged"
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


def coded_size(stream: bytes) -> tuple[int, int] | None:
    """Read width and height from the header of a JPEG, JPEG-LS or JPEG 2000 stream.

    Returns
    -------
    tuple of int, or None
        Width and height in pixels; None if there is no such header.
    """
    if stream.startswith(b"\xff\x4f\xff\x51") and len(stream) >= 24:
        right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
        return right - left, bottom - top
    place = 2
    while stream.startswith(b"\xff\xd8") and place + 9 <= len(stream):
        prefix, marker, length = struct.unpack_from(">BBH", stream, place)
        if prefix != 0xFF:
            return None
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", stream, place + 5)
            return width, height
        else:
            place += 2 + length
    return None
