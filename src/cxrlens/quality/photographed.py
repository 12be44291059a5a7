"""Photographed: a film that a phone took from a light box or a screen, not the scanner's own file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs
from cxrlens.quality.findings import Finding
from cxrlens.quality.regression import Regression
from cxrlens.quality.texture import band_statistics

_EDGE = 14
"""Pixels of the side of 224 within which what lies round a film is looked for."""


@dataclass(frozen=True)
class SeenByCamera:
    """What a camera leaves: lines that lean, something round the film, moiré, uneven light, a lens's blur.

    A photographed film is let through: the finding says that tones and proportions are not those of
    the film. What the lung network answers about the film as a whole is one of the statistics.

    Attributes
    ----------
    regression
        On the statistics.
    """

    regression: Regression

    defect: ClassVar[str] = "photographed"
    repair_name: ClassVar[str] = ""

    def detect(self, film: NDArray[np.uint8], lungs: Lungs) -> Finding:
        """Find a film that was photographed."""
        return self.regression.finding(camera_statistics(film, lungs))


def camera_statistics(film: NDArray[np.uint8], lungs: Lungs) -> NDArray[np.float64]:
    """Describe what a camera may have left on a (224, 224) uint8 film.

    Returns
    -------
    (37,) float64
        The network's answer; peaks of the spectrum; straight lines; the edge against the middle; how
        detail falls off from scale to scale (`band_statistics`).
    """
    answer = np.clip(lungs.photographed, -6, 6)
    return np.concatenate(
        [[answer], _peaks(film), _lines(film), _edge(film), band_statistics(film)]
    )


def _peaks(film: NDArray[np.uint8]) -> list[float]:
    """How far single frequencies stand out of their neighbours: moiré is made of a few."""
    grey = film.astype(np.float32)
    grey -= np.asarray(cv2.GaussianBlur(grey, (0, 0), 3))
    window = np.hanning(len(grey))
    spectrum = np.fft.rfft2(grey * window[:, None] * np.hanning(grey.shape[1]))
    power = np.log(np.abs(spectrum) + 1e-2).astype(np.float32)
    excess = power - np.asarray(cv2.medianBlur(power, 5))
    down = np.abs(np.fft.fftfreq(len(grey)))[:, None]
    across = np.fft.rfftfreq(grey.shape[1])[None]
    # The axes hold the film's own edges, the middle its anatomy.
    asked = (np.hypot(down, across) > 0.05) & (down >= 0.01) & (across >= 0.01)
    broad = np.asarray(cv2.GaussianBlur(np.maximum(excess, 0), (0, 0), 1.0))
    sharpest, broadest = np.sort(excess[asked]), np.sort(broad[asked])
    return [
        float(sharpest[-8:].mean()),
        float(sharpest[-1]),
        float(broadest[-4:].mean()),
        float(1000 * (sharpest > 2.5).mean()),
    ]


def _lines(film: NDArray[np.uint8]) -> list[float]:
    """How long straight lines near the edges are: leaning a little, and quite level or upright."""
    edges = cv2.Canny(cv2.GaussianBlur(film, (0, 0), 1.2), 30, 80)
    found = cv2.HoughLinesP(edges, 1, np.pi / 360, 50, minLineLength=70, maxLineGap=6)
    if found is None:
        return [0.0, 0.0, 0.0, 0.0]
    ends = found.reshape(-1, 2, 2).astype(np.float64)
    along = ends[:, 1] - ends[:, 0]
    lengths = np.hypot(along[:, 0], along[:, 1])
    leaning = np.abs((np.degrees(np.arctan2(along[:, 1], along[:, 0])) + 45) % 90 - 45)
    middle = np.abs(ends.mean(axis=1) - np.array(film.shape[::-1]) / 2).max(axis=1)
    outer = middle > 0.31 * len(film)
    tilted, level = outer & (leaning > 0.7) & (leaning < 12), outer & (leaning <= 0.7)
    return [
        float(np.log1p(lengths[tilted].sum())),
        float(lengths[tilted].max(initial=0)),
        float(np.log1p(lengths[level].sum())),
        float(np.log1p(lengths.sum())),
    ]


def _edge(film: NDArray[np.uint8]) -> list[float]:
    """How the outermost pixels differ from the rest: what lies round a film is not of it."""
    grey = film.astype(np.float32)
    detail = np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F)))
    sides = [grey[:_EDGE], grey[-_EDGE:], grey[:, :_EDGE], grey[:, -_EDGE:]]
    outermost = [detail[:10], detail[-10:], detail[:, :10], detail[:, -10:]]
    spreads = [float(side.std()) for side in sides]
    means = [float(side.mean()) for side in sides]
    dark, bright, brighter, brightest = np.percentile(grey, [1, 98, 99, 99.9])
    quarter = len(film) // 4
    middle = grey[quarter:-quarter, quarter:-quarter]
    return [
        float(np.mean(spreads)),
        min(spreads),
        float(np.mean([part.mean() for part in outermost]) / (detail.mean() + 1)),
        float(np.std(means)),
        float(middle.mean() - np.mean(means)),
        float(dark),
        float(brighter),
        float(brightest - bright),
    ]
