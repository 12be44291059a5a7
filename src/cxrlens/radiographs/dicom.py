"""DICOM radiographs (CR, DX, secondary captures) to grey, by pydicom and its decoders, under bounds."""

import contextlib
import io
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_fragments, get_frame, parse_basic_offsets
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_partial, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoding import decode_apart, hush, quietly
from cxrlens.radiographs.dicom_tags import (
    PIXEL_TAGS,
    SHADE_TAGS,
    VIEW_TAGS,
    PixelTags,
    first_text,
    read_pixel_tags,
    shades,
    stored_values,
    unsuitable,
    whole,
)
from cxrlens.radiographs.grey import grey_of_colour, refuse_size, to_eight_bits
from cxrlens.radiographs.integrity import (
    OLDEST,
    CodedForm,
    bare_lossless_jpeg,
    coded_form,
    ends_well,
    is_whole,
)

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
    """Return the file as it is, or, if it is deflated, what it inflates to as a file of its own."""
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


_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_AGE = re.compile(r"(\d{1,3})\s*([ymwd]?)", re.IGNORECASE)


def years(text: str) -> float:
    """Read the first age in a text: "058Y", "016M", "64days", "45yrs", "Patient's Age: 027Y", "58".

    Parameters
    ----------
    text
        A DICOM age string (PS3.5, AS: three digits and D, W, M or Y), a plain number, or a number
        with its unit spelled out.

    Returns
    -------
    float
        Years, a number without a unit counting as years; NaN where there is none from 0 to `OLDEST`.
    """
    found = _AGE.search(text)
    if not found:
        return math.nan
    age = int(found[1]) * _YEARS[found[2].lower() or "y"]
    return age if age <= OLDEST else math.nan


_AGES = ("PatientAge", "PatientBirthDate", "StudyDate")


def _age(film: FileDataset) -> float | None:
    """Return the patient's age in years, as the tags say it or from the dates of birth and study."""
    age, born, seen = (first_text(film, keyword) for keyword in _AGES)
    if not math.isnan(found := years(age)):
        return found
    with contextlib.suppress(ValueError):
        return max(0.0, (date.fromisoformat(seen) - date.fromisoformat(born)).days / 365.25)
    return None


_TAGS = [
    *VIEW_TAGS,
    *_AGES,
    "SOPClassUID",
    "Modality",
    *PIXEL_TAGS,
    *SHADE_TAGS,
    "NumberOfFrames",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    "PixelData",
]

RADIOGRAPHS = frozenset({"CR", "DX", "DR", "XR", "RG", "SC", "OT"})
"""Modalities of radiographs, plain or digitised, with those that public sets put in their place."""

_OTHERS = {
    "CT": "a CT slice",
    "MR": "an MR slice",
    "US": "an ultrasound image",
    "PT": "a PET slice",
    "NM": "a nuclear medicine image",
    "MG": "a mammogram",
    "XA": "an angiogram",
    "RF": "a fluoroscopic image",
}

_RADIOGRAPH_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)

_STANDARD = "1.2.840.10008."
"""Root of all UIDs that DICOM itself defines."""

_PLAIN = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    }
)

# One decoder for each compression: the next best may fill a cut film with grey and say nothing.
_DECODERS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}

_ITEM = b"\xfe\xff\x00\xe0"
"""Start of encapsulated, that is compressed, pixels."""

_LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)

for _package in ("pydicom", "pylibjpeg", "openjpeg", "rle", "jpeg_ls"):
    hush(_package)


def decode_dicom(data: bytes, name: str, max_pixels: int) -> tuple[NDArray[np.uint8], float | None]:
    """Decode a DICOM radiograph to grey, and read the patient's age.

    Parameters
    ----------
    data
        The file's content.
    name
        What messages call it.
    max_pixels
        Larger films are refused before they are decoded.

    Returns
    -------
    pixels : ndarray of uint8
        (H, W), shown as `cxrlens.radiographs.dicom_tags.shades` says; colour becomes grey by its luma.
    age : float or None
        In years; None where the tags tell none.

    Raises
    ------
    FilmError
        If the file is broken, too large, compressed in a way that has no decoder, or holds no
        single radiograph.
    """
    with quietly():
        try:
            dataset = read_dataset(
                io.BytesIO(data), name, _TAGS, pixels=True, most_bytes=8 * max_pixels
            )
            _refuse_others(dataset, name)
            return _film(dataset, name, max_pixels), _age(dataset)
        except FilmError:
            raise
        except Exception as error:  # a parser and decoders on arbitrary bytes can raise anything
            raise FilmError(f"{name} is a broken DICOM file: copy it again") from error


