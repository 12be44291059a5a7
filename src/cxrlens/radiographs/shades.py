"""How a DICOM film wants its stored values to be shown: DICOM PS3.3, C.7.5.1, C.7.6.3, C.11.1 and C.11.2."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrlens.errors import FilmError
from cxrlens.radiographs.dicom_tags import PixelTags
from cxrlens.radiographs.grey import depth_of_counts, depth_that_holds

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
    VOI LUT, or else the window (the first, if there are several; `LINEAR`, `LINEAR_EXACT` or `SIGMOID`);
    MONOCHROME1 inverted; padding black. 0 and 255 are the ends of the range that the tags promise, never
    the darkest and brightest pixel that were met: a stray pixel changes nothing else. Without VOI LUT and
    window that is the whole range of the stored bits. Where these are said to be 16, which is often only
    the size of the container, it is the smallest usual depth that holds the film
    (`cxrlens.radiographs.grey.stored_depth`), padding left out.

    Parameters
    ----------
    samples
        As decoded, (H, W), of an unsigned type; a sample has `tags.container` bits.
    tags
        How values lie in samples.
    film
        Holds the other tags. A tag that is missing, or that cannot be a number, is passed over; so are a
        slope of 0 and a window that the standard forbids (narrower than 1, or 0 if exact).
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
    shown = _voi(values, film, met, name)
    if shown is None:
        shown = (values - darkest) / (brightest - darkest)
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
    ends = [
        ((int(end) & 0xFFFF) ^ sign) - sign for end in (value, value if limit is None else limit)
    ]
    low, high = min(ends), max(ends)
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


def _voi(values: Values, film: Dataset, met: NDArray[np.bool_], name: str) -> Values | None:
    """Map values to brightness, 0 to 1, by the VOI LUT or the window; None where the film has neither."""
    if found := _looked_up(values, film, "VOILUTSequence", met, name):
        return found[0] / found[1]
    centre, width = _number(film, "WindowCenter"), _number(film, "WindowWidth")
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
    try:
        value: Any = film.get(keyword)
        if isinstance(value, bytes):  # of a sign that nothing tells
            value = int.from_bytes(value[:2], "little") if value else None
        if value is not None and not isinstance(value, (int, float, str)):
            value = value[0] if len(value) else None
        number = float(value)
    except (TypeError, ValueError, OverflowError, LookupError):
        return None
    return number if math.isfinite(number) else None


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
