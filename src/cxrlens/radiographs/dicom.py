"""DICOM radiographs (CR, DX, secondary captures) to grey, by pydicom and its decoders.

Only the tags that pixels, kind and view need are parsed: a patient's name is never looked at.
"""

import io
import zlib
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from cxrlens.errors import FilmError
from cxrlens.radiographs.depth import grey_of_colour, refuse_size, to_eight_bits
from cxrlens.radiographs.integrity import bare_lossless_jpeg, coded_size, ends_well
from cxrlens.radiographs.quiet import hush, quietly
from cxrlens.radiographs.shades import shades
from cxrlens.radiographs.view import VIEW_TAGS, unsuitable

_TAGS = [
    *VIEW_TAGS,
    "SOPClassUID",
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]

_RADIOGRAPHS = frozenset({"CR", "DX", "DR", "XR", "RG", "SC", "OT"})
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

_LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)

for _package in ("pydicom", "pylibjpeg", "openjpeg", "rle", "jpeg_ls"):
    hush(_package)


def decode_dicom(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a DICOM radiograph to grey.

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
    ndarray of uint8
        (H, W), shown as `cxrlens.radiographs.shades.shades` says; colour becomes grey by its luma.

    Raises
    ------
    FilmError
        If the file is broken, too large, compressed in a way that has no decoder, or holds no
        single radiograph.
    """
    with quietly():
        try:
            _refuse_inflation(data, name, max_pixels)
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=_TAGS)
            _refuse_others(dataset, name)
            refuse_size(_whole(dataset, "Columns"), _whole(dataset, "Rows"), name, max_pixels)
            return _shown(_decoded(dataset, name), dataset)
        except FilmError:
            raise
        except Exception as error:  # a parser and decoders on arbitrary bytes can raise anything
            raise FilmError(f"{name} is a broken DICOM file: copy it again") from error


def _refuse_inflation(data: bytes, name: str, max_pixels: int) -> None:
    """Refuse a deflated file that would inflate beyond what the largest film could need."""
    if uid.DeflatedExplicitVRLittleEndian.encode() not in data[:1024]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[start:], 8 * max_pixels)
    if inflater.unconsumed_tail:
        raise FilmError(f"{name} is a deflated DICOM file larger than any film: export it plainly")


def _whole(dataset: FileDataset, keyword: str, default: int = 0) -> int:
    value: Any = dataset.get(keyword)
    return value if isinstance(value, int) else default


def _refuse_others(dataset: FileDataset, name: str) -> None:
    modality = str(dataset.get("Modality") or "").strip().upper()
    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    accepted = "CR, DX and secondary captures are read"
    if modality and modality not in _RADIOGRAPHS:
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
    if (frames := _whole(dataset, "NumberOfFrames", 1)) > 1:
        raise FilmError(
            f"{name} is a DICOM film of {frames} frames: save each as a file of its own"
        )
    if _whole(dataset, "BitsAllocated", 8) > 16:
        raise FilmError(f"{name} is a DICOM film of more than 16 bits: export it with 16 or fewer")


def _decoded(dataset: FileDataset, name: str) -> NDArray[Any]:
    syntax = dataset.file_meta.get("TransferSyntaxUID") or uid.ImplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    plugin = _DECODERS.get(syntax, "")
    if syntax not in _PLAIN:
        if plugin not in _plugins(dataset, syntax):
            what = f" ({syntax.name})" if syntax.name != str(syntax) else ""
            raise FilmError(
                f"{name} is compressed in a way that has no decoder here{what}: "
                "export it uncompressed or as JPEG 2000"
            )
        if syntax != uid.RLELossless:
            _check_stream(dataset, name)
    try:
        pixels, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=plugin)
    except BaseException as error:
        # The RLE decoder is written in Rust, whose panic on a broken film is no Exception.
        if type(error).__name__ == "PanicException":
            raise ValueError("the RLE decoder gave up") from error
        raise
    return pixels


def _plugins(dataset: FileDataset, syntax: uid.UID) -> tuple[str, ...]:
    if syntax == uid.JPEGExtended12Bit and _whole(dataset, "BitsStored") != 8:
        return ()
    try:
        return get_decoder(syntax).available_plugins
    except NotImplementedError:
        return ()


def _check_stream(dataset: FileDataset, name: str) -> None:
    """Refuse a film that is cut short or whose own header belies the tags; bare lossless JPEG."""
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if not ends_well(stream):
        raise FilmError(f"{name} is a broken DICOM file (it is cut short): copy it again")
    if coded_size(stream) != (dataset.Columns, dataset.Rows):
        raise FilmError(f"{name} is a broken DICOM file (its tags and its pixels disagree in size)")
    if dataset.file_meta.TransferSyntaxUID in _LOSSLESS_JPEG:
        samples, allocated = dataset.SamplesPerPixel, dataset.BitsAllocated
        # GDCM also ends the whole program where it cannot do what the tags say.
        fits = dataset.BitsStored == allocated if samples == 3 else samples == 1
        is_possible = fits and allocated in (8, 16) and 1 <= dataset.BitsStored <= allocated
        bare = bare_lossless_jpeg(stream, samples, allocated) if is_possible else None
        if bare is None:
            raise FilmError(f"{name} is a broken DICOM file (its pixels' header is damaged)")
        dataset.PixelData = encapsulate([bare])


def _shown(pixels: NDArray[Any], dataset: FileDataset) -> NDArray[np.uint8]:
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if pixels.ndim == 2:
        return shades(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), dataset)
    if pixels.dtype == np.uint8:
        return np.array(Image.fromarray(pixels).convert("L"), dtype=np.uint8)
    grey = grey_of_colour(pixels.astype(np.uint16))
    bits = _whole(dataset, "BitsStored", 16)
    return to_eight_bits(grey, bits if 8 < bits < 16 else None)
