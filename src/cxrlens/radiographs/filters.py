"""Filters of grey films, on OpenCV: the building blocks of the quality chain.

Films are (H, W) arrays of ``uint8``, 0 to 255. Borders are mirrored without repeating the edge
(``BORDER_REFLECT_101``) unless said otherwise. Every function returns a new array and leaves its
input as it was. A parameter out of its range raises ``ValueError``.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]
Response = NDArray[np.float32]


def gaussian(film: Film | Response, sigma: float) -> Response:
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
    if sigma <= 0:
        raise ValueError(f"sigma must be above 0, not {sigma}")
    side = 2 * int(np.ceil(4 * sigma)) + 1
    levels = film.astype(np.float32)
    smooth = cv2.GaussianBlur(levels, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth, dtype=np.float32)


def laplacian(film: Film | Response) -> Response:
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
    return np.asarray(response, dtype=np.float32)


def log_response(film: Film | Response, sigma: float) -> Response:
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
    if clip_limit <= 0:
        raise ValueError(f"clip_limit must be above 0, not {clip_limit}")
    if min(tiles) < 1:
        raise ValueError(f"tiles must be 1 or more each way, not {tiles}")
    equaliser = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=tiles)
    return np.asarray(equaliser.apply(film), dtype=np.uint8)


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
    _refuse_even(side)
    return np.asarray(cv2.medianBlur(film, side), dtype=np.uint8)


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
    _refuse_even(side)
    blurred = cv2.blur(film, (side, side), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.uint8)


def _refuse_even(side: int) -> None:
    if side < 1 or side % 2 == 0:
        raise ValueError(f"side must be an odd number of pixels, 1 or more, not {side}")
