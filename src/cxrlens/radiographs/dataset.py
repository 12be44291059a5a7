"""The one way to a DICOM file's data set: as pydicom reads it, but under bounds.

pydicom inflates a deflated file whole and parses as many elements as there are; both are promises of a
few bytes. Where the file meta ends and which transfer syntax it names is asked of pydicom itself, so that
nothing is read here otherwise than there.
"""

import zlib
from collections.abc import Sequence
from typing import BinaryIO, cast

from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_partial, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from cxrlens.errors import FilmError

MOST_ELEMENTS = 20_000
"""Elements of the outermost level; the films of all public sets have fewer than 500."""

MOST_INFLATED = 800_000_000
"""Bytes that a deflated file may become; what the largest film could need."""

_PIECE = 1 << 20

_PIXELS = frozenset(Tag(0x7FE0, element) for element in (0x0001, 0x0002, 0x0008, 0x0009, 0x0010))


def read_dataset(
    file: BinaryIO,
    name: str,
    tags: Sequence[str],
    *,
    pixels: bool = False,
    most_bytes: int = MOST_INFLATED,
) -> FileDataset:
    """Read some tags of a DICOM file, with or without a preamble.

    Parameters
    ----------
    file
        The file from its beginning.
    name
        What messages call it.
    tags
        Keywords of the tags that are wanted.
    pixels
        Read on to the pixels; otherwise reading stops before them.
    most_bytes
        A deflated file that inflates to more is refused.

    Returns
    -------
    FileDataset
        Of a deflated file the transfer syntax is that of what it inflates to.

    Raises
    ------
    FilmError
        If it inflates to too much, or has more elements than any film.
    Exception
        Whatever pydicom raises at broken files.
    """
    seen = 0

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal seen
        seen += 1
        if seen > MOST_ELEMENTS:
            raise FilmError(
                f"{name} is a DICOM file of more elements than any film has: export it anew"
            )
        return not pixels and tag in _PIXELS

    plain = _inflated(file, name, most_bytes)
    return read_partial(plain, stop_when=stop, force=True, specific_tags=[Tag(tag) for tag in tags])


def _inflated(file: BinaryIO, name: str, most_bytes: int) -> BinaryIO:
    """Give the file as it is, or, if it is deflated, what it inflates to as a file of its own."""
    start = file.tell()
    preamble = read_preamble(file, force=True)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(start)
        return file
    deflated = file.read()
    if _inflated_size(deflated, most_bytes) > most_bytes:
        raise FilmError(f"{name} is a deflated DICOM file larger than any film: export it plainly")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = DicomBytesIO()
    plain.write((preamble or bytes(128)) + b"DICM")
    write_file_meta_info(plain, meta, enforce_standard=False)
    plain.write(zlib.decompress(deflated, -zlib.MAX_WBITS))
    plain.seek(0)
    return cast(BinaryIO, plain)


def _inflated_size(deflated: bytes, enough: int) -> int:
    """Count what comes out, piece by piece and no further than to a piece beyond `enough`."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, deflated
    while rest and size <= enough:
        size += len(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
    return size
