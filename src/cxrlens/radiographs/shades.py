"""How a DICOM film wants its stored values to be shown: DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2.

Stored values have 16 bits at most, so that every step is done once on all values that there can
be, and the film then goes through one table.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrlens.radiographs.depth import USUAL_DEPTHS, stored_depth

Values = NDArray[np.float64]


def shades(pixels: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Show a grey DICOM film as its tags say.

    In this order: the modality LUT, or rescale slope and intercept; the VOI LUT, or else the window
    (the first, if there are several; `LINEAR`, `LINEAR_EXACT` or `SIGMOID`); MONOCHROME1 inverted.
    0 and 255 are the ends of the range that the tags promise, never the darkest and brightest pixel
    that were met: a stray pixel changes nothing else. Without VOI LUT and window that is the whole
    range of the stored bits. Where these are said to be 16, which is often only the size of the
    container, it is the smallest usual depth that holds the film
    (`cxrlens.radiographs.depth.stored_depth`).

    Parameters
    ----------
    pixels
        Stored values, (H, W), of an integer type of 8 or 16 bits.
    dataset
        Holds the tags. A tag that is missing, or that cannot be a number, is passed over; so are a
        slope of 0 and a window that the standard forbids (narrower than 1, or 0 if exact).

    Returns
    -------
    ndarray of uint8
        (H, W).
    """
    bits = 8 * pixels.dtype.itemsize
    patterns = pixels.view(f"u{pixels.dtype.itemsize}")
    stored = np.arange(1 << bits).astype(patterns.dtype).view(pixels.dtype).astype(np.float64)
    values, darkest, brightest = _modality(stored, *_stored_range(pixels, dataset), dataset)
    shown = _voi(values, dataset)
    if shown is None:
        shown = (values - darkest) / (brightest - darkest)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    table = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    return np.asarray(table[patterns], dtype=np.uint8)


def _stored_range(pixels: NDArray[Any], dataset: Dataset) -> tuple[float, float]:
    bits = min(dataset.get("BitsStored") or 16, 8 * pixels.dtype.itemsize)
    lowest, highest = int(pixels.min()), int(pixels.max())
    is_signed = pixels.dtype.kind == "i"
    if bits < 16:
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    reach = max(highest, -1 - lowest)
    depth = next(depth for depth in USUAL_DEPTHS if reach < 1 << depth)
    return (-(1 << depth) if lowest < 0 else 0), (1 << depth) - 1


def _modality(
    stored: Values, lowest: float, highest: float, dataset: Dataset
) -> tuple[Values, float, float]:
    """Give the modality's value of each stored one, and the lowest and highest possible."""
    if items := dataset.get("ModalityLUTSequence"):
        values, white = _looked_up(stored, items[0])
        return values, 0.0, white
    slope = _number(dataset, "RescaleSlope") or 1.0
    intercept = _number(dataset, "RescaleIntercept") or 0.0
    ends = sorted((lowest * slope + intercept, highest * slope + intercept))
    return stored * slope + intercept, ends[0], ends[1]


def _voi(values: Values, dataset: Dataset) -> Values | None:
    """Give brightness, 0 to 1, by the VOI LUT or the window; None where the film has neither."""
    if items := dataset.get("VOILUTSequence"):
        shown, white = _looked_up(values, items[0])
        return shown / white
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "SIGMOID" and width > 0:
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT" and width > 0:
        return (values - centre) / width + 0.5
    if function not in ("SIGMOID", "LINEAR_EXACT") and width >= 1:
        if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    return None


def _looked_up(values: Values, item: Dataset) -> tuple[Values, float]:
    """Send values through a LUT; values beyond its ends get its first or last entry.

    Returns
    -------
    tuple
        The entries, and the white of their depth. That is the descriptor's, or a smaller usual one
        that holds all entries: many files say 16 of a table of 12 bits.
    """
    count, first, depth = (int(number) for number in item.LUTDescriptor)
    count = count or 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        # One byte an entry, where they fit so; a plain word each otherwise.
        data = np.frombuffer(data, dtype=np.uint8 if len(data) in (count, count + 1) else "<u2")
    entries = np.asarray(data).astype(np.uint16)[:count]
    index = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.intp)
    depth = min(depth or 16, stored_depth(entries))
    return entries[index].astype(np.float64), float((1 << depth) - 1)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Read a number, the first where there are several; None if there is none that makes sense."""
    try:
        value: Any = dataset.get(keyword)
        if value is not None and not isinstance(value, (int, float, str)):
            value = value[0] if len(value) else None
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
