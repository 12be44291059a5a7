"""Writes raw_expected.csv: what the originals in ../shared/data/raw must read as.

Decoded by imagecodecs (libpng, libjpeg-turbo), made grey by hand; nothing of cxrlens takes part. Run
it from the project's root, only when the originals change: python tests/radiographs/write_raw_expected.py
"""

import csv
from pathlib import Path

import imagecodecs
import numpy as np

HERE = Path(__file__).parent
RAW = HERE.parents[1] / "../shared/data/raw/images"


def luma_on_black(pixels: np.ndarray) -> np.ndarray:
    """Weigh the channels (ITU-R BT.601), lay transparent pixels on black."""
    if pixels.ndim == 2:
        return pixels
    grey = np.rint(pixels[..., :3].astype(float) @ (0.299, 0.587, 0.114))
    if pixels.shape[2] == 4:
        grey = np.rint(grey * pixels[..., 3] / 255)
    return grey.astype(np.uint8)


if __name__ == "__main__":
    with (HERE / "raw_expected.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        corners = [f"{side}_{end}" for side in ("top", "bottom") for end in ("left", "right")]
        table.writerow(["image", "height", "width", "darkest", "brightest", "mean", *corners])
        for path in sorted(RAW.iterdir()):
            data = path.read_bytes()
            is_png = data.startswith(b"\x89PNG")  # whatever the suffix says: some lie
            decode = imagecodecs.png_decode if is_png else imagecodecs.jpeg8_decode
            film = luma_on_black(decode(data))
            at_corners = film[[0, 0, -1, -1], [0, -1, 0, -1]]
            numbers = [*film.shape, film.min(), film.max(), f"{film.mean():.2f}", *at_corners]
            table.writerow([path.name, *numbers])
