"""A logistic regression on a few statistics: what most `robust` detectors end in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.findings import Finding


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
