"""Grey arrays: from the depths in which films are stored to 8 bits, to one square, and filters of them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError

Film = NDArray[np.uint8]
"""A film (H, W) or films (N, H, W); 0 is black."""

Mask = NDArray[np.bool_]
Levels = NDArray[np.float32]
Floats = NDArray[np.float64]

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
    """Return the smallest of `USUAL_DEPTHS` that holds a level, at most 65535."""
    return next(depth for depth in USUAL_DEPTHS if brightest < 1 << depth)


def stored_depth(pixels: NDArray[np.uint16]) -> int:
    """Return how many bits a film that lies in 16-bit samples really uses.

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
    """Return the `stored_depth` of a film from how many pixels of each of the 65,536 levels it has."""
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


_FEW = 16
"""A film of so few values may well be black and white."""

_NARROW = 1 / 8
"""Of the range from black to white: 32 levels of 256, which a network reads as texture."""


def _most_of(shown: Floats, counts: NDArray[Any]) -> tuple[float, float]:
    """Return between which brightnesses all but 0.1 % of a film lie at either end."""
    met = counts > 0  # few of the values that there could be
    shown, counts = shown[met], counts[met]
    order = np.argsort(shown, kind="stable")
    upto = np.cumsum(counts[order])
    low, high = np.searchsorted(upto, [0.001 * upto[-1], 0.999 * upto[-1]])
    return float(shown[order[low]]), float(shown[order[high]])


def has_greys(shown: Floats, counts: NDArray[Any]) -> bool:
    """Return whether a way to show a film leaves greys of it: more than two, over an eighth of the range.

    Parameters
    ----------
    shown
        Brightness of each stored value; 0 is black and 1 white, and what lies beyond is cut off.
    counts
        How many pixels have that value. A film of few values may be shown in any way.
    """
    if np.count_nonzero(counts) <= _FEW:
        return True
    seen = np.clip(shown, 0, 1)
    low, high = _most_of(seen, counts)
    return high - low >= _NARROW and np.unique(np.rint(seen[counts > 0] * 255)).size > 2


def spread(shown: Floats, counts: NDArray[Any]) -> Floats:
    """Stretch a way to show a film to most of the film, where it leaves hardly a grey; see `has_greys`."""
    if has_greys(shown, counts):
        return shown
    low, high = _most_of(shown, counts)
    return (shown - low) / (high - low) if high > low else shown


