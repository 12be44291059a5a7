"""What is wrong with each copy of one exposure, found by holding the copies against each other.

Copies show one patient at one moment, so whatever one has and another lacks is damage. That is a
far easier question than whether a single film is damaged: no threshold has to hold for all films.
Copies are brought to one size, borders cropped and polarity made equal; what each has more of than
the best is its blame, in units in which 1 is plain to see.

The hard part is that the copy with more fine detail is either the noisy one or the sharp one. What
noise adds, the other copy does not share; what blur takes away, the sharp copy has at coarser scales
too, and shares. `cxrlens.collections.detail` weighs that. Borders and exchanged polarity can be undone
without loss, so they weigh less than anything that takes detail away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.collections.copy_measures import Copy, aligned, measure_copies
from cxrlens.collections.detail import beside

_LOGITS = 6.0  # of noise or blur that weigh 1
_MOST = 3.0  # that one fault weighs
_ALIKE = 3.0  # logits below the threshold of darkness at which films count as equally bright


@dataclass(frozen=True)
class Blame:
    """What is wrong with one copy, beside the others.

    Attributes
    ----------
    weights
        For each fault found (``noisy``, ``blurred``, ``badly exposed``, ``patched``, ``padded``,
        ``negative``, ``blocky``, ``small``) how much of it, > 0; 1 is plain to see.
    pixels
        Of the copy as decoded, borders cropped; of copies alike in all else, the largest stays.
    """

    weights: dict[str, float]
    pixels: int

    @property
    def score(self) -> float:
        """Sum of the weights; the copy with the lowest stays."""
        return float(sum(self.weights.values()))

    def words(self) -> str:
        """Name the faults, worst first."""
        worst = sorted(self.weights.items(), key=lambda fault: -fault[1])
        return ", ".join(f"{name} {weight:.2g}" for name, weight in worst if weight >= 0.05)


def blame_copies(films: Sequence[NDArray[np.uint8]]) -> list[Blame]:
    """Hold copies of one exposure against each other.

    Parameters
    ----------
    films
        Two or more (H, W) uint8 films as decoded; sizes, borders and polarity may differ.

    Returns
    -------
    list of Blame
        One for each film, in their order.
    """
    copies = measure_copies(films)
    blames = [_against(copy, copies) for copy in copies]
    return [
        Blame({name: float(w) for name, w in blame.items() if w > 0}, copy.pixels)
        for blame, copy in zip(blames, copies, strict=True)
    ]


def _against(one: Copy, copies: Sequence[Copy]) -> dict[str, float]:
    """Weigh the faults of one copy, each beside the copy that has least of it."""
    others = [copy for copy in copies if copy is not one]
    besides = [beside(one, other) for other in others]
    worst = max(besides, key=lambda b: b.worse)
    detail = min(_MOST, _most([worst.worse]) / _LOGITS)
    dark = _most(max(one.dark, -_ALIKE) - max(c.dark, -_ALIKE) for c in others) / 10
    flat = _most((c.entropy - one.entropy - 0.1) / 0.7 for c in others)
    return {
        "noisy": detail if worst.grainier else 0.0,
        "blurred": 0.0 if worst.grainier else detail,
        "badly exposed": min(_MOST, dark + flat),
        "patched": _most(b.covered for b in besides),
        "padded": 0.5 * any(_padded(one, c) for c in others),
        "negative": 0.3 * (one.negative and not all(c.negative for c in others)),
        "blocky": min(0.2, _most(one.blocky - c.blocky - 0.05 for c in others)),
        "small": min(0.2, 0.1 * _most(np.log2(c.pixels / one.pixels) - 0.5 for c in others)),
    }


def _most(values: Iterable[float]) -> float:
    """Give the largest value, or 0 if none is above it."""
    return max(0.0, 0.0, *values)


def _padded(one: Copy, other: Copy) -> bool:
    """Tell whether the first has a border more than the other, not one that was seen on it alone."""
    if one.padded - other.padded <= 0.02:
        return False
    cropped, _ = aligned(one, other)
    return cropped is not one.whole
