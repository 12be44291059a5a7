"""A tree of DICOM files: patient, view, age and sex from the tags; who they are stays in the files.

Of a patient only a keyed hash leaves this module (HMAC-SHA-256, RFC 2104): names and dates are never
parsed, and no message quotes a tag.
"""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from pathlib import Path

from pydicom.multival import MultiValue

from cxrlens.collections.readers.reading import Reading, table_of, years
from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import quietly
from cxrlens.radiographs.dicom import read_dataset
from cxrlens.radiographs.dicom_tags import VIEW_TAGS, view_of
from cxrlens.radiographs.read import find_films, is_dicom, open_film, other_files

MODALITIES = frozenset({"", "CR", "DX", "DR", "XR", "RG", "SC", "OT"})
"""Modalities that are collected: those that `cxrlens.radiographs.read_radiograph` reads."""

_TAGS = [
    "Modality",
    "Rows",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientAge",
    "PatientSex",
    *VIEW_TAGS,
]
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")


class NoDicomError(FilmError):
    """A file of another kind."""


def read_dicom(folder: Path, salt: str | None = None) -> Reading:
    """List the radiographs of a tree of DICOM files; there are no labels in them.

    Parameters
    ----------
    folder
        Searched with all that lies below it.
    salt
        Key of the hash that stands for a patient. With the same salt a patient gets the same hash in
        every table, and whoever knows the salt can find out whose hash it is: keep it secret. Without
        one, a salt is drawn for this table and forgotten.

    Returns
    -------
    Reading
        ``patient`` is 16 hexadecimal digits of the hash of the patient's ID; where a file has none, of
        its study. ``view``, ``age`` and ``sex`` are there where the tags are; ``body_part`` too.
        Other files, other modalities and broken files are left out and counted.

    Raises
    ------
    CollectionError
        If there is no DICOM radiograph.
    FilmError
        If a folder may not be searched.
    """
    key = (salt or secrets.token_hex(16)).encode()
    rows: list[dict[str, object]] = []
    left_out: Counter[str] = Counter()
    for film in find_films([folder.resolve()]):
        try:
            tags = tags_of(film)
        except NoDicomError:
            left_out["no DICOM file"] += 1
            continue
        except FilmError:
            left_out["broken"] += 1
            continue
        if tags["Modality"] not in MODALITIES:
            left_out["of another modality"] += 1
            continue
        if not tags["Rows"]:
            left_out["without an image, or cut off before it"] += 1
            continue
        whose = tags["PatientID"] or tags["StudyInstanceUID"] or tags["SOPInstanceUID"] or str(film)
        rows.append(
            {
                "image": str(film),
                "patient": f"dicom-{hmac.new(key, whose.encode(), hashlib.sha256).hexdigest()[:16]}",
                "source": "dicom",
                **described(tags),
                "body_part": _code(tags["BodyPartExamined"]),
            }
        )
    for kind, count in other_files(folder.resolve()).items():
        left_out[f"{kind}, no suffix of a film"] += count
    return Reading(table_of(rows, folder, "it has no DICOM radiograph"), dict(left_out))


def tags_of(path: Path) -> dict[str, str]:
    """Read the tags that say what a film is; an absent tag is an empty text.

    Raises
    ------
    FilmError
        If the file is no DICOM file (`NoDicomError`), or is broken.
    """
    try:
        with open_film(path) as file:
            if not is_dicom(file.read(132)):
                raise NoDicomError(f"{path} is no DICOM file")
            file.seek(0)
            with quietly():
                dataset = read_dataset(file, str(path), _TAGS)
                tags = {keyword: _text(dataset.get(keyword)) for keyword in _TAGS}
                return {**tags, "ViewPosition": view_of(dataset)}
    except FilmError:
        raise
    except Exception as error:  # a parser on arbitrary bytes can raise anything
        raise FilmError(f"{path} is a broken DICOM file: copy it again") from error


def described(tags: dict[str, str]) -> dict[str, object]:
    """Return view, age and sex, each only where the tag holds what it should."""
    sex = tags["PatientSex"].upper()
    return {
        "view": _code(tags["ViewPosition"]),
        "age": years(tags["PatientAge"]),
        "sex": sex if sex in ("F", "M", "O") else None,
    }


def _text(value: object) -> str:
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return "" if value is None else str(value).strip()


def _code(text: str) -> str | None:
    """Keep a code string as DICOM defines it (PS3.5, CS); free text could be private."""
    return text.upper() if _CODE.fullmatch(text.upper()) else None
