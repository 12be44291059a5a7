"""Known damage of clean films, by several makers, so that no detector is tuned to one of them.

Every damage takes a (H, W) uint8 film at the size at which it would be stored, a level and a random
generator, and gives a film of the same size. `stored` imitates how films come: sizes, aspect, JPEG.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Film = NDArray[np.uint8]
Damage = Callable[[Film, float, np.random.Generator], Film]


def _cut(film: NDArray[np.floating]) -> Film:
    return np.clip(np.rint(film), 0, 255).astype(np.uint8)


def salt_pepper(film: Film, share: float, rng: np.random.Generator) -> Film:
    """Black and white pixels, half each; `share` of all."""
    drawn, film = rng.random(film.shape), film.copy()
    film[drawn < share / 2] = 0
    film[drawn > 1 - share / 2] = 255
    return film


def salt(film: Film, share: float, rng: np.random.Generator) -> Film:
    """White pixels only."""
    return np.where(rng.random(film.shape) < share, np.uint8(255), film)


def random_impulses(film: Film, share: float, rng: np.random.Generator) -> Film:
    """Pixels replaced by any grey value."""
    grey = rng.integers(0, 256, film.shape, dtype=np.uint8)
    return np.where(rng.random(film.shape) < share, grey, film)


def uniform(film: Film, reach: float, rng: np.random.Generator) -> Film:
    """Uniform noise in ±`reach` grey values."""
    return np.clip(film + rng.uniform(-reach, reach, film.shape), 0, 255).astype(np.uint8)


def gaussian(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Gaussian noise of standard deviation `sigma`."""
    return np.clip(film + rng.normal(0, sigma, film.shape), 0, 255).astype(np.uint8)


def poisson(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Quantum noise whose standard deviation at mid-grey is `sigma`."""
    quanta = (128.0 / sigma) ** 2
    return _cut(rng.poisson(film / 128.0 * quanta) * 128.0 / quanta)


def speckle(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Multiplicative noise whose standard deviation at mid-grey is `sigma`."""
    return _cut(film * (1 + rng.normal(0, sigma / 128, film.shape)))


NOISES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "salt_pepper": (salt_pepper, (0.01, 0.02, 0.04, 0.08)),
    "uniform": (uniform, (12.0, 20.0, 35.0, 60.0)),
    "gaussian": (gaussian, (8.0, 13.0, 20.0, 30.0)),
    "salt": (salt, (0.01, 0.02, 0.04, 0.08)),
    "random_impulses": (random_impulses, (0.01, 0.02, 0.04, 0.08)),
    "poisson": (poisson, (8.0, 13.0, 20.0, 30.0)),
    "speckle": (speckle, (8.0, 13.0, 20.0, 30.0)),
}
"""Kinds of noise with levels from the mildest on; the first three are the report's."""


