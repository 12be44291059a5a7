"""Any film that a caller may hold, to one grey array.

PNG, JPEG, TIFF, BMP and WebP are read by Pillow (16-bit colour, which it cuts to 8 bits, by OpenCV), DICOM
by pydicom.
"""

import errno
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image, fromarray
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cxrlens.errors import FilmError
from cxrlens.progress import Progress, in_batches
from cxrlens.radiographs.decoding import decoders, hush, quietly, remarks_on
from cxrlens.radiographs.grey import grey_of_colour, refuse_size, to_eight_bits
from cxrlens.radiographs.integrity import ends_well, fault_of_png, load_whole, tint

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


class ReadFilm(NamedTuple):
    """A film that is read, and what its file says beside the pixels.

    Attributes
    ----------
    pixels
        (H, W) uint8, 0 black, 255 white, contiguous and writable.
    age
        Of the patient in years, where DICOM tags tell.
    tint
        How far its colours lie from grey; see `cxrlens.radiographs.integrity.tint`. 0 of DICOM.
    """

    pixels: NDArray[np.uint8]
    age: float | None = None
    tint: float = 0.0


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
    """Read a film's file whole, for a caller that needs its bytes beside what is decoded.

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
    """Decode the bytes of a film to grey, for a caller who needs no more of it; see `decode_film`."""
    return decode_film(data, name, max_pixels).pixels


def decode_film(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ReadFilm:
    """Decode the bytes of a film to grey, and tell what else its file says.

    - Colour becomes its luma (ITU-R BT.601); a JPEG's is taken as it is stored. Colour profiles and
      gamma chunks are not applied.
    - Transparent pixels are laid on black.
    - 16 bits are scaled so that the white of the smallest usual depth (8, 10, 12, 14 or 16 bits)
      that holds the brightest pixel becomes 255.
    - The orientation that EXIF asks for is given.
    - DICOM is shown as its tags say, on the range that they promise
      (`cxrlens.radiographs.dicom_tags.shades`). CR, DX and secondary captures of one frame are read.
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

        return ReadFilm(*decode_dicom(data, name, max_pixels))
    if kind := _raster_kind(data):
        return _decode_raster(data, name, kind, max_pixels)
    raise FilmError(
        f"{name} is no PNG, JPEG, TIFF, BMP, WebP or DICOM file, whatever its name says"
    )


