"""Tags of a DICOM film: body part, view, how pixels are stored and how they want to be shown.

DICOM PS3.3, C.7.5.1, C.7.6.3, C.11.1 and C.11.2.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from cxrlens.errors import FilmError
from cxrlens.radiographs.grey import depth_of_counts, depth_that_holds, has_greys, spread
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
    return "MONOCHROME2"  # as nearly all films are; a negative is found by its pixels


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
    r"\b(?!BI)\w*LAT(ERAL(E|IS|ES)?|S|L|R)?\b"
    r"|\b(LL|RL|ML|LM|SAG|SAGITTAL|PROFIL|PERFIL|PROFILO|SEITLICH)\b"
    # Oblique and decubitus. (In Spanish "decúbito" alone is how a patient lies: of a frontal film, too.)
    r"|\b([LR][AP]O|[LR]L[OD]|OBL|\w*OBLIQUE|\w*OBL[IÍ][CQ]U[AO]|DECUB|DECUBITUS)\b"
)
"""Words, in capitals, for views that are not frontal."""

_FRONTAL = re.compile(
    r"\b(PA|AP|FRONTAL|FRENTE|FACE|POSTERO-?ANTERIOR|ANTERO-?POSTERIOR|[2-9] ?(VIEWS?|VWS?|V))\b"
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
        several = _FRONTAL.search(text) or re.search(
            r"[&+/,]|\b(AND|OR|ET|UND|WITH|NO|Y|E)\b", text
        )
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


Values = NDArray[np.float64]

SHADE_TAGS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)
"""Tags that `shades` reads."""


def shades(
    samples: NDArray[Any], tags: PixelTags, film: Dataset, name: str = "the film"
) -> NDArray[np.uint8]:
    """Show a grey DICOM film as its tags say.

    In this order: bits outside the stored ones go; the modality LUT, or rescale slope and intercept; the
    VOI LUT, or else the window (of several the first of use; `LINEAR`, `LINEAR_EXACT` or `SIGMOID`);
    MONOCHROME1 inverted; padding black. 0 and 255 are the ends of the range that the tags promise, never
    the darkest and brightest pixel that were met: a stray pixel changes nothing else. Without VOI LUT and
    window that is the whole range of the stored bits, or, where that leaves hardly a grey, most of the film.
    Where these are said to be 16, which is often only the size of the container, it is the smallest usual
    depth that holds the film (`cxrlens.radiographs.grey.stored_depth`), padding left out.

    Parameters
    ----------
    samples
        As decoded, (H, W), of an unsigned type; a sample has `tags.container` bits.
    tags
        How values lie in samples.
    film
        Holds the other tags. A tag that is missing, or that cannot be a number, is passed over; so are a
        slope of 0, a window that the standard forbids (narrower than 1, or 0 if exact), and one that
        leaves hardly a grey of a film with greys (`cxrlens.radiographs.grey.has_greys`).
    name
        What messages call it.

    Returns
    -------
    ndarray of uint8
        (H, W).

    Raises
    ------
    FilmError
        If nothing but padding is there, or a lookup table lacks descriptor or entries.
    """
    counts = np.bincount(samples.ravel(), minlength=1 << tags.container)
    every = np.arange(len(counts))
    stored = stored_values(every, tags)
    padding = _padding(every, stored, tags, film)
    met = (counts > 0) & ~padding
    if not met.any():
        raise FilmError(f"{name} is a DICOM film of nothing but padding by its PixelPaddingValue")
    reach = _stored_range(stored, counts * met, tags)
    values, darkest, brightest = _modality(stored.astype(np.float64), *reach, film, met, name)
    shown = _voi(values, film, counts * met, name)
    if shown is None:
        shown = spread((values - darkest) / (brightest - darkest), counts * met)
    if tags.photometric == "MONOCHROME1":
        shown = 1 - shown
    table = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    table[padding] = 0
    return np.asarray(table[samples], dtype=np.uint8)


def stored_values(samples: NDArray[Any], tags: PixelTags) -> NDArray[np.int64]:
    """Take values out of the bits of samples in which they lie; overlays in the others are gone."""
    values = (samples.astype(np.int64) >> tags.shift) & ((1 << tags.coded) - 1)
    if tags.signed:
        sign = 1 << (tags.coded - 1)
        values = (values ^ sign) - sign
    return np.asarray(values, dtype=np.int64)


def _padding(
    samples: NDArray[Any], stored: NDArray[np.int64], tags: PixelTags, film: Dataset
) -> NDArray[np.bool_]:
    """Return which samples are padding: of one value, or from it to the limit of the range (C.7.5.1.1.2)."""
    value = _number(film, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(samples), dtype=bool)
    limit = _number(film, "PixelPaddingRangeLimit")
    # The tags' own sign may be wrong: their 16 bits are read as the pixels' are.
    sign = 1 << 15 if tags.signed else 0
    ends = (value, value if limit is None else limit)
    low, high = sorted(((int(end) & 0xFFFF) ^ sign) - sign for end in ends)
    padding = (stored >= low) & (stored <= high)
    whole = samples.astype(np.int64)
    if tags.signed and tags.container == 16:
        whole = (whole ^ sign) - sign
    # Some writers pad with a value that the stored bits cannot hold: it fills the whole sample.
    lowest, highest = int(stored.min()), int(stored.max())
    if not lowest <= low <= high <= highest:
        padding = (whole >= low) & (whole <= high)
    return np.asarray(padding, dtype=bool)


def _stored_range(
    stored: NDArray[np.int64], counts: NDArray[np.int64], tags: PixelTags
) -> tuple[float, float]:
    if tags.bits < 16:
        span = 1 << tags.bits
        return (-(span >> 1), (span >> 1) - 1) if tags.signed else (0, span - 1)
    is_negative = tags.signed and bool((counts[stored < 0] > 0).any())
    # -1 needs no more bits than 0 does.
    reach = np.where(stored < 0, -1 - stored, stored)
    depth = depth_of_counts(np.bincount(reach, weights=counts, minlength=1 << 16))
    return (-(1 << depth) if is_negative else 0), (1 << depth) - 1


def _modality(
    stored: Values,
    lowest: float,
    highest: float,
    film: Dataset,
    met: NDArray[np.bool_],
    name: str,
) -> tuple[Values, float, float]:
    """Return the modality's value of each stored one, and the lowest and highest possible."""
    if found := _looked_up(stored, film, "ModalityLUTSequence", met, name):
        return found[0], 0.0, found[1]
    slope = _number(film, "RescaleSlope") or 1.0
    intercept = _number(film, "RescaleIntercept") or 0.0
    ends = sorted((lowest * slope + intercept, highest * slope + intercept))
    return stored * slope + intercept, ends[0], ends[1]


