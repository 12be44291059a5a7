"""The picture of a Secondary Capture: film and heat map side by side, what is said of them above."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrlens.explanation.heatmap import HeatMap

LONGEST, SHORTEST = 1024, 768
"""Longer side of a panel in pixels: larger films are shrunk, smaller ones are magnified."""

_MARGIN = 16
_NARROWEST = 640


def side_by_side(film: NDArray[np.uint8], heat: HeatMap | None) -> NDArray[np.uint8]:
    """Put a film and its heat map side by side, at a size that a screen can show.

    Parameters
    ----------
    film
        (H, W) uint8.
    heat
        Its heat map; without one the film stands alone.

    Returns
    -------
    ndarray of uint8
        (h, w, 3) RGB; the longer side of each panel has `SHORTEST` to `LONGEST` pixels.
    """
    height, width = film.shape
    longer = max(height, width)
    scale = min(max(longer, SHORTEST), LONGEST) / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.asarray(cv2.resize(film, size, interpolation=way), np.uint8)
    if heat is None:
        return np.repeat(shown[..., None], 3, axis=2)
    values = np.asarray(cv2.resize(heat.values, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return replace(heat, values=values, film=shown).beside()


def captioned(picture: NDArray[np.uint8], headline: str, lines: Sequence[str]) -> NDArray[np.uint8]:
    """Burn text in above a picture; nothing of the picture is covered.

    Parameters
    ----------
    picture
        (H, W, 3) RGB.
    headline
        Drawn larger.
    lines
        Below it; broken where they are too long.

    Returns
    -------
    ndarray of uint8
        (H + caption, W or more, 3) RGB.
    """
    width = max(picture.shape[1], _NARROWEST)
    size = max(18, width // 64)
    rows = [(text, _font(size * 4 // 3)) for text in _broken(headline, _font(size * 4 // 3), width)]
    for line in lines:
        rows += [(text, _font(size)) for text in _broken(line, _font(size), width)]
    heights = [round(font.size * 1.4) for _, font in rows]
    top = sum(heights) + 2 * _MARGIN
    canvas = Image.new("RGB", (width, top + picture.shape[0]))
    canvas.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, top))
    pen, y = ImageDraw.Draw(canvas), _MARGIN
    for number, ((text, font), height) in enumerate(zip(rows, heights, strict=True)):
        pen.text((_MARGIN, y), text, font=font, fill=(255, 214, 90) if number == 0 else (235,) * 3)
        y += height
    return np.array(canvas, dtype=np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same everywhere."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and font.getlength(longer) <= width - 2 * _MARGIN:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows
