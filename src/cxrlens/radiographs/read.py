"""One way in for every film: a file or bytes, recognised by content, to one grey array."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import FilmError
from cxrlens.radiographs.quiet import is_dicom
from cxrlens.radiographs.raster import decode_raster

FILM_SUFFIXES = frozenset(
    {".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
    | {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg"}
    | {".dcm", ".dicom", ".dic", ".ima"}
)
"""Suffixes, in lower case, by which films are found in a folder, by every verb."""

MAX_PIXELS = 100_000_000
"""Pixels of the largest film that is read. Detectors and film scanners stay below 30 million."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"BM": "BMP",
}

_MOST_BYTES_PER_PIXEL = 8
"""16 bits of red, green, blue and alpha, uncompressed."""


def read_radiograph(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a film, PNG, JPEG, TIFF, BMP, WebP or DICOM of any mode, to grey.

    Parameters
    ----------
    path
        The file. Its content tells what it is, not its suffix.
    max_pixels
        Films with more pixels are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W), 0 black, 255 white; see `decode_radiograph`.

    Raises
    ------
    FilmError
        If the file is missing, unreadable, empty, broken, too large or no radiograph; one sentence
        that names it.

    Examples
    --------
    >>> film = read_radiograph("images/P00001_1.png")
    >>> film.shape, film.dtype
    ((96, 96), dtype('uint8'))
    """
    return decode_radiograph(read_bytes(path, max_pixels), str(path), max_pixels)


def read_bytes(path: str | Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read a film's file whole, for a caller that needs its bytes beside its pixels.

    Parameters
    ----------
    path
        The file.
    max_pixels
        A file with more bytes than so many pixels could need is refused unread.

    Returns
    -------
    bytes
        What `decode_radiograph` takes.

    Raises
    ------
    FilmError
        If the file is missing, cannot be read, is larger than any film, or its name is no UTF-8.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        # Neither a table nor a page could name such a film.
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise FilmError(f"{shown} has a name that is no UTF-8: rename it") from error
    most = _MOST_BYTES_PER_PIXEL * max_pixels
    try:
        with open_film(path) as file:
            size = os.fstat(file.fileno()).st_size
            # Not every file system knows the sizes of its files.
            data = file.read(most + 1) if size <= most else b""
    except OSError as error:
        raise FilmError(_why_unreadable(path, error)) from error
    if (size := max(size, len(data))) > most:
        raise FilmError(f"{path} has {size:,} bytes, more than any film: name the film itself")
    return data


def open_film(path: str | Path) -> BinaryIO:
    """Open a film's file; a pipe, a device or a socket, which could hold a reader for ever, is none.

    Raises
    ------
    FilmError
        If there is no regular file, or it cannot be opened.
    """
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            # It could be replaced meanwhile: opening a pipe must not wait for its writer.
            file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise FilmError(_why_unreadable(path, error)) from error
    raise FilmError(
        f"{path} is no regular file but a pipe, a device or a socket: name the film's own file"
    )


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def decode_radiograph(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of a film to grey.

    - Colour becomes its luma (ITU-R BT.601); a JPEG's is taken as it is stored. Colour profiles and
      gamma chunks are not applied.
    - Transparent pixels are laid on black.
    - 16 bits are scaled so that the white of the smallest usual depth (8, 10, 12, 14 or 16 bits)
      that holds the brightest pixel becomes 255.
    - The orientation that EXIF asks for is given.
    - DICOM is shown as its tags say, on the range that they promise
      (`cxrlens.radiographs.shades.shades`). CR, DX and secondary captures of one frame are read.
    - TIFF may hold one page (and thumbnails) of whole numbers; floating-point samples are refused,
      since nothing says which is white.
    - A film of 1×1 pixel is a film here: whether it is of use is for others to say.

    Parameters
    ----------
    data
        The content of a PNG, JPEG, TIFF, BMP, WebP or DICOM file.
    name
        What messages call it.
    max_pixels
        Films with more pixels are refused before they are decoded.

    Returns
    -------
    ndarray of uint8
        (H, W), 0 black, 255 white, contiguous and writable.

    Raises
    ------
    FilmError
        If the bytes are empty, broken, cut short, too large or no radiograph.
    """
    if not data:
        raise FilmError(f"{name} is empty: copy it again")
    if is_dicom(data):
        # pydicom and its decoders take a while to load; most films are none of theirs.
        from cxrlens.radiographs.dicom import decode_dicom

        return decode_dicom(data, name, max_pixels)
    if kind := _raster_kind(data):
        return decode_raster(data, name, kind, max_pixels)
    raise FilmError(
        f"{name} is no PNG, JPEG, TIFF, BMP, WebP or DICOM file, whatever its name says"
    )


def _raster_kind(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


def find_films(paths: Iterable[str | Path]) -> list[Path]:
    """List films: files as they are given, folders searched with all that lies below them.

    Parameters
    ----------
    paths
        Files and folders. In a folder a film is a file with a suffix of `FILM_SUFFIXES`, or one
        without a suffix (or whose "suffix" is a number, as of a file named by a DICOM UID) whose
        content says that it is one. Hidden files and folders and DICOMDIR are passed over; a
        folder that is reached twice through links is searched once.

    Returns
    -------
    list of Path
        In the order given, the films of each folder sorted by path; none twice.

    Raises
    ------
    FilmError
        If a path does not exist, or it or a folder below it may not be searched.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            raise FilmError(_why_unreadable(path, error)) from error
        if is_folder:
            found.update(dict.fromkeys(sorted(_films_below(path))))
        else:
            found[path] = None
    return list(found)


def _films_below(folder: Path) -> Iterator[Path]:
    yield from (path for path in _files_below(folder) if _is_film(path))


def other_files(folder: Path) -> Counter[str]:
    """Count the files below a folder that `find_films` passes over, by suffix; hidden ones do not count."""
    others = (path for path in _files_below(folder) if not _is_film(path))
    return Counter(path.suffix.lower() or path.name for path in others)


def _files_below(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        place = Path(parent).resolve()
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                yield Path(parent, name)


def _is_film(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix and not suffix[1:].isdigit():
        return suffix in FILM_SUFFIXES
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        if path.exists() and not path.is_file():
            return False
        with open_film(path) as file:
            start = file.read(132)
            return is_dicom(start) or _raster_kind(start) is not None
    except (OSError, FilmError):
        return True  # reading it will say why


def _refuse_folder(error: OSError) -> None:
    raise FilmError(_why_unreadable(error.filename, error)) from error


def _why_unreadable(path: str | Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} does not exist"
    if number == errno.EISDIR:
        return f"{path} is a folder, not a film: name the films in it"
    if number in (errno.EACCES, errno.EPERM):
        return f"{path} may not be read by you: ask its owner for permission"
    return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
