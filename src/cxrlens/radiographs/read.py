"""One way in for every film: file or bytes, recognised by content, to one grey array."""

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.radiographs.dicom import decode_dicom
from cxrlens.radiographs.raster import decode_raster

FILM_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"})
"""Suffixes, in lower case, by which films are found in a folder."""

MAX_PIXELS = 100_000_000
"""Pixels of the largest film that is read; the largest detectors and scanners stay below 30 million."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}


def read_radiograph(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a film: PNG, JPEG, TIFF or DICOM, in any mode, to grey.

    Parameters
    ----------
    path
        The file. Its content tells what it is, not its suffix.
    max_pixels
        Films with more pixels are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W), see `decode_radiograph`.

    Raises
    ------
    FilmError
        If the file is missing, unreadable, broken, too large or no radiograph.
    """
    return decode_radiograph(read_bytes(path), str(path), max_pixels)


def read_bytes(path: str | Path) -> bytes:
    """Read a file whole, for a caller that needs its bytes beside its pixels.

    Raises
    ------
    FilmError
        If the file is missing or cannot be read.
    """
    path = Path(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise FilmError(_unreadable(path, error)) from error


def decode_radiograph(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of a film to grey.

    Parameters
    ----------
    data
        The content of a PNG, JPEG, TIFF or DICOM file.
    name
        What messages call it.
    max_pixels
        Films with more pixels are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W), 0 black, 255 white.

    Raises
    ------
    FilmError
        If the bytes are broken, too large or no radiograph.
    """
    if not data:
        raise FilmError(f"{name} is empty: copy it again from where it came")
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return decode_raster(data, name, kind, max_pixels)
    if data[128:132] == b"DICM":
        return decode_dicom(data, name, max_pixels)
    raise FilmError(f"{name} is no PNG, JPEG, TIFF or DICOM file")


def find_films(paths: Iterable[str | Path]) -> list[Path]:
    """List films: files as they are given, folders searched with all that is below them.

    Parameters
    ----------
    paths
        Files and folders. In a folder a film is a file with a suffix of `FILM_SUFFIXES`, or one
        without a suffix that says it is DICOM; hidden files and folders are passed over.

    Returns
    -------
    list of Path
        In the order given, each folder's own films sorted by path; none twice.

    Raises
    ------
    FilmError
        If a path does not exist.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(sorted(_films_below(path))))
        elif path.exists():
            found[path] = None
        else:
            raise FilmError(f"{path} does not exist")
    return list(found)


def _films_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _films_below(path)
        elif path.suffix.lower() in FILM_SUFFIXES or (not path.suffix and _says_dicom(path)):
            yield path


def _says_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _unreadable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{path} does not exist"
    if error.errno == errno.EISDIR:
        return f"{path} is a folder: name a film, or search it with find_films"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} may not be read by you: change its permissions"
    return f"{path} cannot be read: {error.strerror or error}"
