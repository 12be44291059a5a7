"""A film drawn for the tests, and PNG files written by hand in the modes that no library offers."""

import struct
import zlib

import numpy as np


def drawn(bits=8, shape=(46, 62)):
    """A gradient with two dark ellipses, a bright blot and grain, over nearly all of `bits` levels."""
    height, width = shape
    row, column = np.mgrid[:height, :width] / np.array(shape).reshape(2, 1, 1)
    film = 0.45 + 0.4 * row + 0.1 * column
    for centre in (0.3, 0.7):
        inside = ((row - 0.5) / 0.35) ** 2 + ((column - centre) / 0.15) ** 2 < 1
        film[inside] -= 0.35
    film[height // 8 : height // 4, width // 8 : width // 3] = 0.97
    film += np.random.default_rng(5).normal(0, 0.01, shape)
    white = 2**bits - 1
    return np.clip(np.rint(film * white), 0, white).astype(np.uint8 if bits <= 8 else np.uint16)


def coloured(bits=8, shape=(46, 62)):
    """Three unlike channels, (H, W, 3)."""
    film = drawn(bits, shape)
    return np.stack([film, film[::-1], film[:, ::-1]], axis=-1)


def luma(colour):
    """Grey of (H, W, 3) by ITU-R BT.601, as written in the standard."""
    return np.rint(colour.astype(float) @ (0.299, 0.587, 0.114)).astype(colour.dtype)


def scaled(film, bits):
    """Levels of `bits` to 8 bits."""
    return np.rint(film.astype(float) * 255 / (2**bits - 1)).astype(np.uint8)


def chunk(kind, body=b""):
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples, colour_type, depth, *more, size=None):
    """A PNG without filters; `more` are chunks that go before the pixels.

    `samples` is (H, W) or (H, W, channels); `size` (width, height) makes the header lie.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    elif depth == 8:
        packed = rows.astype(np.uint8)
    else:
        bits = (rows[..., None] >> np.arange(depth)[::-1]) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    lines = np.pad(packed, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", *(size or (width, height)), depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND")]
    )


def exif(orientation, order=">"):
    """An EXIF block that holds nothing but an orientation."""
    mark = b"MM" if order == ">" else b"II"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + b"\0\0\0\0"


def jpeg_with(stream, marker, body):
    """A JPEG with one more segment after its start."""
    return stream[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + stream[2:]


def jpeg_without(stream, marker):
    """A JPEG without its segments of one marker."""
    kept, place = stream[:2], 2
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] != marker:
            kept += stream[place:end]
        place = end
    return kept + stream[place:]
