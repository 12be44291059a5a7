"""DICOM to grey, by pydicom and its decoders."""

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from cxrlens.errors import FilmError
from cxrlens.radiographs.quiet import quietly


def decode_dicom(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a DICOM radiograph (see `cxrlens.radiographs.read.decode_radiograph`)."""
    with quietly():
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        except Exception as error:
            raise FilmError(f"{name} is no readable DICOM file: {error}") from error
        rows, columns = int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0))
        if rows * columns > max_pixels:
            raise FilmError(f"{name} is {columns:,} × {rows:,} pixels large: scale it down first")
        try:
            pixels = dataset.pixel_array
            values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float64)
        except Exception as error:
            raise FilmError(f"{name} is a DICOM file that cannot be decoded: {error}") from error
    low, high = values.min(), values.max()
    grey = np.rint((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey
