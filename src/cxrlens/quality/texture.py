"""How much detail a film has at each scale, block by block: what noise adds and blur takes away.

Noise is white: it is everywhere on the film, and as strong at the finest scale as at the next ones.
Anatomy, text and edges are in some blocks only and fade towards the finest scale. So low
percentiles over blocks tell noise from texture, and the fall from scale to scale tells blur.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Side of the blocks of `sample_blocks`, in pixels of the film as decoded."""

_SCALES = 3
_FLOOR = 0.1  # a tenth of a grey level: below it a logarithm would measure rounding


def sample_blocks(film: NDArray[np.uint8], along: int = 6) -> NDArray[np.uint8]:
    """Cut out evenly spread blocks, so that a large film costs no more than a small one.

    Parameters
    ----------
    film
        (H, W) uint8; where it is smaller than a block its edges are mirrored.
    along
        Blocks along each side at most; small films have fewer.

    Returns
    -------
    (n, 32, 32) uint8
    """
    height, width = film.shape
    if height < BLOCK or width < BLOCK:
        low, right = max(0, BLOCK - height), max(0, BLOCK - width)
        film = np.pad(film, ((0, low), (0, right)), mode="symmetric")
        height, width = film.shape
    tops = np.linspace(0, height - BLOCK, min(along, height // BLOCK)).astype(int)
    lefts = np.linspace(0, width - BLOCK, min(along, width // BLOCK)).astype(int)
    return np.stack([film[y : y + BLOCK, x : x + BLOCK] for y in tops for x in lefts])


def lively(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Leave out blocks that are mostly black, white or of one grey: they tell nothing of the film.

    If fewer than eight remain, all blocks are given back.
    """
    flat = blocks.reshape(len(blocks), -1)
    extreme = ((flat <= 2) | (flat >= 253)).mean(axis=1)
    kept = blocks[(extreme < 0.5) & (flat.max(axis=1) > flat.min(axis=1))]
    return kept if len(kept) >= 8 else blocks


def grain_statistics(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe the finest detail of a film at the size at which it was decoded.

    On sampled, lively blocks: three scales of the orthonormal Haar transform, under which white
    noise is equally strong at each; of the diagonal and of the other coefficients the root mean
    square (percentiles 10, 25, 50 over blocks) and the median absolute value (25, 50), as
    logarithms. Then how many pixels stand out of their 3×3 median by 16 and by 40 grey levels
    (median and percentile 20 over blocks, as logarithms), and the film's size.

    Parameters
    ----------
    film
        (H, W) uint8 as decoded.

    Returns
    -------
    (35,) float64
    """
    blocks = lively(sample_blocks(film))
    count = len(blocks)
    smooth: NDArray[np.floating] = blocks.astype(np.float32)
    strength, typical = [], []
    for _ in range(_SCALES):
        a, b = smooth[:, 0::2, 0::2], smooth[:, 0::2, 1::2]
        c, d = smooth[:, 1::2, 0::2], smooth[:, 1::2, 1::2]
        across, along = (a - b + c - d) / 2, (a + b - c - d) / 2
        diagonal = ((a - b - c + d) / 2).reshape(count, -1)
        smooth = (a + b + c + d) / 2
        upright = np.concatenate([across.reshape(count, -1), along.reshape(count, -1)], axis=1)
        for detail in (diagonal, upright):
            strength.append(np.sqrt((detail * detail).mean(axis=1)))
            typical.append(np.median(np.abs(detail), axis=1) / 0.6745)
    # One call for all scales: NumPy's percentiles cost more by the call than by the number.
    of_strength = np.percentile(np.array(strength), [10, 25, 50], axis=1)
    of_typical = np.percentile(np.array(typical), [25, 50], axis=1)
    scales = np.log(_FLOOR + np.concatenate([of_strength, of_typical])).T.ravel()
    tall = blocks.reshape(-1, BLOCK)
    outstanding = cv2.absdiff(tall, cv2.medianBlur(tall, 3)).reshape(blocks.shape)[:, 1:-1, 1:-1]
    shares = [(outstanding > levels).reshape(count, -1).mean(axis=1) for levels in (16, 40)]
    impulses = np.log(1e-3 + np.percentile(shares, [50, 20], axis=1)).T.ravel()
    return np.array([*scales, *impulses, np.log(np.sqrt(film.size) / 224)], dtype=np.float64)


_BAND_SIGMAS = (0.6, 1.0, 1.7, 2.9, 5.0)


def band_statistics(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe how the detail of a film falls off from coarse to fine.

    Five high-passes: the film minus itself smoothed with sigma 0.6, 1, 1.7, 2.9 and 5 pixels. Of
    each the root mean square in blocks of 16 pixels; percentiles 25, 50, 75 and 90 over the
    blocks, as logarithms.

    Parameters
    ----------
    film
        (H, W) uint8, of the side at which the statistics are compared.

    Returns
    -------
    (20,) float64
    """
    levels = film.astype(np.float32)
    blocks = (max(1, film.shape[1] // 16), max(1, film.shape[0] // 16))
    energies = []
    for sigma in _BAND_SIGMAS:
        side = 2 * int(np.ceil(3 * sigma)) + 1
        band = cv2.subtract(levels, cv2.GaussianBlur(levels, (side, side), sigma))
        energies.append(
            cv2.resize(cv2.multiply(band, band), blocks, interpolation=cv2.INTER_AREA).ravel()
        )
    rms = np.percentile(np.sqrt(np.array(energies)), [25, 50, 75, 90], axis=1)
    return np.asarray(np.log(_FLOOR + rms).T.ravel(), dtype=np.float64)
