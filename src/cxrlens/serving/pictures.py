"""Pictures that go over the wire: PNG bytes, quickly."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

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


def map_pixels(values: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Give a heat map's values [0, 1] as uint8, its longer side at most `side` pixels."""
    return within(np.rint(values * 255).astype(np.uint8), side)
