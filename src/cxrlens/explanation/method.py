"""An explaining method: a name, what it needs of the network, its words, and one function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrlens.progress import Progress
from cxrlens.radiographs.grey import Film, Levels

Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Films (N, S, S) uint8 to probabilities (N, C)."""

SAMPLES = 1000
"""Masked films by default, where a method asks some: see docs/explanation.md for how far two seeds agree."""


class Slopes(NamedTuple):
    """Last feature maps of one film, and how they move one score.

    Attributes
    ----------
    maps
        (C, h, w) float32.
    slopes
        (C, h, w) float32, the score's slope over each value of `maps`.
    """

    maps: Levels
    slopes: Levels


@dataclass(frozen=True)
class Question:
    """One film and one class, and what may be asked of the model.

    Attributes
    ----------
    pixels
        (S, S) uint8, the film as the network sees it.
    target, label
        Index of the class, and its name.
    probabilities
        Answers films (N, S, S) uint8 with probabilities (N, C).
    slopes
        Computes the feature maps and slopes of each score that stands for the class.
    evidence
        The network's own map (D, h, w) float32 before the sigmoid, a disease a layer; None without one.
    samples
        Masked films that methods which draw at random may ask.
    progress
        Called by slow methods.
    """

    pixels: Film
    target: int
    label: str
    probabilities: Probabilities
    slopes: Callable[[], list[Slopes]]
    evidence: Levels | None
    samples: int = SAMPLES
    progress: Progress | None = None


class Answer(NamedTuple):
    """A method's map of one film.

    Attributes
    ----------
    values
        (h, w) float32 over the film as the network sees it, on any grid and scale; where the method is
        `signed`, what speaks against the class lies below 0.
    scale
        What the strongest value stands for, on the scale of probabilities; None where that is not known.
    note
        What is to be known of how the map came about, a sentence; may be empty.
    absolute
        Whether `values` lie in [0, 1] and mean something as they are, so that they are not stretched.
    """

    values: Levels
    scale: float | None = None
    note: str = ""
    absolute: bool = False


@dataclass(frozen=True)
class Method:
    """An entry of `cxrlens.explanation.METHODS`.

    Attributes
    ----------
    name
        In commands and the API: lower case, hyphens.
    title
        On the page.
    about
        What it shows, in half a sentence, for help and page.
    needs
        What of a network it asks: ``scores`` (every one has them), ``slopes`` of its feature maps, or a
        ``map`` of its own.
    quick
        Whether it answers at once; the server runs the others as jobs.
    signed
        Whether its maps also say what speaks against the class.
    regional
        Whether they consist of regions with edges, which are drawn as three panels.
    diseases_only
        Whether the first class, normal, cannot be asked about.
    explain
        Makes the map.
    """

    name: str
    title: str
    about: str
    needs: Literal["scores", "slopes", "map"]
    explain: Callable[[Question], Answer]
    quick: bool = False
    signed: bool = False
    regional: bool = False
    diseases_only: bool = False
