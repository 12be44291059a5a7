"""Lookup tables of a DICOM film: PS3.3, C.11.1.1 and C.11.2.1.1.

Where a descriptor contradicts its entries, the entries decide.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrlens.radiographs.depth import depth_that_holds

Values = NDArray[np.float64]


def looked_up(values: Values, item: Dataset, met: NDArray[np.bool_]) -> tuple[Values, float] | None:
    """Send values through a lookup table; values beyond its ends get its first or last entry.

    Parameters
    ----------
    values
        Any shape.
    item
        Of a Modality or VOI LUT Sequence.
    met
        Which of the values the film holds. The first value that the table maps is 16 bits wide and
        signed or not; it is taken so that the table covers more of these, and if that decides nothing,
        as the sign of the values has it.

    Returns
    -------
    tuple, or None
        The entries, and the white of their depth. That is the descriptor's where it fits the brightest
        entry, and otherwise the smallest usual one that holds it: many files say 16 of a table of 12
        bits. None if the item lacks descriptor or entries.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor[:6], dtype=f"{_byte_order(item)}u2")
    if not isinstance(descriptor, Sequence | np.ndarray) or len(descriptor) != 3 or data is None:
        return None
    count, first, depth = (int(number) & 0xFFFF for number in descriptor)
    entries = _entries(data, count or 1 << 16, depth, _byte_order(item))
    if not len(entries):
        return None
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