def _raster_kind(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


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


def _decode_raster(data: bytes, name: str, kind: str, max_pixels: int) -> ReadFilm:
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

    Raises
    ------
    FilmError
        If the file is broken, cut short, too large, or of a kind that is no film.
    """
    with quietly():
        if kind == "PNG" and (fault := fault_of_png(data)):
            raise FilmError(f"{name} is a broken PNG file ({fault}): copy it again")
        try:
            image = _FORMATS[kind](io.BytesIO(data))
        except Exception as error:  # a decoder on arbitrary bytes can raise anything
            raise FilmError(_broken_file(name, kind, error)) from error
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
            grey = _grey(image, data, name)
            # Of a JPEG the luma alone was read.
            tinted = tint(JpegImageFile(io.BytesIO(data)) if kind == "JPEG" else image)
            # Pillow and OpenCV turn a TIFF by themselves.
            orientation = 1 if kind == "TIFF" else image.getexif().get(_ORIENTATION, 1)
        except FilmError:
            raise
        except Exception as error:
            raise FilmError(_broken_file(name, kind, error)) from error
    return ReadFilm(_upright(grey, orientation), tint=tinted)


def _broken_file(name: str, kind: str, error: Exception) -> str:
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
    if _has_deep_colour(image, data):
        return _deep_grey(image, data)
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


Film = str | Path | bytes | NDArray[np.uint8] | NDArray[np.uint16] | Image
"""A path; a file's bytes; pixels (H, W), (H, W, 3) or (H, W, 4); a Pillow image."""


def name_of(film: Film) -> str:
    """Name a film as tables and messages do: by its path, or not at all."""
    return str(film) if isinstance(film, str | Path) else ""


def read_film(film: Film, name: str = "", max_pixels: int = MAX_PIXELS) -> ReadFilm:
    """Read any film to grey, and tell what else its file says.

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

    Raises
    ------
    FilmError
        If it cannot be read, or is an array or image of another kind.
    """
    if isinstance(film, str | Path):
        return decode_film(read_bytes(film, max_pixels), str(film), max_pixels)
    called = name or "the film"
    if isinstance(film, bytes | bytearray | memoryview):
        return decode_film(bytes(film), called, max_pixels)
    if isinstance(film, np.ndarray):
        colour = film.ndim == 3 and film.shape[2] in (3, 4) and film.dtype == np.uint8
        grey = film.ndim == 2 and film.dtype in (np.uint8, np.uint16)
        if not (colour or grey) or not film.size:
            raise FilmError(
                f"{called} is an array {film.shape} of {film.dtype}: give (H, W) of uint8 or uint16, or "
                "(H, W, 3) of uint8 with red, green and blue"
            )
        if grey and film.dtype == np.uint8:
            return ReadFilm(np.ascontiguousarray(film, np.uint8))
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
    return decode_film(written.getvalue(), called, max_pixels)


PROCESSOR_SECONDS = 8.0
"""Of processor time that a film may take; one of 30 million pixels takes less than 1."""

_LATE = 60.0
"""Seconds by the clock, for a machine that has little time to give."""


def decode_film_apart(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, seconds: float = PROCESSOR_SECONDS
) -> ReadFilm:
    """Decode a film as `decode_film` does, in a process apart, under bounds of time and memory.

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
        pixels, said = decoders.answer(job, data, _LATE, name)
    except ValueError as error:
        raise FilmError(str(error)) from error
    return ReadFilm(pixels, *said)


def read_film_apart(film: Film, name: str = "") -> ReadFilm:
    """Read any film; a file is decoded under bounds.

    Raises
    ------
    FilmError
        See `decode_film_apart` and `read_film`.
    """
    film = read_bytes(film) if isinstance(film, str | Path) else film
    return decode_film_apart(film, name) if isinstance(film, bytes) else read_film(film, name)


Name = TypeVar("Name", str, Path)
Seen = TypeVar("Seen")

_AHEAD = 64
"""Films that are read while others wait to be dealt with: memory is bounded."""

_FIRST_ELEMENTS = frozenset(bytes([element, 0]) for element in (0x00, 0x01, 0x05, 0x08, 0x16))
"""Of group 8: its length, the length to the end, character set, image type, SOP class."""


def is_dicom(start: bytes) -> bool:
    """Return whether a file is DICOM by its first 132 bytes, or more.

    Old files lack the preamble that ends in "DICM"; they begin with the length, or with the first
    tags of the group that identifies the film.
    """
    if start[128:132] == b"DICM" or start.startswith(b"\x02\0\0\0UL\x04\0"):
        return True
    return start[:2] == b"\x08\0" and start[2:4] in _FIRST_ELEMENTS


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

    Examples
    --------
    >>> len(find_films(["images"])), find_films(["images"])[0].name
    (48, 'P00001_1.png')
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            raise FilmError(_why_unreadable(path, error)) from error
        if is_folder:
            found.update(dict.fromkeys(sorted(filter(_is_film, _files_below(path)))))
        else:
            found[path] = None
    return list(found)


def look_at_films(
    films: Sequence[Name],
    look: Callable[[Name], Seen],
    failures: dict[str, str],
    progress: Progress | None = None,
) -> Iterator[tuple[Name, Seen]]:
    """Look at many films in threads, a bounded number ahead.

    Parameters
    ----------
    films
        Their paths.
    look
        What to do with each; it may raise `FilmError`.
    failures
        Gets the sentence of each film that could not be read.
    progress
        Called with films done and films in all.

    Yields
    ------
    tuple
        Each film that could be read and what was seen on it, in their order.
    """

    def outcome_of(film: Name) -> Seen | FilmError:
        try:
            return look(film)
        except FilmError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for part in in_batches(len(films), _AHEAD):
            outcomes = pool.map(outcome_of, films[part])
            for done, (film, outcome) in enumerate(zip(films[part], outcomes, strict=True), 1):
                if isinstance(outcome, FilmError):
                    failures[str(film)] = str(outcome)
                else:
                    yield film, outcome
                if progress:
                    progress(part.start + done, len(films))


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