def _refuse_others(dataset: FileDataset, name: str) -> None:
    modality = str(dataset.get("Modality") or "").strip().upper()
    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    accepted = "CR, DX and secondary captures are read"
    if modality and modality not in RADIOGRAPHS:
        # The value is not quoted: whatever stands there could be private.
        what = _OTHERS.get(modality, "an image of another kind")
        raise FilmError(f"{name} is {what}, not a radiograph: {accepted}")
    # A maker's private class may well be a film's; a standard one of another kind is none, whatever
    # modality was typed.
    standard = kind is not None and str(kind).startswith(_STANDARD)
    if kind and kind not in _RADIOGRAPH_CLASSES and (standard or not modality):
        raise FilmError(f"{name} is a DICOM object of another kind than a radiograph: {accepted}")
    if what := unsuitable(dataset):
        raise FilmError(f"{name} is by its header {what}: frontal chest films are read")
    if "PixelData" not in dataset:
        if "SOPClassUID" in dataset and "Rows" not in dataset:
            raise FilmError(f"{name} is a DICOM file without an image: name the film's own file")
        # Of a file that breaks off within compressed pixels, pydicom gives nothing at all.
        raise FilmError(f"{name} is a broken DICOM file (its pixels are missing): copy it again")
    if (frames := whole(dataset, "NumberOfFrames") or 1) > 1:
        raise _of_frames(frames, name)


def _of_frames(frames: int, name: str) -> FilmError:
    return FilmError(f"{name} is a DICOM film of {frames} frames: save each as a file of its own")


def _film(film: FileDataset, name: str, max_pixels: int) -> NDArray[np.uint8]:
    syntax = film.file_meta.get("TransferSyntaxUID")
    if not syntax:
        if film.PixelData.startswith(_ITEM):
            raise FilmError(
                f"{name} lacks the DICOM tag TransferSyntaxUID, which says how its pixels are "
                "compressed: export it anew from its source"
            )
        is_implicit, is_little = film.original_encoding
        syntax = uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
        syntax = uid.ExplicitVRBigEndian if is_little is False else syntax
    if syntax in _PLAIN:
        tags = read_pixel_tags(film, name, None)
        refuse_size(tags.columns, tags.rows, name, max_pixels)
        _refuse_more(film.PixelData, tags, name)
        if tags.samples == 3 and tags.planar is None:
            tags = replace(tags, planar=_planar(film.PixelData, tags))
        order: dict[str, Any] = {"pixel_vr": film["PixelData"].VR}
        pixels, _ = get_decoder(syntax).as_array(film.PixelData, index=0, **_options(tags), **order)
    else:
        plugin = _plugin(syntax, name)
        if (frames := _coded_frames(film.PixelData)) > 1:
            raise _of_frames(frames, name)
        stream = get_frame(film.PixelData, 0, number_of_frames=1)
        form = None if syntax == uid.RLELossless else _form(stream, syntax, name)
        tags = read_pixel_tags(film, name, form)
        refuse_size(tags.columns, tags.rows, name, max_pixels)
        if form:
            stream = _checked(stream, form, tags, syntax, name)
        options = _options(tags)
        pixels = decode_apart(syntax, plugin, options, encapsulate([stream]), name)
    return _displayed(pixels, tags, film, name)


def _refuse_more(pixels: bytes, tags: PixelTags, name: str) -> None:
    """Refuse plain pixels beyond those that the tags promise: the film would be cut, or sheared.

    Too few are refused where they are decoded.
    """
    promised = (tags.rows * tags.columns * tags.samples * tags.container + 7) // 8
    if len(pixels) > promised + promised % 2:
        raise FilmError(
            f"{name} is a broken DICOM file (its tags and its pixels disagree in size: "
            f"{tags.columns}×{tags.rows} pixels are {promised:,} bytes, and it has {len(pixels):,}): "
            "export it anew from its source"
        )


def _coded_frames(pixels: bytes) -> int:
    """Count compressed frames, of which no tag need tell: each begins as the first does."""
    items = io.BytesIO(pixels)
    parse_basic_offsets(items)
    begun = [fragment[:4] for fragment in generate_fragments(items)]
    return begun.count(begun[0]) if begun else 0


def _options(tags: PixelTags) -> dict[str, Any]:
    """Return pydicom's options to decode samples as they lie, whatever their bits mean."""
    return {
        "rows": tags.rows,
        "columns": tags.columns,
        "number_of_frames": 1,
        "samples_per_pixel": tags.samples,
        "photometric_interpretation": tags.photometric or "RGB",
        "planar_configuration": tags.planar or 0,
        "pixel_representation": 0,
        "bits_allocated": tags.container,
        "bits_stored": tags.container,
        "pixel_keyword": "PixelData",
    }


