"""Bounds on what a few bytes of DICOM may become, alike for film, header and table."""

import io
import zlib
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from cxrlens.collections.readers.folders import tags_of
from cxrlens.errors import FilmError
from cxrlens.pacs.header import read_header
from cxrlens.radiographs.dicom import MOST_ELEMENTS, read_dataset
from cxrlens.radiographs.read import decode_radiograph


def begun(syntax: str, aside: int = 0) -> io.BytesIO:
    """A file up to the end of its meta information, which may be long."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = syntax, generate_uid()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    if aside:
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.3", bytes(aside)
    file = io.BytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta)
    return file


def bomb(aside: int, size: int = 900_000_000) -> bytes:
    """One element that inflates to `size` bytes, in about a thousandth of them."""
    file = begun(DeflatedExplicitVRLittleEndian, aside)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    file.write(deflater.compress(b"\x10\x00\x10\x00UN\x00\x00" + size.to_bytes(4, "little")))
    for _ in range(size >> 20):
        file.write(deflater.compress(bytes(1 << 20)))
    file.write(deflater.flush())
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("aside", [0, 5000])
def test_a_bomb_is_refused_wherever_its_meta_information_ends(aside: int, tmp_path: Path) -> None:
    data = bomb(aside)
    assert len(data) < 2_000_000
    path = tmp_path / "film.dcm"
    path.write_bytes(data)
    for read in (
        lambda: decode_radiograph(data, "film"),
        lambda: read_header(path),
        lambda: tags_of(path),
    ):
        with pytest.raises(FilmError, match="deflated DICOM file larger than any film"):
            read()


def test_a_deflated_film_is_read_as_what_it_inflates_to() -> None:
    file = begun(DeflatedExplicitVRLittleEndian)
    file.write(zlib.compress(b"\x08\x00\x60\x00CS\x02\x00DX", wbits=-zlib.MAX_WBITS))
    file.seek(0)
    dataset = read_dataset(file, "film", ["Modality"])
    assert dataset.Modality == "DX"
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_more_elements_than_any_film_has_are_not_parsed_to_the_end() -> None:
    file = begun(ExplicitVRLittleEndian)
    for number in range(MOST_ELEMENTS + 10):
        file.write((0x11 + 2 * (number >> 15)).to_bytes(2, "little"))
        file.write((0x1000 + number % 32768).to_bytes(2, "little") + b"LO\x00\x00")
    with pytest.raises(FilmError, match="more elements than any film has"):
        decode_radiograph(file.getvalue(), "film")
