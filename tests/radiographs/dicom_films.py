"""DICOM films made of drawn arrays, in any transfer syntax, encoded by imagecodecs or by hand."""

import io

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from cxrlens.radiographs.read import decode_radiograph

from .drawn import coloured, drawn

CR = uid.ComputedRadiographyImageStorage
DX = uid.DigitalXRayImageStorageForPresentation
CAPTURE = uid.SecondaryCaptureImageStorage
NATIVE = uid.ExplicitVRLittleEndian
EIGHT, TWELVE, SIXTEEN = drawn(8), drawn(12), drawn(16)


def dataset_of(pixels, bits, *, kind=CR, photometric="MONOCHROME2", **tags):
    """A DICOM film of drawn pixels with no more than the tags that it must have, and `tags`."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = kind, "1.2.3.4"
    film.PatientName, film.PatientID = "Rossi^Maria", "MRN0042"
    film.Modality = {CR: "CR", DX: "DX", CAPTURE: "OT"}.get(kind, "")
    film.Rows, film.Columns = pixels.shape[:2]
    film.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    if film.SamplesPerPixel > 1:
        film.PlanarConfiguration = 0
    film.PhotometricInterpretation = photometric
    film.BitsAllocated = 8 * pixels.dtype.itemsize
    film.BitsStored, film.HighBit = bits, bits - 1
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        setattr(film, keyword, value)
    return film


def written(film, pixel_data, syntax=NATIVE):
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        pixel_data = encapsulate([pixel_data])
    film.PixelData = pixel_data
    film["PixelData"].VR = "OB" if syntax.is_encapsulated or film.BitsAllocated == 8 else "OW"
    film["PixelData"].is_undefined_length = syntax.is_encapsulated
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def native(pixels, bits, **tags):
    return written(dataset_of(pixels, bits, **tags), pixels.tobytes())


def read(data):
    return decode_radiograph(data, "film.dcm")


def jpeg8(pixels, **options):
    return imagecodecs.jpeg8_encode(pixels, **options)


def jpeg_lossless(pixels, bits):
    return jpeg8(pixels, lossless=True, predictor=1, bitspersample=bits)


def ljpeg(pixels, bits):
    """Lossless JPEG of predictor 6."""
    return imagecodecs.ljpeg_encode(pixels, bitspersample=bits)


def jpeg2k(pixels, bits):
    return imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0, bitspersample=bits
    )


def jp2(pixels, bits):
    return imagecodecs.jpeg2k_encode(
        pixels, codecformat="jp2", reversible=True, level=0, bitspersample=bits
    )


def htj2k(pixels, bits):
    return imagecodecs.htj2k_encode(pixels, reversible=True)


def jpegls(pixels, bits):
    return imagecodecs.jpegls_encode(pixels)


def rle(pixels, bits):
    """RLE Lossless (PS3.5 annex G), each byte plane a segment, high byte first, literal runs only."""
    planes = pixels[..., None].view(np.uint8)[..., ::-1]
    segments = []
    for plane in np.moveaxis(planes, -1, 0):
        line = plane.tobytes()
        runs = [line[at : at + 128] for at in range(0, len(line), 128)]
        coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(coded + b"\x80" * (len(coded) % 2))
    offsets = np.zeros(16, dtype="<u4")
    offsets[0] = len(segments)
    offsets[1 : 1 + len(segments)] = 64 + np.cumsum([0, *map(len, segments)])[:-1]
    return offsets.tobytes() + b"".join(segments)


LOSSLESS = {
    "JPEG lossless, first order": (uid.JPEGLosslessSV1, jpeg_lossless),
    "JPEG lossless, predictor 6": (uid.JPEGLossless, ljpeg),
    "JPEG 2000 lossless": (uid.JPEG2000Lossless, jpeg2k),
    "JPEG 2000": (uid.JPEG2000, jpeg2k),
    "JPEG 2000 in a container": (uid.JPEG2000Lossless, jp2),
    "HTJ2K lossless": (uid.HTJ2KLossless, htj2k),
    "JPEG-LS": (uid.JPEGLSLossless, jpegls),
    "RLE": (uid.RLELossless, rle),
}


SOFT = np.dstack([EIGHT, EIGHT, EIGHT]) // 2 + coloured() // 4 + 30
"""Three channels whose colours stay clear of the ends, as JPEG likes them."""


def window(stored, centre, width):
    """PS3.3 C.11.2.1.2.1, as its pseudo-code has it, for brightness from 0 to 255."""
    below = stored <= centre - 0.5 - (width - 1) / 2
    above = stored > centre - 0.5 + (width - 1) / 2
    inside = ((stored - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(np.where(below, 0, np.where(above, 255, inside))).astype(np.uint8)


def lut(entries, first, bits, *, words=True):
    item = Dataset()
    count = len(entries) % 65536
    item.add_new("LUTDescriptor", "US", [count, first, bits])
    if words:
        item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    item.LUTExplanation = "NORMAL"
    return Sequence([item])


ROOT = np.rint(np.sqrt(np.arange(3000) / 2999) * 4095).astype(int)
