"""PNG, JPEG, TIFF, BMP and WebP to grey, by Pillow; 16-bit colour, which Pillow cuts to 8 bits, by OpenCV."""

import io
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import hush, quietly, remarks_on
from cxrlens.radiographs.grey import grey_of_colour, refuse_size, to_eight_bits
from cxrlens.radiographs.integrity import ends_well, fault_of_png, load_whole

# The plugins are called by name: Image.open would warn of large films by a limit of its own.
_FORMATS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}

_ORIENTATION = 274
_NEW_SUBFILE_TYPE = 254
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_SAMPLE_FORMAT = 339

_WHOLE_NUMBERS = {1, 4}
"""TIFF's sample formats "unsigned" and "undefined"; the others are signed, float and complex."""

hush("PIL")


def decode_raster(data: bytes, name: str, kind: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG, TIFF, BMP or WebP to grey.

    Parameters
    ----------
    data
        The file's content.
    name
        What messages call it.
    kind
        "PNG", "JPEG", "TIFF", "BMP" or "WEBP", as the content's first bytes say.
    max_pixels
        Larger films are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W); `cxrlens.radiographs.read.decode_radiograph` says how each mode becomes grey.

    Raises
    ------
    FilmError
        If the file is broken, cut short, too large, or of a kind that is no film.
    """
    with quietly():
        if kind == "PNG" and (fault := fault_of_png(data)):
            raise FilmError(f"{name} is a broken PNG file ({fault}): copy it again")
        try:
            image = _FORMATS[kind](io.BytesIO(data), name)
        except Exception as error:  # a decoder on arbitrary bytes can raise anything
            raise FilmError(_broken(name, kind, error)) from error
        refuse_size(*image.size, name, max_pixels)
        if kind == "JPEG" and not ends_well(data, image.fp.tell() if image.fp else 0):
            raise FilmError(f"{name} is a broken JPEG file (it is cut short): copy it again")
        try:
            if isinstance(image, TiffImageFile):
                _refuse_odd_tiff(image, name)
                # libtiff would speak of it on the terminal.
                coded = any(tile.codec_name == "libtiff" for tile in image.tile)
                if coded and remarks_on("TIFF", data, name):
                    raise FilmError(
                        f"{name} is a broken TIFF file (a part of it is lost): copy it again"
                    )
            if isinstance(image, WebPImageFile) and image.is_animated:
                raise FilmError(f"{name} is a moving picture: save the one that is the film")
            grey = (
                _deep_grey(image, data)
                if _has_deep_colour(image, data)
                else _grey(image, data, name)
            )
            # Pillow and OpenCV turn a TIFF by themselves.
            orientation = 1 if kind == "TIFF" else image.getexif().get(_ORIENTATION, 1)
        except FilmError:
            raise
        except Exception as error:
            raise FilmError(_broken(name, kind, error)) from error
    return _upright(grey, orientation)


def _broken(name: str, kind: str, error: Exception) -> str:
    if "runcated" in str(error) or isinstance(error, EOFError):
        return f"{name} is a broken {kind} file (it is cut short): copy it again"
    return (
        f"{name} is a {kind} file that cannot be decoded, broken or of a rare kind: "
        "copy it again, or save it anew as PNG"
    )


def _refuse_odd_tiff(image: TiffImageFile, name: str) -> None:
    formats = image.tag_v2.get(_SAMPLE_FORMAT, (1,))
    if not _WHOLE_NUMBERS.issuperset(formats) or image.mode in ("I", "F"):
        raise FilmError(
            f"{name} is a TIFF file of signed, 32-bit or floating-point samples, whose black and "
            "white are not defined: save it with 8 or 16 bits"
        )
    pages = 0
    for page in range(image.n_frames):
        image.seek(page)
        is_thumbnail = image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1
        pages += not is_thumbnail
    image.seek(0)
    if pages > 1:
        raise FilmError(f"{name} is a TIFF file of {pages} pages: save each as a file of its own")


def _has_deep_colour(image: ImageFile, data: bytes) -> bool:
    """Return whether Pillow would cut 16-bit samples to 8, as it does in RGB, RGBA and grey-alpha."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if isinstance(image, TiffImageFile):
        return 16 in image.tag_v2.get(_BITS_PER_SAMPLE, ())
    depth_in_header = 24
    return isinstance(image, PngImageFile) and data[depth_in_header] == 16


def _deep_grey(image: ImageFile, data: bytes) -> NDArray[np.uint8]:
    image.load()  # refuses what is broken; OpenCV would speak of it on the terminal
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError("its 16-bit colours cannot be decoded")
    grey = to_eight_bits(grey_of_colour(cast(NDArray[np.uint16], pixels[..., 2::-1])))
    if pixels.shape[2] == 3:
        return grey
    return _on_black(grey, (pixels[..., 3] // 257).astype(np.uint8))


def _grey(image: ImageFile, data: bytes, name: str) -> NDArray[np.uint8]:
    if isinstance(image, JpegImageFile):
        # The luma is stored as such: to read only it is faster than to go by red, green and blue.
        image.draft("L", image.size)
        if not load_whole(image, data, name):
            raise FilmError(f"{name} is a broken JPEG file (a part of it is lost): copy it again")
    image.load()
    if image.mode.startswith("I;16"):
        return _grey_of_sixteen(image)
    if image.mode == "CMYK" and isinstance(image, JpegImageFile) and "adobe" not in image.info:
        # Pillow takes all inks for inverted, as Adobe stores them; others store them as they are.
        return np.array(ImageChops.invert(image).convert("L"), dtype=np.uint8)
    if image.mode == "LAB":
        return np.array(image.getchannel(0), dtype=np.uint8)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        grey, alpha = np.array(colours.convert("L"), np.uint8), colours.getchannel("A")
        return grey if alpha.getextrema() == (255, 255) else _on_black(grey, np.asarray(alpha))
    return np.array(image.convert("L"), dtype=np.uint8)


def _grey_of_sixteen(image: ImageFile) -> NDArray[np.uint8]:
    pixels = np.asarray(image).astype(np.uint16, copy=False)
    grey = to_eight_bits(pixels)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
        return 255 - grey  # white is zero; Pillow minds it in 8 bits only
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[pixels == transparent] = 0
    return grey


def _on_black(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.multiply(grey, alpha, scale=1 / 255), dtype=np.uint8)


def _upright(film: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a film by the eight orientations of EXIF; anything else leaves it."""
    if orientation in (5, 6, 7, 8):
        film = film.T
    if orientation in (2, 3, 6, 7):
        film = film[:, ::-1]
    if orientation in (3, 4, 7, 8):
        film = film[::-1]
    return np.ascontiguousarray(film)