def _planar(pixels: bytes, tags: PixelTags) -> int:
    """Return 1 for planes, 0 for triples, where no tag says: rows differ less in the right one."""
    dtype = f"<u{max(tags.container // 8, 1)}"
    count = tags.rows * tags.columns * 3
    samples = np.frombuffer(pixels, dtype=dtype, count=count).astype(np.int32)
    triples = np.diff(samples.reshape(tags.rows, -1), axis=0)
    planes = np.diff(samples.reshape(3, tags.rows, tags.columns), axis=1)
    return int(np.abs(planes).mean() < np.abs(triples).mean()) if tags.rows > 1 else 0


def _plugin(syntax: uid.UID, name: str) -> str:
    try:
        found = get_decoder(syntax).available_plugins
    except NotImplementedError:
        found = ()
    plugin = _DECODERS.get(syntax, "")
    if plugin not in found:
        raise _without_decoder(syntax, name)
    return plugin


def _without_decoder(syntax: uid.UID, name: str) -> FilmError:
    what = f" ({syntax.name})" if syntax.name != str(syntax) else ""
    return FilmError(
        f"{name} is compressed in a way that has no decoder here{what}: "
        "export it uncompressed or as JPEG 2000"
    )


def _form(stream: bytes, syntax: uid.UID, name: str) -> CodedForm:
    """Read the stream's own header; refuse a stream that is cut short or has none."""
    if not ends_well(stream):
        raise FilmError(f"{name} is a broken DICOM file (it is cut short): copy it again")
    form = coded_form(stream)
    if form is None:
        raise FilmError(
            f"{name} is a broken DICOM file (its pixels' header is damaged): copy it again"
        )
    if form.is_dct and form.precision != 8 and syntax not in _LOSSLESS_JPEG:
        raise _without_decoder(syntax, name)
    return form


def _checked(stream: bytes, form: CodedForm, tags: PixelTags, syntax: uid.UID, name: str) -> bytes:
    """Refuse a stream that belies the tags; strip lossless JPEG of all that GDCM could stumble over."""
    if (form.width, form.height) != (tags.columns, tags.rows):
        raise FilmError(f"{name} is a broken DICOM file (its tags and its pixels disagree in size)")
    if form.is_dct and not is_whole(stream, name):
        raise FilmError(
            f"{name} is a broken DICOM file (a part of its pixels is lost): copy it again"
        )
    if syntax not in _LOSSLESS_JPEG:
        return stream
    bare = bare_lossless_jpeg(stream, tags.samples, tags.container)
    if bare is None:
        raise FilmError(f"{name} is a broken DICOM file (its pixels' header is damaged)")
    return bare


def _displayed(
    pixels: NDArray[Any], tags: PixelTags, film: FileDataset, name: str
) -> NDArray[np.uint8]:
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if tags.photometric == "PALETTE COLOR":
        pixels = apply_color_lut(stored_values(pixels, tags).astype(np.int32), film)
        tags = replace(tags, bits=8 * pixels.dtype.itemsize, coded=16, shift=0, signed=False)
    if pixels.ndim == 2:
        return shades(pixels, tags, film, name)
    if not tags.photometric:
        pixels = _colours_without_a_name(pixels, name)
    pixels = stored_values(pixels, tags)
    if tags.bits <= 8:
        white = (1 << tags.bits) - 1
        levels = (pixels * 255 // white).astype(np.uint8)
        return np.array(Image.fromarray(levels).convert("L"), dtype=np.uint8)
    grey = grey_of_colour(pixels.astype(np.uint16))
    return to_eight_bits(grey, tags.bits if tags.bits < 16 else None)


def _colours_without_a_name(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Take a grey film in three samples for what it must be, RGB or YBR; refuse any other."""
    samples = pixels.astype(np.int32)
    white = np.iinfo(pixels.dtype).max
    spread = (samples.max(axis=-1) - samples.min(axis=-1)).mean()
    if spread <= white / 128:
        return pixels
    if np.abs(samples[..., 1:] - (white + 1) // 2).mean() <= white / 64:
        return np.repeat(pixels[..., :1], 3, axis=-1)
    raise FilmError(
        f"{name} lacks the DICOM tag PhotometricInterpretation, without which its colours have no one "
        "meaning: export it anew from its source"
    )
