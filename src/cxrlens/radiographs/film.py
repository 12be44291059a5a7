"""Any film that a caller may hold, to one grey array: here, or in a process apart for a stranger's."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, fromarray

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import Decoders
from cxrlens.radiographs.read import MAX_PIXELS, decode_radiograph, read_bytes, read_radiograph

Film = str | Path | bytes | NDArray[np.uint8] | NDArray[np.uint16] | Image
"""A path; a file's bytes; pixels (H, W), (H, W, 3) or (H, W, 4); a Pillow image."""


def name_of(film: Film) -> str:
    """Name a film as tables and messages do: by its path, or not at all."""
    return str(film) if isinstance(film, str | Path) else ""


def grey_of(film: Film, name: str = "", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read any film to grey.

    Parameters
    ----------
    film
        See `Film`. Grey pixels (H, W) uint8 are taken as they are; other arrays, and Pillow's images,
        are read as the PNG file that they would be saved as: colour becomes its luma, 16 bits are
        scaled by the depth that they use.
    name
        What messages call a film that has no path.
    max_pixels
        Larger films are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W), 0 black, 255 white; see `cxrlens.radiographs.read.decode_radiograph`.

    Raises
    ------
    FilmError
        If it cannot be read, or is an array or image of another kind.
    """
    if isinstance(film, str | Path):
        return read_radiograph(film, max_pixels)
    called = name or "the film"
    if isinstance(film, bytes | bytearray | memoryview):
        return decode_radiograph(bytes(film), called, max_pixels)
    if isinstance(film, np.ndarray):
        colour = film.ndim == 3 and film.shape[2] in (3, 4) and film.dtype == np.uint8
        grey = film.ndim == 2 and film.dtype in (np.uint8, np.uint16)
        if not (colour or grey) or not film.size:
            raise FilmError(
                f"{called} is an array {film.shape} of {film.dtype}: give (H, W) of uint8 or uint16, or "
                "(H, W, 3) of uint8 with red, green and blue"
            )
        if grey and film.dtype == np.uint8:
            return np.ascontiguousarray(film, np.uint8)
        film = fromarray(np.ascontiguousarray(film))
    if not isinstance(film, Image):
        raise FilmError(
            f"{called} is a {type(film).__name__}: give a path, bytes, an array or a Pillow image"
        )
    written = io.BytesIO()
    try:
        film.save(written, "PNG", compress_level=0, exif=film.getexif())
    except (OSError, ValueError) as error:
        raise FilmError(
            f"{called} is a Pillow image of mode {film.mode}, which is no film's: convert it to L"
        ) from error
    return decode_radiograph(written.getvalue(), called, max_pixels)


SECONDS = 8.0
"""Of processor time that a film may take; one of 30 million pixels takes less than 1."""

LATE = 60.0
"""Seconds by the clock, for a machine that has little time to give."""

_decoders = Decoders(Path(__file__).with_name("film_process.py"))


def decode_film_apart(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, seconds: float = SECONDS
) -> NDArray[np.uint8]:
    """Decode a film as `cxrlens.radiographs.read.decode_radiograph` does, under bounds.

    Parameters
    ----------
    data, name, max_pixels
        See there.
    seconds
        Of processor time.

    Raises
    ------
    FilmError
        As there; and if decoding takes more time or memory than any film.
    """
    job = {"name": name, "max_pixels": max_pixels, "processor_seconds": seconds}
    try:
        return np.asarray(_decoders.answer(job, data, LATE, name), np.uint8)
    except ValueError as error:
        raise FilmError(str(error)) from error


def read_film_apart(film: Film) -> NDArray[np.uint8]:
    """Read any film; one that lies in a file is decoded under bounds.

    Raises
    ------
    FilmError
        See `decode_film_apart` and `cxrlens.radiographs.film.grey_of`.
    """
    if isinstance(film, str | Path):
        return decode_film_apart(read_bytes(film), str(film))
    return grey_of(film)


def end_decoders() -> None:
    """End the processes; films that are being decoded are given up."""
    _decoders.end()
