"""Tags of a DICOM film: how its pixels are stored (PS3.3, C.7.6.3), its body part and view."""

import re
from dataclasses import dataclass
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from cxrlens.errors import FilmError
from cxrlens.radiographs.integrity import CodedForm

PIXEL_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PresentationLUTShape",
)
"""Tags that `read_pixel_tags` reads."""

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

_UNSIGNED_CLASSES = (
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
)
"""PS3.3 C.8.11.3 allows them nothing but unsigned pixels."""


@dataclass(frozen=True, slots=True)
class PixelTags:
    """How pixels are stored.

    Attributes
    ----------
    rows, columns
        Size.
    samples
        1 or 3.
    photometric
        A photometric interpretation of PS3.3; empty if three samples come without one.
    planar
        1 if colours lie in planes; None if uncompressed pixels do not say.
    container
        Bits of a decoded sample: 1, 8 or 16.
    bits
        Bits of a stored value, which are the scale of the film.
    coded
        How many of them a sample holds; fewer only where the compressed pixels have fewer.
    shift
        How many bits of the container lie below them.
    signed
        Whether the value is in two's complement.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int | None
    container: int
    bits: int
    coded: int
    shift: int
    signed: bool


def read_pixel_tags(film: Dataset, name: str, form: CodedForm | None) -> PixelTags:
    """Read the tags, fill in what has one meaning, and refuse what has none.

    Parameters
    ----------
    film
        With the attributes of `PIXEL_TAGS`, where the file has them, and its pixels.
    name
        What messages call it.
    form
        What the header of the compressed pixels says; None for plain ones and RLE.

    Raises
    ------
    FilmError
        One sentence that names the tag.
    """
    rows, columns = whole(film, "Rows"), whole(film, "Columns")
    if form:
        rows, columns = rows or form.height, columns or form.width
    if rows is None or columns is None:
        raise _lacks(name, "Rows" if rows is None else "Columns")
    photometric = str(film.get("PhotometricInterpretation") or "").strip().upper()
    samples = _samples(film, name, photometric, form)
    photometric = photometric or _photometric(film, name, samples, form)
    if photometric not in (_GREY if samples == 1 else ("", *_COLOUR)):
        raise FilmError(
            f"{name} is a DICOM film whose tags PhotometricInterpretation and SamplesPerPixel do not "
            "fit films of grey, palette, RGB or YBR pixels: export it anew from its source"
        )
    container = _container(film, name, rows * columns * samples, form)
    bits, shift = _place(film, name, container, form)
    coded = min(bits, form.precision if form else container)
    signed = _is_signed(film, name, samples, container, form)
    planar = whole(film, "PlanarConfiguration")
    planar = planar if planar in (0, 1) else None
    return PixelTags(
        rows, columns, samples, photometric, planar, container, bits, coded, shift, signed
    )


def whole(film: Dataset, keyword: str) -> int | None:
    """Return a tag's whole number; None where there is none."""
    value: Any = film.get(keyword)
    return value if isinstance(value, int) else None


def _lacks(name: str, keyword: str) -> FilmError:
    return FilmError(
        f"{name} lacks the DICOM tag {keyword}, without which its pixels have no one meaning: "
        "export it anew from its source"
    )


def _samples(film: Dataset, name: str, photometric: str, form: CodedForm | None) -> int:
    samples = whole(film, "SamplesPerPixel")
    if samples is None and form:
        samples = form.samples
    elif samples is None:
        if photometric not in (*_GREY, *_COLOUR):
            raise _lacks(name, "SamplesPerPixel")
        samples = 1 if photometric in _GREY else 3
    if samples not in (1, 3):
        raise FilmError(
            f"{name} is a DICOM film of {samples} samples per pixel (SamplesPerPixel): 1 and 3 are read"
        )
    if form and form.samples != samples:
        raise FilmError(
            f"{name} is a DICOM film whose tag SamplesPerPixel says {samples} and whose compressed "
            f"pixels say {form.samples}: export it anew from its source"
        )
    return samples


def _photometric(film: Dataset, name: str, samples: int, form: CodedForm | None) -> str:
    if samples == 3:
        if form is None:
            return ""  # the pixels may tell
        if form.is_dct:
            return "YBR_FULL_422"
        if form.is_wavelet:
            return "RGB"  # what its decoder gives
        raise _lacks(name, "PhotometricInterpretation")
    if "RedPaletteColorLookupTableDescriptor" in film:
        return "PALETTE COLOR"
    shape = str(film.get("PresentationLUTShape") or "").strip().upper()
    if shape in ("IDENTITY", "INVERSE"):
        return "MONOCHROME2" if shape == "IDENTITY" else "MONOCHROME1"
    raise _lacks(name, "PhotometricInterpretation")  # either end could be white


