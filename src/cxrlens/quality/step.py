"""A step of a chain is: a detector and, mostly, a repair; what it finds; its thresholds."""

from __future__ import annotations

import functools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs
from cxrlens.radiographs.grey import Film, Floats
from cxrlens.radiographs.integrity import TINTED

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
    "saturated",
    "burnt_in_text",
)
"""Every defect that a chain can look for, in the order of the findings table."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Presence of a defect, and how clear it is.

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
    """Findings of a chain on one film, and the film afterwards.

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

    pixels: Film
    findings: dict[str, Finding] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    cropped: tuple[int, int, int, int] = (0, 0, 0, 0)
    lungs: Lungs | None = None

    def tinted(self, tint: float) -> Examination:
        """Find that a film was photographed where it has colours; see `radiographs.integrity.tint`."""
        if tint < TINTED or "photographed" not in self.findings:
            return self
        return replace(self, findings=self.findings | {"photographed": Finding(True, 1.0)})

    def row(self) -> dict[str, bool | float | str]:
        """Return the columns of the findings table: ``NAME``, ``NAME_score``, ..., ``repairs``.

        A defect that the chain did not look for has no column, since it is neither true nor false.
        """
        row: dict[str, bool | float | str] = {}
        for name, finding in self.findings.items():
            row[name] = finding.present
            row[f"{name}_score"] = finding.score
        row["repairs"] = " ".join(self.repairs)
        return row


@functools.cache
def thresholds(chain: str) -> dict[str, Any]:
    """Read ``thresholds/CHAIN.json``.

    Returns
    -------
    dict
        ``settings``: defect -> field -> value. ``provenance``: what they were calibrated on, when, and how
        well they did there. ``former``: what replaced steps had that the chain's version was made of.
    """
    path = files("cxrlens.quality").joinpath("thresholds", f"{chain}.json")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def settings(chain: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a chain: defect -> field -> value."""
    chosen: dict[str, dict[str, Any]] = thresholds(chain)["settings"]
    return chosen


class Step(ABC):
    """A detector and, mostly, a repair of one defect: on the film as decoded, or on the resized one.

    A step is a frozen dataclass whose fields are its settings; its class's own line says the rest.

    Attributes
    ----------
    defect
        A name of `cxrlens.quality.step.DEFECTS`.
    repair_name
        The word for its repair in the ``repairs`` column; "" for a step that only finds.
    """

    defect: ClassVar[str]
    repair_name: ClassVar[str] = ""

    def __init_subclass__(cls, **told: str) -> None:
        """Take ``defect`` and ``repair_name``, where they are given."""
        for name, word in told.items():
            setattr(cls, name, word)

    @abstractmethod
    def detect(self, film: Film) -> Finding:
        """Look at a (H, W) uint8 film; never change it."""

    def repair(self, film: Film) -> Film:
        """Return a repaired copy of a film on which the defect was found."""
        return film

    def finish(self, film: Film) -> Film:
        """Repair after the resize what a repair of the film as decoded has left."""
        return film


class LungStep(Protocol):
    """A detector that looks at the resized, repaired film and at where its lungs lie."""

    defect: ClassVar[str]

    def detect(self, film: Film, lungs: Lungs) -> Finding:
        """Look at a (H, W) uint8 film; never change it."""
        ...


@dataclass(frozen=True)
class Regression:
    """Weights for standardised statistics.

    Attributes
    ----------
    centres, spreads
        Mean and standard deviation of each statistic on the films of the calibration.
    weights
        One for each standardised statistic.
    intercept
        The logit of a film whose statistics are all at their centres.
    threshold
        The logit beyond which the defect is present.
    """

    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    threshold: float

    def logit(self, statistics: NDArray[np.floating] | Sequence[float]) -> float:
        """Weigh the statistics of one film; larger means more of the defect."""
        standard = (np.asarray(statistics) - np.asarray(self.centres)) / np.asarray(self.spreads)
        return float(standard @ np.asarray(self.weights)) + self.intercept

    def finding(self, statistics: NDArray[np.floating] | Sequence[float]) -> Finding:
        """Compare the film's logit with the threshold."""
        return Finding.beyond(self.logit(statistics), self.threshold)


@dataclass(frozen=True)
class Regressed(Step):
    """A step whose detector is a regression on statistics of the film.

    Attributes
    ----------
    regression
        On `statistics`.
    """

    regression: Regression

    @staticmethod
    def statistics(film: Film) -> Floats:
        """Describe a (H, W) uint8 film by some numbers."""
        raise NotImplementedError

    def detect(self, film: Film) -> Finding:
        """Weigh the film's statistics."""
        return self.regression.finding(self.statistics(film))