def blur_gaussian(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Gaussian blur; `sigma` in pixels of the film's mean side brought to 224, as for all blurs."""
    return np.asarray(cv2.GaussianBlur(film, (0, 0), _native(film, sigma)), np.uint8)


def blur_pillow(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Pillow's blur: three box filters."""
    blurred = Image.fromarray(film).filter(ImageFilter.GaussianBlur(_native(film, sigma)))
    return np.asarray(blurred)


def blur_box(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Box filter of the same standard deviation."""
    side = max(3, round(np.sqrt(12) * _native(film, sigma)))
    return np.asarray(cv2.blur(film, (side, side)), np.uint8)


def blur_motion(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Straight motion in any direction, √2 times as long as the box filter is wide."""
    length = max(3, round(np.sqrt(24) * _native(film, sigma)))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return np.asarray(cv2.filter2D(film, -1, kernel / kernel.sum()), np.uint8)


def blur_median(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Median filter as wide as the box filter."""
    side = max(3, round(np.sqrt(12) * _native(film, sigma)))
    return np.asarray(cv2.medianBlur(film, side | 1), np.uint8)


def blur_enlarged(film: Film, sigma: float, rng: np.random.Generator) -> Film:
    """Shrink to a thumbnail and enlarge again; its pixel is 2.5 sigma wide."""
    height, width = film.shape
    factor = 2.5 * _native(film, sigma)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    shrunk = cv2.resize(film, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _native(film: Film, sigma: float) -> float:
    return sigma * film.shape[0] / 224


BLURS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    name: (maker, (1.5, 2.0, 3.0, 4.0))
    for name, maker in (
        ("gaussian", blur_gaussian),
        ("pillow", blur_pillow),
        ("box", blur_box),
        ("motion", blur_motion),
        ("median", blur_median),
        ("enlarged", blur_enlarged),
    )
}


def darker(film: Film, mean: float, rng: np.random.Generator) -> Film:
    """Multiply, so that the mean falls to `mean`."""
    return np.clip(film.astype(np.float32) * mean / max(film.mean(), 1), 0, 255).astype(np.uint8)


def darker_gamma(film: Film, mean: float, rng: np.random.Generator) -> Film:
    """Raise to a power, so that the mean falls to `mean`; white stays white."""
    levels = film.astype(np.float32) / 255
    low, high = 1.0, 12.0
    for _ in range(12):
        power = (low + high) / 2
        low, high = (power, high) if float((levels**power).mean()) * 255 > mean else (low, power)
    return _cut(levels**high * 255)


DARKENINGS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "gain": (darker, (65.0, 55.0, 45.0, 35.0, 25.0)),
    "gamma": (darker_gamma, (65.0, 55.0, 45.0, 35.0, 25.0)),
}


def padded(
    film: Film, rng: np.random.Generator, level: int = 0
) -> tuple[Film, tuple[int, int, int, int]]:
    """Add borders of 2 to 18 % on some sides; give their pixels (top, bottom, left, right)."""
    height, width = film.shape
    sides = [
        int(rng.uniform(0.02, 0.18) * k) if rng.random() < 0.6 else 0
        for k in (height, height, width, width)
    ]
    if not any(sides):
        sides[int(rng.integers(4))] = int(0.1 * min(height, width))
    border = cv2.copyMakeBorder(film, *sides, cv2.BORDER_CONSTANT, value=level)
    return np.asarray(border, np.uint8), (sides[0], sides[1], sides[2], sides[3])


def patched(film: Film, rng: np.random.Generator) -> tuple[Film, NDArray[np.bool_]]:
    """Put one to five spots and patches on a film; give their mask."""
    film, mask = film.copy(), np.zeros(film.shape, np.uint8)
    height, width = film.shape
    for _ in range(int(rng.integers(1, 6))):
        r = int(rng.uniform(0.02, 0.07) * height)
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if rng.random() < 0.5:
            for picture, value in ((film, 0), (mask, 1)):
                cv2.circle(picture, (x, y), r, value, -1)
        else:
            level = int(rng.choice([0, 255]))
            for picture, value in ((film, level), (mask, 1)):
                cv2.rectangle(picture, (x, y), (x + 2 * r, y + r), value, -1)
    return film, mask > 0


def sized(film: Film, side: int, rng: np.random.Generator) -> Film:
    """Bring a film to a height of `side` and a random aspect, by a random interpolation."""
    how = (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4, cv2.INTER_AREA)
    width = round(side * rng.uniform(0.85, 1.2))
    if side == 224:
        width = 224
    if film.shape == (side, width):
        return film
    shrinks = side < film.shape[0]
    chosen = cv2.INTER_AREA if shrinks else how[int(rng.integers(3))]
    return np.asarray(cv2.resize(film, (width, side), interpolation=chosen), np.uint8)


def jpeg(film: Film, quality: int) -> Film:
    """Store as JPEG and read again, by Pillow for odd qualities, by OpenCV for even ones."""
    if quality % 2:
        buffer = io.BytesIO()
        Image.fromarray(film).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))
    _, data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def stored(film: Film, rng: np.random.Generator) -> Film:
    """Store the film: 60 % without loss, else as JPEG of quality 75 to 95."""
    return film if rng.random() < 0.6 else jpeg(film, int(rng.integers(75, 96)))


def toned(film: Film, rng: np.random.Generator) -> Film:
    """Change the tone as other software would, within what is still a good film."""
    levels = film.astype(np.float32) / 255
    levels = levels ** np.exp(rng.uniform(-0.25, 0.25))
    return _cut(255 * np.clip((levels - 0.5) * rng.uniform(0.8, 1.1) + 0.5, 0, 1))
