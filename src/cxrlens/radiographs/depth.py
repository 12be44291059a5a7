"""From the sizes and depths in which films are stored to 8-bit grey."""

from typing import Any

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


def depth_that_holds(brightest: int) -> int:
    """Give the smallest of `USUAL_DEPTHS` that holds a level, at most 65535."""
    return next(depth for depth in USUAL_DEPTHS if brightest < 1 << depth)


def stored_depth(pixels: NDArray[np.uint16]) -> int:
    """Tell how many bits a film that lies in 16-bit samples really uses.

    PNG and TIFF have no field for it, and DICOM's is often just 16: a 12-bit detector's film,
    stored in 16 bits and shown as 16 bits, is nearly black. The smallest usual depth that holds the
    film is taken, not its brightest pixel itself, so that films of one detector are scaled alike.
    Not part of the film, and clipped, are

    - stray pixels: at most 0.1 % (beyond the 99.9th percentile), and brighter than it by a quarter or
      more, so that a dark film that tails off keeps its depth;
    - a mark that was burnt in: at most 5 % of the pixels, half of them or more of one level, or any
      share below a half if all but 1 % of them are of one level; that too is brighter than all else by
      a quarter or more.

    Parameters
    ----------
    pixels
        Samples of any shape.

    Returns
    -------
    int
        One of `USUAL_DEPTHS`.
    """
    return depth_of_counts(np.bincount(pixels.ravel(), minlength=1 << 16))


def depth_of_counts(counts: NDArray[Any]) -> int:
    """Tell the `stored_depth` of a film from how many pixels of each of the 65,536 levels it has."""
    total = counts.sum()
    levels = np.flatnonzero(counts)
    if not levels.size:
        return USUAL_DEPTHS[0]
    brightest = int(levels[-1])
    high = int(np.searchsorted(np.cumsum(counts), 0.999 * total))
    for depth in USUAL_DEPTHS:
        if brightest < 1 << depth:
            return depth
        beyond = counts[1 << depth :]
        share, mark = beyond.sum() / total, int(beyond.argmax())
        if share <= 0.001 and brightest > 1.25 * high:
            return depth
        of_one_level = beyond[mark] / beyond.sum()
        body = levels[levels < 1 << depth]
        is_apart = body.size > 0 and mark + (1 << depth) > 1.25 * body[-1]
        if is_apart and (
            (share <= 0.05 and of_one_level >= 0.5) or (share < 0.5 and of_one_level >= 0.99)
        ):
            return depth
    return USUAL_DEPTHS[-1]


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
