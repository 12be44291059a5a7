"""From the many depths in which films are stored to 8 bits."""

import numpy as np
from numpy.typing import NDArray

USUAL_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that detectors and film scanners deliver; files store all but the first in 16."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow and JPEG itself use them."""


def stored_depth(pixels: NDArray[np.uint16]) -> int:
    """Tell how many bits a film that lies in 16-bit samples really uses.

    A PNG or TIFF has no field for it: a 12-bit detector's film, stored in 16 bits and shown as 16
    bits, is nearly black. The smallest usual depth that holds the brightest pixel is taken, not
    that pixel itself, so that films of one detector are scaled alike.

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


def to_eight_bits(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Scale 16-bit samples so that the white of their `stored_depth` becomes 255.

    Parameters
    ----------
    pixels
        Samples of any shape.

    Returns
    -------
    ndarray of uint8
        The same shape, rounded to the nearest level.
    """
    white = (1 << stored_depth(pixels)) - 1
    levels = (np.arange(white + 1, dtype=np.uint32) * 510 + white) // (2 * white)
    eight_bits: NDArray[np.uint8] = levels.astype(np.uint8)[pixels]
    return eight_bits


def grey_of_colour(colour: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Weigh red, green and blue by `LUMA`, in the depth that they have.

    Parameters
    ----------
    colour
        (H, W, 3), red first.

    Returns
    -------
    ndarray of uint16
        (H, W).
    """
    grey = colour.astype(np.float32) @ np.array(LUMA, dtype=np.float32)
    return np.asarray(np.rint(grey), dtype=np.uint16)
