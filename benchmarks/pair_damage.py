"""Pairs of copies with known damage that the script for report-like sets does not make.

The clean copy is a film at its own or a drawn size; the other has one damage, by several makers, and
is then, by chance, brought to another size and JPEG. `PAIR_DAMAGES` names the makers and their levels.
"""

from __future__ import annotations

import cv2
import numpy as np

from quality_damage import (
    BLURS,
    DARKENINGS,
    NOISES,
    Damage,
    Film,
    padded,
    patched,
)


def jpeg(film: Film, quality: float, rng: np.random.Generator) -> Film:
    """Write and read as JPEG of this quality."""
    _, data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def smaller(film: Film, side: float, rng: np.random.Generator) -> Film:
    """Shrink to a square of this side, or to half of the film if that is less."""
    side = min(side, min(film.shape) / 2)
    return np.asarray(
        cv2.resize(film, (int(side), int(side)), interpolation=cv2.INTER_AREA), np.uint8
    )


def negative(film: Film, level: float, rng: np.random.Generator) -> Film:
    """Exchange black and white."""
    return np.asarray(255 - film, np.uint8)


def brighter(film: Film, gain: float, rng: np.random.Generator) -> Film:
    """Multiply and clip at white."""
    return np.clip(film.astype(np.float32) * gain, 0, 255).astype(np.uint8)


def bordered(film: Film, level: float, rng: np.random.Generator) -> Film:
    """Add even borders of this grey."""
    return padded(film, rng, int(level))[0]


def covered(film: Film, level: float, rng: np.random.Generator) -> Film:
    """Put spots and patches on it."""
    return patched(film, rng)[0]


DETAIL: dict[str, tuple[Damage, tuple[float, ...]]] = {
    **{f"noise, {name}": maker for name, maker in NOISES.items()},
    **{f"blur, {name}": maker for name, maker in BLURS.items()},
    "JPEG": (jpeg, (5.0, 10.0, 20.0, 30.0, 45.0)),
    "smaller": (smaller, (64.0, 96.0, 128.0, 160.0)),
}
"""Damage of the fine detail, which the regression of `cxrlens.collections.pairs` is fitted on."""

PAIR_DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    **DETAIL,
    **{f"darker, {name}": maker for name, maker in DARKENINGS.items()},
    "brighter": (brighter, (1.3, 1.6, 2.0)),
    "negative": (negative, (1.0,)),
    "padded": (bordered, (0.0, 255.0)),
    "patched": (covered, (0.0,)),
}
"""Maker and levels by name."""


def pair(
    film: Film, name: str, rng: np.random.Generator, size: bool = True
) -> tuple[Film, Film, float]:
    """Make the clean copy, the damaged copy and tell the level.

    Parameters
    ----------
    film
        The clean film at its own size.
    size
        Whether it is first brought to a drawn side of 224 to 700 pixels; untouched originals are not.
    """
    if size:
        side = int(rng.integers(224, 700))
        shape = side, int(side * rng.uniform(0.85, 1.2))
        film = np.asarray(cv2.resize(film, shape, interpolation=cv2.INTER_CUBIC), np.uint8)
    maker, levels = PAIR_DAMAGES[name]
    level = float(rng.choice(levels))
    damaged = maker(film, level, rng)
    if name not in ("JPEG", "smaller"):
        if rng.random() < 0.3:
            scale = float(rng.uniform(0.6, 2.0))
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            damaged = np.asarray(
                cv2.resize(damaged, None, fx=scale, fy=scale, interpolation=how), np.uint8
            )
        if rng.random() < 0.4:
            damaged = jpeg(damaged, float(rng.integers(75, 96)), rng)
    if rng.random() < 0.4:
        film = jpeg(film, float(rng.integers(75, 96)), rng)
    return film, damaged, level
