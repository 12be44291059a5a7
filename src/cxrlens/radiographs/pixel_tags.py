"""What a DICOM film's tags say of how its pixels are stored (PS3.3, C.7.6.3).

A tag that is missing gets the one meaning that it can have, from the other tags or from the coded
pixels' own header; where it could have several, the film is refused and the tag named.
"""

from dataclasses import dataclass
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset

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
"""What `read_pixel_tags` reads."""

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
    rows, columns = _whole(film, "Rows"), _whole(film, "Columns")
    if form:
        rows, columns = rows or form.height, columns or form.width
    for keyword, value in (("Rows", rows), ("Columns", columns)):
        if value is None:
            raise _lacks(name, keyword)
    assert rows is not None
    assert columns is not None
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
    return PixelTags(
        rows,
        columns,
        samples,
        photometric,
        planar if (planar := _whole(film, "PlanarConfiguration")) in (0, 1) else None,
        container,
        bits,
        coded,
        shift,
        _is_signed(film, name, samples, container, form),
    )


def _whole(film: Dataset, keyword: str) -> int | None:
    value: Any = film.get(keyword)
    return value if isinstance(value, int) else None


def _lacks(name: str, keyword: str) -> FilmError:
    return FilmError(
        f"{name} lacks the DICOM tag {keyword}, without which its pixels have no one meaning: "
        "export it anew from its source"
    )


def _samples(film: Dataset, name: str, photometric: str, form: CodedForm | None) -> int:
    samples = _whole(film, "SamplesPerPixel")
    if samples is None:
        if form:
            samples = form.samples
        elif photometric in _GREY:
            samples = 1
        elif photometric in _COLOUR:
            samples = 3
        else:
            raise _lacks(name, "SamplesPerPixel")
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
    elif (told := _whole(film, "BitsAllocated")) is not None:
        allocated = told
    else:
        sizes = {(count * bits + 7) // 8: bits for bits in (1, 8, 16)}
        length = len(film.PixelData)
        found = sizes.get(length) or sizes.get(length - 1)
        if found is None:
            raise _lacks(name, "BitsAllocated")
        allocated = found
    if allocated > 16:
        raise FilmError(f"{name} is a DICOM film of more than 16 bits: export it with 16 or fewer")
    if allocated not in (1, 8, 16):
        raise FilmError(
            f"{name} is a DICOM film whose tag BitsAllocated says {allocated}: 1, 8 and 16 are read"
        )
    return allocated


def _place(film: Dataset, name: str, container: int, form: CodedForm | None) -> tuple[int, int]:
    """Tell how many bits of a sample hold its value, and how many lie below it."""
    high, bits = _whole(film, "HighBit"), _whole(film, "BitsStored")
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
    told = _whole(film, "PixelRepresentation")
    if told is None:
        if form and form.is_wavelet:
            return form.signed
        if samples == 1 and container == 16 and film.get("SOPClassUID") not in _UNSIGNED_CLASSES:
            raise _lacks(name, "PixelRepresentation")
        return False
    return told == 1 and samples == 1