def _container(film: Dataset, name: str, count: int, form: CodedForm | None) -> int:
    if form:
        allocated = 8 if form.precision <= 8 else 16 if form.precision <= 16 else form.precision
    elif (told := whole(film, "BitsAllocated")) is not None:
        allocated = told
    else:
        sizes = {(count * bits + 7) // 8: bits for bits in (1, 8, 16)}
        length = len(film.PixelData)
        allocated = sizes.get(length) or sizes.get(length - 1, 0)
        if not allocated:
            raise _lacks(name, "BitsAllocated")
    if allocated > 16:
        raise FilmError(f"{name} is a DICOM film of more than 16 bits: export it with 16 or fewer")
    if allocated not in (1, 8, 16):
        raise FilmError(
            f"{name} is a DICOM film whose tag BitsAllocated says {allocated}: 1, 8 and 16 are read"
        )
    return allocated


def _place(film: Dataset, name: str, container: int, form: CodedForm | None) -> tuple[int, int]:
    """Return how many bits of a sample hold its value, and how many lie below it."""
    high, bits = whole(film, "HighBit"), whole(film, "BitsStored")
    held = form.precision if form else container
    if bits is None:
        bits = high + 1 if high is not None and 0 <= high < held else held
    if form and form.is_dct:
        bits = min(bits, held)
    if not 1 <= bits <= (16 if form else container):
        raise FilmError(
            f"{name} is a DICOM film whose tags BitsStored ({bits}) and BitsAllocated ({container}) "
            "contradict each other: export it anew from its source"
        )
    # A coded sample that does not reach up to the high bit can only hold the stored bits alone, and a
    # high bit below the stored ones is none.
    fits = high is not None and bits - 1 <= high < held
    return bits, (high - bits + 1 if fits and high is not None else 0)


def _is_signed(
    film: Dataset, name: str, samples: int, container: int, form: CodedForm | None
) -> bool:
    told = whole(film, "PixelRepresentation")
    if told is None:
        if form and form.is_wavelet:
            return form.signed
        if samples == 1 and container == 16 and film.get("SOPClassUID") not in _UNSIGNED_CLASSES:
            raise _lacks(name, "PixelRepresentation")
        return False
    return told == 1 and samples == 1


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
"""Tags that `unsuitable` and `view_of` read."""

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

_NOT_FRONTAL_CODES = re.compile(
    # Lateral and sagittal, then oblique (PS3.16, CID 4010), each as SNOMED CT and as the older SRT.
    r"399067008|R-102CD|399198007|R-10232|399173006|R-10236|30730003|G-A145|399352003|R-10228"
    r"|399260004|R-10224|399061009|R-10241|399182000|R-102C1|399236003|R-10234|399184004|R-10238"
    r"|399038007|R-10210|399006002|R-10212|399135007|R-10220|399356000|R-40985|399059000|R-10216"
    r"|399312000|R-10208|399160007|R-10204|260427002|R-40783|260426006|R-40782|399099002|R-10230"
    r"|399368009|R-10226"
)

_ELSEWHERE = re.compile(
    "ABDOMEN|ANKLE|ARM|BREAST|CALCANEUS|CALF|CLAVICLE|COCCYX|[CLST]?SPINE|ELBOW|FEMUR|FINGER|FOOT|FOREARM"
    "|HAND|HEAD|HIP|HUMERUS|JAW|KNEE|LEG|MANDIBLE|MAXILLA|NECK|ORBIT|PATELLA|PELVIS|SACRUM|SCAPULA"
    "|SHOULDER|SKULL|THIGH|THUMB|TIBIA|TIBIAFIBULA|TOE|WRIST|ZYGOMA"
)
"""Body parts (PS3.16 annex L) of films that show no lungs."""


def first_text(film: Dataset, keyword: str) -> str:
    """Return the first value as text without control characters; a name's three spellings stay together."""
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
    """Return what a film is, by its header, if it is no frontal film of a chest.

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
    """Return which tag says that a film is lateral or oblique, in words; empty if none does."""
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
    if _NOT_FRONTAL_CODES.fullmatch(first_text(code, "CodeValue").upper()):
        return True
    if _NOT_FRONTAL.search(first_text(code, "CodeMeaning").upper()):
        return True
    return any(_is_lateral_code(item) for item in _items(code, "ViewModifierCodeSequence"))


def _runs_sideways(film: Dataset) -> bool:
    """Return whether rows or columns run to front or back, wholly or askew (PS3.3, C.7.6.1.1.1)."""
    ends = [text.upper() for text in _texts(film, "PatientOrientation")]
    if any(end[:1] in ("A", "P") for end in ends):
        return True
    # Rows that run to the left and to the front are those of an oblique film.
    return any(end[:1] in ("L", "R") and set(end) & {"A", "P"} for end in ends)


def _items(film: Dataset, keyword: str) -> list[Dataset]:
    value = _value(film, keyword)
    return list(value) if isinstance(value, Items) else []


def _texts(film: Dataset, keyword: str) -> list[str]:
    value = _value(film, keyword)
    values = value if isinstance(value, MultiValue) else re.split(r"\\", str(value or ""))
    return [str(one).strip() for one in values]