def to_eight_bits(pixels: NDArray[np.uint16], depth: int | None = None) -> Film:
    """Scale 16-bit samples so that the white of their depth becomes 255.

    Parameters
    ----------
    pixels
        Samples of any shape.
    depth
        Bits that they use; brighter samples become white. By default their `stored_depth`; a film that
        fills little of it is then `spread`.

    Returns
    -------
    ndarray of uint8
        The same shape, rounded to the nearest level.
    """
    counts = None
    if depth is None:
        counts = np.bincount(pixels.ravel(), minlength=1 << 16)
        depth = depth_of_counts(counts)
    white = (1 << depth) - 1
    samples = np.arange(1 << 16, dtype=np.uint32)
    levels = np.minimum((samples * 510 + white) // (2 * white), 255).astype(np.uint8)
    if counts is not None:
        shown = samples / white
        stretched = spread(shown, counts)
        if stretched is not shown:
            levels = np.rint(np.clip(stretched, 0, 1) * 255).astype(np.uint8)
    return np.asarray(levels[pixels], np.uint8)


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
    grey = colour.astype(np.float32) @ np.array(LUMA, np.float32)
    return np.asarray(np.rint(grey), dtype=np.uint16)


def resize(film: Film, side: int) -> Film:
    """Squash or stretch a film to a square; its aspect ratio is given up, its whole area is kept.

    Where an axis shrinks, pixels are averaged over the area that they cover (``INTER_AREA``), which
    keeps fine detail from aliasing; where one grows, they are interpolated linearly
    (``INTER_LINEAR``), which cannot overshoot the film's own range as cubic interpolation does. If
    one axis shrinks and the other grows, the shrinking one goes first.

    Parameters
    ----------
    film
        (H, W).
    side
        Pixels of the result's side.

    Returns
    -------
    ndarray of uint8
        (side, side), a new array. A film that has the size already comes back bit for bit.

    Raises
    ------
    ValueError
        If the film is not a grey (H, W) array, or `side` is not positive.

    Examples
    --------
    >>> resize(np.array([[0, 100], [100, 200]], np.uint8), 1)
    array([[100]], dtype=uint8)
    """
    if film.ndim != 2 or film.size == 0:
        raise ValueError(f"a film is a grey array of height and width, not of shape {film.shape}")
    if side < 1:
        raise ValueError(f"side must be 1 or more, not {side}")
    height, width = film.shape
    if (height, width) == (side, side):
        return film.copy()
    smaller = (min(height, side), min(width, side))
    if smaller != (height, width):
        film = _resized(film, smaller, cv2.INTER_AREA)
    if smaller != (side, side):
        film = _resized(film, (side, side), cv2.INTER_LINEAR)
    return film


def _resized(film: Film, shape: tuple[int, int], how: int) -> Film:
    return np.asarray(cv2.resize(film, (shape[1], shape[0]), interpolation=how), np.uint8)


def gaussian(film: Film | Levels, sigma: float) -> Levels:
    """Smooth with a Gaussian, without rounding to whole grey levels.

    Parameters
    ----------
    film
        (H, W), any level range.
    sigma
        Standard deviation in pixels, above 0. The kernel reaches four of them to each side.

    Returns
    -------
    ndarray of float32
        (H, W), in the input's units.
    """
    side = 2 * int(np.ceil(4 * sigma)) + 1
    levels = film.astype(np.float32)
    smooth = cv2.GaussianBlur(levels, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth, np.float32)


def laplacian(film: Film | Levels) -> Levels:
    """Second derivative by the kernel with a negative centre: 0 1 0, 1 -4 1, 0 1 0.

    Subtracting the result from the film sharpens it.

    Parameters
    ----------
    film
        (H, W).

    Returns
    -------
    ndarray of float32
        (H, W), signed, within ±4 times the input's range.
    """
    levels = film.astype(np.float32)
    response = cv2.Laplacian(levels, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(response, np.float32)


def log_response(film: Film | Levels, sigma: float) -> Levels:
    """Laplacian of Gaussian: smooth with `sigma`, then take the Laplacian (Marr and Hildreth 1980).

    Parameters
    ----------
    film
        (H, W).
    sigma
        Standard deviation of the Gaussian in pixels, above 0.

    Returns
    -------
    ndarray of float32
        (H, W), signed; not normalised by sigma squared.
    """
    return laplacian(gaussian(film, sigma))


def clahe(film: Film, clip_limit: float, tiles: tuple[int, int] = (8, 8)) -> Film:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994).

    Parameters
    ----------
    film
        (H, W).
    clip_limit
        Highest count of a bin of a tile's histogram, in multiples of the count that each bin has in
        an even histogram; above 0. Little contrast is gained at 1, 40 is extreme.
    tiles
        How many tiles lie across and down, each equalised by itself: (2, 2) is coarse, (16, 16) is
        local. It is their number, not their side in pixels.

    Returns
    -------
    ndarray of uint8
        (H, W).
    """
    equaliser = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=tiles)
    return np.asarray(equaliser.apply(film), np.uint8)


def otsu_threshold(film: Film) -> int:
    """Grey level that parts dark from bright with the largest variance between the two (Otsu 1979).

    Parameters
    ----------
    film
        Grey levels, (H, W).

    Returns
    -------
    int
        Pixels above it are the bright class. A film of one level gives 0.
    """
    level, _ = cv2.threshold(film, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return int(level)


def median(film: Film, side: int) -> Film:
    """Replace each pixel by the median of the square round it; removes salt-and-pepper noise.

    Parameters
    ----------
    film
        (H, W). Borders repeat the edge pixel.
    side
        Side of the square in pixels, odd.

    Returns
    -------
    ndarray of uint8
        (H, W).
    """
    return np.asarray(cv2.medianBlur(film, side), np.uint8)


def box(film: Film, side: int) -> Film:
    """Replace each pixel by the mean of the square round it (a uniform filter).

    Parameters
    ----------
    film
        (H, W).
    side
        Side of the square in pixels, odd.

    Returns
    -------
    ndarray of uint8
        (H, W), rounded.
    """
    blurred = cv2.blur(film, (side, side), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.uint8)
