"""The coded concepts of reports: SNOMED CT and DICOM codes where they fit, our own where none does."""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

SCHEME = "99CXRLENS"
"""Designator of our own codes; 99 marks private ones (PS3.16, chapter 8)."""


def own(value: str, meaning: str) -> CodedConcept:
    """Make a concept of our own; the value has at most 16 characters, the meaning 64."""
    return CodedConcept(value, SCHEME, meaning)


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Say in a dataset what our own codes are."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Concepts of cxrlens", responsible_organization="cxrlens"
    )


PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")
PLAIN_CHEST_FILM = Code("399208008", "SCT", "Plain chest X-ray")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
COMMENT = Code("121106", "DCM", "Comment")
NO_UNITS = Code("1", "UCUM", "no units")

PREDICTED = own("predicted", "Predicted class")
SUITABILITY = own("suitability", "Suitability for the model")
UNSUITABLE = own("unsuitable", "Not suitable: not predicted")

_CLASSES = {
    "normal": Code("17621005", "SCT", "Normal"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "tuberculosis": Code("154283005", "SCT", "Pulmonary tuberculosis"),
}

_DEFECTS = {
    "negative": "Film is a negative",
    "underexposed": "Film is underexposed",
    "noisy": "Film is noisy",
    "blurred": "Film is blurred",
    "padded": "Film has padded borders",
    "patched": "Film is patched",
    "photographed": "Film was photographed",
    "not_a_chest": "Film does not look like a chest film",
    "torn": "Film may have lost a part",
}


def class_of(name: str) -> Code | CodedConcept:
    """Give a class's concept."""
    return _CLASSES.get(name) or own(f"class-{name}"[:16], name[:64])


def probability_of(name: str) -> CodedConcept:
    """Give the concept of a class's probability, e.g. ``p-pneumonia``."""
    return own(f"p-{name}"[:16], f"Probability of {name}"[:64])


def defect(name: str) -> CodedConcept:
    """Give the concept of a quality finding."""
    return own(name[:16], _DEFECTS.get(name, f"Film is {name}")[:64])
