"""Header of a film, as far as results need it, and the UIDs that follow from film and model."""

import contextlib
import hashlib
import re
import uuid
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset as read_elements
from pydicom.multival import MultiValue
from pydicom.uid import UID

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.dicom import read_dataset
from cxrlens.radiographs.dicom_tags import VIEW_TAGS, first_text, unsuitable

_DATE = r"(19|20|18)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"

_ALWAYS = {
    "PatientName": (r"[^\\]*", 194),
    "PatientID": (r"[^\\]*", 64),
    "PatientBirthDate": (_DATE, 8),
    "PatientSex": (r"[MFO]", 1),
    "StudyDate": (_DATE, 8),
    "StudyTime": (_TIME, 16),
    "StudyID": (r"[^\\]*", 16),
    "AccessionNumber": (r"[^\\]*", 16),
    "ReferringPhysicianName": (r"[^\\]*", 194),
}
_IF_KNOWN = {
    "IssuerOfPatientID": (r"[^\\]+", 64),
    "PatientAge": (r"\d{3}[DWMY]", 4),
    "StudyDescription": (r"[^\\]+", 64),
}
"""Attributes of patient and study that results repeat, the form that each must have, its length; the first
must be there, empty if need be (type 2)."""

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_ALSO = ("SpecificCharacterSet", "Modality", "InstanceNumber", "BurnedInAnnotation")
_SHOWN = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)
_TAGS = [*_UIDS, *_ALWAYS, *_IF_KNOWN, *_ALSO, *_SHOWN, *VIEW_TAGS]

_SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True)
class FilmHeader:
    """The part of a film's header that results need.

    Attributes
    ----------
    repeated
        Patient, study and the film's own UIDs, ready to be written as UTF-8.
    orientation
        Patient Orientation of its rows and columns; None if it is not said or makes no sense.
    burned_in
        ``YES`` or ``NO`` if the film says so.
    unsuitable
        Why the model must not look at it, one sentence; empty if nothing speaks against it.
    pixels
        Digest of its pixels; see `pixels_of`.
    shown
        How a viewer is to show it: rescaling, window, lookup tables, as the film has them.
    """

    repeated: Dataset
    orientation: tuple[str, str] | None
    burned_in: str | None
    unsuitable: str
    pixels: str
    shown: Dataset

    @property
    def uid(self) -> UID:
        """The film's SOP Instance UID."""
        return UID(self.repeated.SOPInstanceUID)

    @property
    def study(self) -> UID:
        """The study that results go into."""
        return UID(self.repeated.StudyInstanceUID)


def read_header(path: Path) -> FilmHeader:
    """Read what results need of a film's header.

    Raises
    ------
    FilmError
        If it is broken, or lacks one of the UIDs without which a result has no study to go into.
    """
    with quietly():
        try:
            with path.open("rb") as file:
                film = read_dataset(file, "the film", _TAGS)
                return _read_header(film, _digest_of_rest(file))
        except FilmError:
            raise
        except Exception as error:  # a parser on arbitrary bytes can raise anything
            raise FilmError("the film's header is broken: send it again") from error


def pixels_of(film: BinaryIO) -> str:
    """Digest a film's pixels as they are encoded, so that a corrected header does not make another film.

    Parameters
    ----------
    film
        A DICOM file, at its begin. Of one that has no pixels, is deflated or broken, all is digested.
    """
    with quietly():
        try:
            read_dataset(film, "the film", ["SOPInstanceUID"])
        except Exception:  # noqa: BLE001 - a parser on arbitrary bytes can raise anything
            film.seek(0, 2)
    return _digest_of_rest(film)


def _digest_of_rest(film: BinaryIO) -> str:
    at_pixels = film.tell()
    film.seek(at_pixels if film.read(1) else 0)
    return hashlib.sha256(film.read()).hexdigest()


