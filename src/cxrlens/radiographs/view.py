"""What a DICOM header says of body part and view: whether the film can be a frontal chest radiograph."""

import re
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

VIEW_TAGS = ("BodyPartExamined", "ViewPosition", "ViewCodeSequence")
"""What `unsuitable` reads."""

_NOT_FRONTAL = frozenset(
    {"LL", "RL", "LAT", "LATERAL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"}
)
"""View positions of lateral, decubitus and oblique films."""

_NOT_FRONTAL_WORDS = re.compile(r"\b(lateral|oblique|decubitus)\b", re.IGNORECASE)
_FRONTAL_WORDS = re.compile(r"\b(postero-?anterior|antero-?posterior)\b", re.IGNORECASE)

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
    view = first_text(film, "ViewPosition").upper()
    if view in _NOT_FRONTAL:
        return f"not a frontal film (view {view})"
    codes = _value(film, "ViewCodeSequence")
    meanings = [
        first_text(code, "CodeMeaning") for code in (codes if isinstance(codes, Sequence) else ())
    ]
    if any(
        _NOT_FRONTAL_WORDS.search(text) and not _FRONTAL_WORDS.search(text) for text in meanings
    ):
        return "not a frontal film (its view code)"
    return ""
