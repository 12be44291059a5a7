"""What a DICOM header says of body part and view: whether the film can be a frontal chest radiograph."""

import re
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)

VIEW_TAGS = (
    "BodyPartExamined",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
    "ImageType",
    *_DESCRIPTIONS,
)
"""What `unsuitable` and `view_of` read."""

_NOT_FRONTAL = re.compile(
    # Lateral, in any spelling; but neither "bilateral" nor "laterality".
    r"\b(?!BI)\w*LAT(ERAL(E|IS|ES)?|S|L|R)?\b|\b(LL|RL|ML|LM|SAG|SAGITTAL|PROFIL|SEITLICH)\b"
    # Oblique and decubitus.
    r"|\b([LR][AP]O|[LR]L[OD]|OBL|\w*OBLIQUE|DECUB|DECUBITUS)\b"
)
"""Words, in capitals, for views that are not frontal."""

_FRONTAL = re.compile(
    r"\b(PA|AP|FRONTAL|POSTERO-?ANTERIOR|ANTERO-?POSTERIOR|[2-9] ?(VIEWS?|VWS?|V))\b"
)

_NOT_FRONTAL_CODES = frozenset(
    {  # lateral and sagittal, then oblique (PS3.16, CID 4010), as SNOMED CT and as the older SRT
        "399067008",
        "R-102CD",
        "399198007",
        "R-10232",
        "399173006",
        "R-10236",
        "30730003",
        "G-A145",
        "399352003",
        "R-10228",
        "399260004",
        "R-10224",
        "399061009",
        "R-10241",
        "399182000",
        "R-102C1",
        "399236003",
        "R-10234",
        "399184004",
        "R-10238",
        "399038007",
        "R-10210",
        "399006002",
        "R-10212",
        "399135007",
        "R-10220",
        "399356000",
        "R-40985",
        "399059000",
        "R-10216",
        "399312000",
        "R-10208",
        "399160007",
        "R-10204",
        "260427002",
        "R-40783",
        "260426006",
        "R-40782",
        "399099002",
        "R-10230",
        "399368009",
        "R-10226",
    }
)

_ELSEWHERE = re.compile(
    "ABDOMEN|ANKLE|ARM|BREAST|CALCANEUS|CALF|CLAVICLE|COCCYX|[CLST]?SPINE|ELBOW|FEMUR|FINGER|FOOT|FOREARM"
    "|HAND|HEAD|HIP|HUMERUS|JAW|KNEE|LEG|MANDIBLE|MAXILLA|NECK|ORBIT|PATELLA|PELVIS|SACRUM|SCAPULA"
    "|SHOULDER|SKULL|THIGH|THUMB|TIBIA|TIBIAFIBULA|TOE|WRIST|ZYGOMA"
)
"""Body parts (PS3.16 annex L) of films that show no lungs."""


def first_text(film: Dataset, keyword: str) -> str:
    """Give the first value as text without control characters; a name's three spellings stay together."""
    value = _value(film, keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else ""
    return re.sub(r"[\x00-\x1f\x7f\\]", " ", str(value if value is not None else "")).strip()


def _value(film: Dataset, keyword: str) -> Any:
    try:
        return film.get(keyword)
    except (ValueError, TypeError, OverflowError, LookupError):  # no value of its kind: as if empty
        return None


def unsuitable(film: Dataset) -> str:
    """Say what a film is, by its header, if it is no frontal film of a chest.

    Parameters
    ----------
    film
        With the attributes of `VIEW_TAGS`, where the file has them.

    Returns
    -------
    str
        ``a film of another body part (HAND)``, ``not a frontal film (view LL)``; empty if nothing in
        the header speaks against a frontal chest radiograph.
    """
    part = first_text(film, "BodyPartExamined").upper()
    if _ELSEWHERE.fullmatch(part):
        return f"a film of another body part ({part})"
    view, why = view_of(film), _not_frontal(film)
    if why == "ViewPosition":
        return f"not a frontal film (view {view})"
    return f"not a frontal film ({why})" if why else ""


def view_of(film: Dataset) -> str:
    """Name the film's view: its View Position, or LATERAL where only other tags say so; may be empty."""
    why = _not_frontal(film)
    view = first_text(film, "ViewPosition").upper()
    return "LATERAL" if why and why != "ViewPosition" else view


def _not_frontal(film: Dataset) -> str:
    """Tell which tag says that a film is lateral or oblique, in words; empty if none does."""
    view = first_text(film, "ViewPosition").upper().replace("_", " ")
    if view in ("L", "R") or _NOT_FRONTAL.search(view):
        return "ViewPosition"
    for code in _items(film, "ViewCodeSequence"):
        if _is_lateral_code(code):
            return "its view code"
    if _runs_sideways(film):
        return "its patient orientation"
    kinds = " ".join(_texts(film, "ImageType")[2:]).upper().replace("_", " ")
    if _NOT_FRONTAL.search(kinds) and not _FRONTAL.search(kinds):
        return "its image type"
    for keyword in _DESCRIPTIONS:
        # "CHEST PA AND LATERAL" describes two films, of which this may be either.
        text = first_text(film, keyword).upper().replace("_", " ")
        several = _FRONTAL.search(text) or re.search(r"[&+/,]|\b(AND|OR|ET|UND|WITH|NO)\b", text)
        if _NOT_FRONTAL.search(text) and not several:
            return "its description"
    return ""


def _is_lateral_code(code: Dataset) -> bool:
    if first_text(code, "CodeValue").upper() in _NOT_FRONTAL_CODES:
        return True
    if _NOT_FRONTAL.search(first_text(code, "CodeMeaning").upper()):
        return True
    return any(_is_lateral_code(item) for item in _items(code, "ViewModifierCodeSequence"))


def _runs_sideways(film: Dataset) -> bool:
    """Tell whether rows or columns run to front or back, wholly or askew (PS3.3, C.7.6.1.1.1)."""
    ends = [text.upper() for text in _texts(film, "PatientOrientation")]
    if any(end[:1] in ("A", "P") for end in ends):
        return True
    # Rows that run to the left and to the front are those of an oblique film.
    return any(end[:1] in ("L", "R") and set(end) & {"A", "P"} for end in ends)


def _items(film: Dataset, keyword: str) -> list[Dataset]:
    value = _value(film, keyword)
    return list(value) if isinstance(value, Sequence) else []


def _texts(film: Dataset, keyword: str) -> list[str]:
    value = _value(film, keyword)
    values = value if isinstance(value, MultiValue) else re.split(r"\\", str(value or ""))
    return [str(one).strip() for one in values]
