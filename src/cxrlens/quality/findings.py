"""What a chain says about one film: a finding for each defect, the repairs, the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs

DEFECTS = (
    "negative",
    "underexposed",
    "noisy",
    "blurred",
    "padded",
    "patched",
    "photographed",
    "not_a_chest",
    "torn",
)
"""Every defect that a chain can look for, in the order of the findings table."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a defect is there, and how clearly.

    Attributes
    ----------
    present
        True if the detector's statistic lies beyond its threshold.
    score
        In [0, 1], higher meaning more of the defect; 0.5 is the threshold. It orders films and is
        no probability.
    """

    present: bool
    score: float

    @classmethod
    def beyond(cls, value: float, threshold: float, scale: float = 1.0) -> Finding:
        """Compare a statistic with its threshold.

        Parameters
        ----------
        value
            The statistic; larger means more of the defect.
        threshold
            Beyond it (not on it) the defect is present.
        scale
            The statistic's natural step, > 0: one step beyond the threshold scores 0.73, two 0.88.
        """
        steps = (value - threshold) / scale
        return cls(value > threshold, 1.0 / (1.0 + math.exp(-min(max(steps, -36.0), 36.0))))


@dataclass(frozen=True, slots=True)
class Examination:
    """What a chain found on one film, and the film afterwards.

    Attributes
    ----------
    pixels
        (side, side) uint8. Without a finding, bit for bit the resized film.
    findings
        One `Finding` for each defect that the chain looked for, in the order of `DEFECTS`.
    repairs
        Names of the repairs that were made, in their order.
    cropped
        Pixels of the film as decoded that `pixels` leaves out: at the top, bottom, left and right.
    lungs
        Where the lungs of the film as decoded lie; None if the chain did not ask.
    """

    pixels: NDArray[np.uint8]
    findings: dict[str, Finding] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    cropped: tuple[int, int, int, int] = (0, 0, 0, 0)
    lungs: Lungs | None = None

    def row(self) -> dict[str, bool | float | str]:
        """Give the columns of the findings table: ``NAME``, ``NAME_score``, ..., ``repairs``.

        A defect that the chain did not look for has no column, since it is neither true nor false.
        """
        row: dict[str, bool | float | str] = {}
        for name, finding in self.findings.items():
            row[name] = finding.present
            row[f"{name}_score"] = finding.score
        row["repairs"] = " ".join(self.repairs)
        return row
