"""From the sizes and depths in which films are stored to 8-bit grey."""

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError

USUAL_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that detectors and film scanners deliver; files store all but the first in 16."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as in Pillow and in JPEG itself."""


def refuse_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise `FilmError` if a header promises no pixels, or more than `max_pixels`."""
    if width < 1 or height < 1:
        raise FilmError(f"{name} holds no pixels: it is {width} × {height} large")
    if width * height > max_pixels:
        raise FilmError(
            f"{name} is {width:,} × {height:,} pixels large, and films of more than {max_pixels:,} "
            "pixels are not read: scale it down first"
        )


def stored_depth(pixels: NDArray[np.uint16]) -> int:
    """Tell how many bits a film that lies in 16-bit samples really uses.

    PNG and TIFF have no field for it, and DICOM's is often just 16: a 12-bit detector's film,
    stored in 16 bits and shown as 16 bits, is nearly black. The smallest usual depth that holds the
    brightest pixel is taken, not that pixel itself, so that films of one detector are scaled alike.

    Parameters
    ----------
    pixels
        Samples of any shape.

    Returns
    -------
    int
        One of `USUAL_DEPTHS`.
    """
    brightest = int(pixels.max(initial=0))
    return next(depth for depth in USUAL_DEPTHS if brightest < 1 << depth)


def to_eight_bits(pixels: NDArray[np.uint16], depth: int | None = None) -> NDArray[np.uint8]:
    """Scale 16-bit samples so that the white of their depth becomes 255.

    Parameters
    ----------
    pixels
        Samples of any shape.
    depth
        Bits that they use; brighter samples become white. By default their `stored_depth`.

    Returns
    -------
    ndarray of uint8
        The same shape, rounded to the nearest level.
    """
    white = (1 << (depth or stored_depth(pixels))) - 1
    samples = np.arange(1 << 16, dtype=np.uint32)
    levels = np.minimum((samples * 510 + white) // (2 * white), 255).astype(np.uint8)
    return np.asarray(levels[pixels], dtype=np.uint8)


def grey_of_colour(colour: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Weigh red, green and blue by `LUMA`, in the depth that they have.

    Parameters
    ----------
    colour
        (H, W, 3), red first.

    Returns
    -------
    ndarray of uint16
        (H, W), rounded.
    """
    grey = colour.astype(np.float32) @ np.array(LUMA, dtype=np.float32)
    return np.asarray(np.rint(grey), dtype=np.uint16)
