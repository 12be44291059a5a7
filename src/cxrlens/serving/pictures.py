"""Pictures that go over the wire: PNG bytes, quickly."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.explanation.heatmap import HeatMap

_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey (H, W) or RGB (H, W, 3) uint8 as PNG, for speed rather than size."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".png", stored, _FAST)
    assert written
    return data.tobytes()


def png_text(pixels: NDArray[np.uint8]) -> str:
    """Encode as PNG in Base64, for JSON."""
    return base64.b64encode(png(pixels)).decode("ascii")


def within(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink a picture so that its longer side has at most `side` pixels; keep its shape."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def map_pixels(heat: HeatMap, side: int | None = None) -> NDArray[np.uint8]:
    """Give a heat map's values as uint8, its longer side at most `side` pixels.

    Values in [0, 1] become 0 to 255; where the map is signed, [-1, 1] becomes 1 to 255 round 128.
    """
    values = 128 + 127 * heat.values if heat.signed else 255 * heat.values
    pixels = np.rint(values).astype(np.uint8)
    return pixels if side is None else within(pixels, side)
