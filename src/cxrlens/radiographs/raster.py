"""PNG, JPEG and TIFF to grey, by Pillow; 16-bit colour, which Pillow cuts to 8 bits, by OpenCV."""

import io
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from cxrlens.errors import FilmError
from cxrlens.radiographs.depth import grey_of_colour, to_eight_bits
from cxrlens.radiographs.quiet import quietly

_FORMATS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
}


def decode_raster(data: bytes, name: str, kind: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or TIFF (see `cxrlens.radiographs.read.decode_radiograph`)."""
    with quietly():
        try:
            image = _FORMATS[kind](io.BytesIO(data), name)
        except Exception as error:  # a decoder on arbitrary bytes can raise anything
            raise FilmError(f"{name} is no readable {kind} file: {error}") from error
        width, height = image.size
        if width * height > max_pixels:
            raise FilmError(
                f"{name} is {width:,} × {height:,} pixels large, more than the {max_pixels:,} that are "
                "read: scale it down first"
            )
        try:
            if image.mode not in ("L", "1", "I;16"):
                image.draft("L", image.size)
            image.load()
            if kind != "TIFF":
                ImageOps.exif_transpose(image, in_place=True)
            return _grey(image)
        except Exception as error:
            raise FilmError(f"{name} is a broken {kind} file: {error}") from error


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return to_eight_bits(np.asarray(image, dtype=np.uint16))
    if image.has_transparency_data:
        grey, alpha = image.convert("RGBA").convert("LA").split()
        return _on_black(np.asarray(grey), np.asarray(alpha))
    return np.array(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)


def _on_black(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cast(NDArray[np.uint8], cv2.multiply(grey, alpha, scale=1 / 255))
