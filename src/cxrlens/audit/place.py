"""Where on the film a label can be told from: a ridge on each small patch, and the place's name.

A mark in one corner, a text, a collimator's edge or a device stands out as a patch that alone
ranks films by class. Patches in the lungs may do so because of the disease.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.audit.films import SIDE, Films, Progress
from cxrlens.audit.probes import Scope
from cxrlens.audit.ridge import FOLDS, folds_of
from cxrlens.evaluation.intervals import weighted_auc
from cxrlens.evaluation.metrics import patient_codes

GRID = 16
"""Patches along a side."""

_CELL = SIDE // GRID
_POINTS = 4  # grey levels along a patch's side that its ridge sees
_PENALTY = 0.1
_MOST = 4000  # films of a place that maps are made of


@dataclass(frozen=True)
class PlaceMap:
    """How well each patch alone tells a class.

    Attributes
    ----------
    place, aim
        The source (or all films), and the class that is told from the others.
    auc
        (16, 16), on patients that were not learnt from.
    strongest
        Row and column of the best patch outside the lungs, where these are known.
    name
        What the place of the strongest patch is called, e.g. ``top right corner``.
    """

    place: str
    aim: str
    auc: NDArray[np.float64]
    strongest: tuple[int, int]
    name: str


def place_maps(
    films: Films,
    places: list[Scope],
    masks: NDArray[np.bool_] | None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[PlaceMap]:
    """Make a map for each source and class.

    Parameters
    ----------
    films, places
        As read, and as `cxrlens.audit.probes.scopes` found.
    masks
        (N, 128, 128) lungs, or None where they are not known.
    seed
        Of the folds.
    progress
        Called with maps done and maps in all.
    """
    sources = [scope for scope in places if len(places) == 1 or scope is not places[0]]
    wanted = [(scope, aim) for scope in sources for aim in scope.aims]
    found = []
    for done, (scope, aim) in enumerate(wanted, 1):
        rows = np.flatnonzero(scope.rows)
        if len(rows) > _MOST:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
        hits = films.table["label"].to_numpy(str)[rows] == aim
        auc = _patch_aucs(films.pixels[rows], hits, patient_codes(films.table)[rows], seed)
        lungs = np.zeros((GRID, GRID))
        if masks is not None:
            lungs = _cells(masks[rows].mean(axis=0))
        outside = np.where(lungs < 0.5, auc, -1.0)
        row, column = np.unravel_index(int(outside.argmax()), outside.shape)
        strongest = (int(row), int(column))
        found.append(PlaceMap(scope.place, aim, auc, strongest, place_name(*strongest)))
        if progress:
            progress(done, len(wanted))
    return found


def place_name(row: int, column: int) -> str:
    """Name a patch: a corner, an edge, or a part of the middle.

    Examples
    --------
    >>> place_name(1, 14), place_name(0, 8), place_name(8, 8), place_name(8, 1)
    ('top right corner', 'top edge', 'middle', 'left edge')
    """
    vertical = "top" if row < 3 else "bottom" if row >= GRID - 3 else ""
    horizontal = "left" if column < 3 else "right" if column >= GRID - 3 else ""
    if vertical and horizontal:
        return f"{vertical} {horizontal} corner"
    if row < 2 or row >= GRID - 2:
        return f"{vertical} edge"
    if column < 2 or column >= GRID - 2:
        return f"{horizontal} edge"
    return f"{' '.join(filter(None, (vertical, horizontal)))} middle".strip()


def _cells(levels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average a (128, 128) picture over the patches, (16, 16)."""
    means = levels.reshape(GRID, _CELL, GRID, _CELL).mean(axis=(1, 3))
    return np.asarray(means, np.float64)


def _patch_aucs(
    squares: NDArray[np.uint8], hits: NDArray[np.bool_], patients: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    step = _CELL // _POINTS
    small = squares.reshape(len(squares), GRID, _POINTS, step, GRID, _POINTS, step)
    x = small.mean(axis=(3, 6), dtype=np.float32).transpose(1, 3, 0, 2, 4)
    x = np.ascontiguousarray(x).reshape(GRID * GRID, len(squares), _POINTS * _POINTS)
    y = hits.astype(np.float32)
    folds = folds_of(np.stack([hits, ~hits], axis=1), patients, seed)
    scores = np.zeros(x.shape[:2])
    for fold in range(FOLDS):
        held = folds == fold
        if not held.any():
            continue
        mean, spread = (
            x[:, ~held].mean(axis=1, keepdims=True),
            x[:, ~held].std(axis=1, keepdims=True),
        )
        learnt = (x[:, ~held] - mean) / (spread + 1)  # one grey level more: black corners are even
        goal = y[~held] - y[~held].mean()
        moments = learnt.transpose(0, 2, 1) @ learnt / len(goal)
        moments += _PENALTY * np.eye(moments.shape[1], dtype=np.float32)
        along = learnt.transpose(0, 2, 1) @ goal / len(goal)
        weights = np.linalg.solve(moments, along[..., None])
        scores[:, held] = (((x[:, held] - mean) / (spread + 1)) @ weights)[..., 0]
    ones = np.ones((1, len(y)))
    aucs = [float(weighted_auc(ones, hits, one)[0]) for one in scores]
    return np.array(aucs).reshape(GRID, GRID)