def instance_of(dataset: bytes, syntax: UID) -> tuple[str, str]:
    """Read which film a dataset is: its SOP Class UID and SOP Instance UID, empty where it does not say.

    Parameters
    ----------
    dataset
        Its beginning, a few kilobytes; both stand among the first elements.
    syntax
        The transfer syntax that it is encoded in.
    """
    with quietly():
        try:
            if syntax.is_deflated:
                dataset = zlib.decompressobj(-zlib.MAX_WBITS).decompress(dataset, len(dataset))
            found = read_elements(
                BytesIO(dataset),
                syntax.is_implicit_VR,
                syntax.is_little_endian,
                stop_when=lambda tag, vr, length: tag > _SOP_INSTANCE_UID,
            )
            return first_text(found, "SOPClassUID"), first_text(found, "SOPInstanceUID")
        except Exception:  # noqa: BLE001 - a parser on arbitrary bytes can raise anything
            return "", ""


def _read_header(film: Dataset, pixels: str) -> FilmHeader:
    repeated = Dataset()
    repeated.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _UIDS:
        uid = UID(first_text(film, keyword))
        if not uid or not uid.is_valid:
            raise FilmError(f"the film has no valid {keyword}: its results would belong nowhere")
        setattr(repeated, keyword, uid)
    for keyword, (form, length) in {**_ALWAYS, **_IF_KNOWN}.items():
        text = first_text(film, keyword)[:length].strip()
        if keyword.endswith("Name"):
            text = "=".join(spelling[:64] for spelling in text.split("=")[:3])
        if not re.fullmatch(form, text):
            text = ""
        if text or keyword in _ALWAYS:
            setattr(repeated, keyword, text)
    number = first_text(film, "InstanceNumber")
    is_number = number.isdigit() and 0 < int(number) < 2**31
    repeated.InstanceNumber = int(number) if is_number else 1
    annotation = first_text(film, "BurnedInAnnotation").upper()
    other = unsuitable(film)
    return FilmHeader(
        repeated,
        _orientation(film.get("PatientOrientation")),
        annotation if annotation in ("YES", "NO") else None,
        f"Not predicted: by its header this is {other}." if other else "",
        pixels,
        _shown_tags(film),
    )


def _shown_tags(film: Dataset) -> Dataset:
    shown = Dataset()
    for keyword in _SHOWN:
        # A value that cannot be read is as good as none; it is no reason to refuse the film.
        with contextlib.suppress(Exception):
            if keyword in film and film[keyword].value not in (None, "", []):
                shown.add(film[keyword])
    return shown


def _orientation(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, MultiValue) or len(value) != 2:
        return None
    rows, columns = str(value[0]), str(value[1])
    return (rows, columns) if {rows, columns} <= {"L", "R", "F", "H", "A", "P"} else None


_NAMESPACE = uuid.UUID("7b4ff8c4-6b0a-5d35-9a55-0f2f4c8f4a11")
"""Of all UIDs made here; drawn once."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made a result.

    Attributes
    ----------
    name
        The model folder's name.
    digest
        Its one digest, as tables, pages and API bear it; see `cxrlens.runs.run.Run.digest`.
    chain
        Version of the quality chain.
    program
        Version of cxrlens that predicts.
    trust, site
        Digests of what turns its scores into answers, and of the site file that moves them; empty where
        there is none.
    """

    name: str
    digest: str
    chain: str
    program: str
    trust: str = ""
    site: str = ""

    def uid_for(self, kind: str, of: str) -> UID:
        """Derive a UID: the same model, kind and thing give the same one, everywhere and always.

        Parameters
        ----------
        kind
            What it names, e.g. ``capture``.
        of
            The SOP Instance UID of a film, or the Study Instance UID of a study.

        Returns
        -------
        UID
            Below 2.25, as PS3.5 annex B.2 has it, from a UUID of version 5 (RFC 9562).
        """
        name = " ".join((of, self.digest, self.chain, kind, *filter(None, (self.trust, self.site))))
        return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")