def _voi(values: Values, film: Dataset, counts: NDArray[np.int64], name: str) -> Values | None:
    """Map values to brightness, 0 to 1, by the VOI LUT or the window; None where the film has neither."""
    if found := _looked_up(values, film, "VOILUTSequence", counts > 0, name):
        return found[0] / found[1]
    centres, widths = _numbers(film, "WindowCenter"), _numbers(film, "WindowWidth")
    for centre, width in zip(centres, widths, strict=False):
        shown = _windowed(values, centre, width, film)
        if shown is not None and has_greys(shown, counts):
            return shown
    return None


def _windowed(
    values: Values, centre: float | None, width: float | None, film: Dataset
) -> Values | None:
    if centre is None or width is None:
        return None
    function = str(film.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "SIGMOID" and width > 0:
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT" and width > 0:
        return (values - centre) / width + 0.5
    if function not in ("SIGMOID", "LINEAR_EXACT") and width >= 1:
        if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    return None


def _number(film: Dataset, keyword: str) -> float | None:
    """Read a number, the first where there are several; None if there is none that makes sense."""
    return next(iter(_numbers(film, keyword)), None)


def _numbers(film: Dataset, keyword: str) -> list[float | None]:
    """Read numbers; None stands for one that makes no sense."""
    value = _value(film, keyword)
    if isinstance(value, bytes):  # of a sign that nothing tells
        value = int.from_bytes(value[:2], "little") if value else None
    found: list[float | None] = []
    for one in value if isinstance(value, MultiValue) else [value]:
        try:
            number = float(one)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        found.append(number if math.isfinite(number) else None)
    return found


def _looked_up(
    values: Values, film: Dataset, keyword: str, met: NDArray[np.bool_], name: str
) -> tuple[Values, float] | None:
    """Send values through a lookup table; values beyond its ends get its first or last entry.

    Parameters
    ----------
    values
        Any shape.
    film, keyword
        The film and the name of its Modality or VOI LUT Sequence.
    met
        Which of the values the film holds. The first value that the table maps is 16 bits wide and
        signed or not; it is taken so that the table covers more of these, and if that decides nothing,
        as the sign of the values has it.

    Returns
    -------
    tuple, or None
        The entries, and the white of their depth. That is the descriptor's where it fits the brightest
        entry, and otherwise the smallest usual one that holds it: many files say 16 of a table of 12
        bits. None where the film has no such sequence.

    Raises
    ------
    FilmError
        If the sequence lacks descriptor or entries.
    """
    items = film.get(keyword)
    if not items:
        return None
    item = items[0]
    fault = FilmError(
        f"{name} is a DICOM film whose {keyword} lacks LUTDescriptor or LUTData: "
        "export it anew from its source"
    )
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor[:6], dtype=f"{_byte_order(item)}u2")
    if not isinstance(descriptor, Sequence | np.ndarray) or len(descriptor) != 3 or data is None:
        raise fault
    count, first, depth = (int(number) & 0xFFFF for number in descriptor)
    entries = _entries(data, count or 1 << 16, depth, _byte_order(item))
    if not len(entries):
        raise fault
    first = _signed_or_not(first, len(entries), values, met)
    index = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.intp)
    brightest = int(entries.max())
    holding = depth_that_holds(brightest)
    fits = 1 <= depth <= holding and brightest < 1 << depth
    return entries[index].astype(np.float64), float((1 << (depth if fits else holding)) - 1)


def _byte_order(item: Dataset) -> str:
    return "<" if item.original_encoding[1] is not False else ">"


def _entries(data: Any, count: int, depth: int, order: str) -> NDArray[np.uint16]:
    """Unpack entries: a word each, or of 8 bits two in a word, the first in its lower half."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], dtype=f"{order}u2")
        length = len(data)
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.int64).astype(np.uint16)
        length = 2 * len(words)
    halves = words.astype("<u2").view(np.uint8)[:length]
    if length == 2 * count:
        is_packed = False
    elif length == count + count % 2:
        is_packed = True
    else:
        is_packed = depth <= 8 and bool((words > 255).any())
    if is_packed:
        return halves[:count].astype(np.uint16)
    return words.astype(np.uint16)


def _signed_or_not(first: int, count: int, values: Values, met: NDArray[np.bool_]) -> int:
    held = values[met]
    other = first - (1 << 16)

    def covered(start: int) -> int:
        return int(((held >= start) & (held < start + count)).sum())

    unsigned, signed = covered(first), covered(other)
    if unsigned != signed:
        return first if unsigned > signed else other
    is_negative = first >= 1 << 15 and bool(held.size) and float(held.min()) < 0
    return other if is_negative else first
