"""Not a chest: pictures that are no frontal chest film, whole and upright."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs
from cxrlens.quality.findings import Finding
from cxrlens.quality.thumbnail import rank_thumbnail


@dataclass(frozen=True)
class Bounds:
    """Between which values a statistic of chest films lies.

    Attributes
    ----------
    name
        A key of what `chest_statistics` gives.
    low, high
        The bounds; infinite where a side does not count.
    step
        The statistic's natural step: one step beyond a bound scores 0.73.
    """

    name: str
    low: float
    high: float
    step: float

    def beyond(self, value: float) -> float:
        """Give how many steps a value lies beyond the nearer bound; below 0 it lies within."""
        return max(self.low - value, value - self.high) / self.step


@dataclass(frozen=True)
class ChestGate:
    """Whether a picture can be one frontal chest film, whole and upright.

    A film is refused if one of its statistics lies outside of its bounds: what the lung network answers
    about the film as a whole; size, place and form of the lungs that it found; how much the film looks
    like chests do. `chest_statistics` names them.

    Attributes
    ----------
    mean
        (256,) thumbnail of the mean chest.
    components
        (k, 256) main forms by which chests differ from it, orthonormal.
    bounds
        Of the statistics that count.
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    bounds: tuple[Bounds, ...]

    defect: ClassVar[str] = "not_a_chest"
    repair_name: ClassVar[str] = ""

    def detect(self, film: NDArray[np.uint8], lungs: Lungs) -> Finding:
        """Find a film that is no frontal chest radiograph."""
        told = self.statistics(film, lungs)
        return Finding.beyond(max(bound.beyond(told[bound.name]) for bound in self.bounds), 0.0)

    def statistics(self, film: NDArray[np.uint8], lungs: Lungs) -> dict[str, float]:
        """Describe a (side, side) uint8 film that is no negative, and its lungs."""
        return chest_statistics(film, lungs, *self._arrays)

    @functools.cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.mean), np.array(self.components)


def chest_statistics(
    film: NDArray[np.uint8],
    lungs: Lungs,
    mean: NDArray[np.float64],
    components: NDArray[np.float64],
) -> dict[str, float]:
    """Describe how far a film and its lungs are from a whole, upright, frontal chest.

    Parameters
    ----------
    film
        (side, side) uint8, no negative.
    lungs
        Its lungs.
    mean, components
        As of `ChestGate`.

    Returns
    -------
    dict
        ``answer``: the network's logit for the film as a whole. ``share``: of the film that is lung;
        ``doubtful``: pixels of which the network is not sure, as a share of them. ``height``,
        ``breadth``: of the box round both, as shares of the side; ``filled``: share of the box that is
        lung. ``cut``: share of the film's upper and lower edge that is lung. ``top``: how broad the lungs
        are at their top against their bottom. ``unlike``: share of the thumbnail that
        the chest's main forms leave unexplained. ``proportion``: the film's breadth over height.
    """
    return {
        "answer": lungs.chest,
        "proportion": lungs.proportion,
        **_of_lungs(lungs),
        "unlike": _unlike(film, mean, components),
    }


def _of_lungs(lungs: Lungs) -> dict[str, float]:
    fields = lungs.fields()
    side = len(fields)
    names = ("height", "breadth", "filled", "cut", "top")
    if not fields.any():
        return {"share": 0.0, "doubtful": 1.0, **dict.fromkeys(names, 0.0)}
    share = float(fields.mean())
    rows, columns = np.flatnonzero(fields.any(axis=1)), np.flatnonzero(fields.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    box = fields[top:bottom, left:right]
    upper, *_, lower = (_breadth(part) for part in np.array_split(box, 4))
    unsure = float(((lungs.likely > 30) & (lungs.likely < 225)).mean())
    values = (
        (bottom - top) / side,
        (right - left) / side,
        float(box.mean()),
        float(np.mean([fields[0], fields[-1]])),
        min(upper / max(lower, 1.0), 2.0),
    )
    told = dict(zip(names, map(float, values), strict=True))
    return {"share": share, "doubtful": min(unsure / share, 1.0), **told}


def _breadth(part: NDArray[np.bool_]) -> float:
    """Mean distance from the first to the last lung pixel of the rows."""
    found = [np.flatnonzero(row) for row in part]
    return float(np.mean([row[-1] + 1 - row[0] if len(row) else 0 for row in found] or [0]))


def _unlike(
    film: NDArray[np.uint8], mean: NDArray[np.float64], components: NDArray[np.float64]
) -> float:
    picture = rank_thumbnail(film)
    difference = picture - mean
    unexplained = difference - components.T @ (components @ difference)
    return float((unexplained**2).sum()) / (float((picture**2).sum()) + 1e-9)
