"""Shortcut probes: how well simple features tell label and source, by ridge regression, by patient."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.audit.films import SIDE, Films, Squares, known
from cxrlens.audit.views import Features, View
from cxrlens.collections.collection import LABELS, patient_codes
from cxrlens.evaluation.intervals import CELLS, draw, percentiles, weighted_auc
from cxrlens.progress import Progress, counted, in_batches
from cxrlens.radiographs.grey import Film, Floats, Mask

FOLDS = 5
_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)  # of features with spread 1
_RESAMPLES = 200
_LEVEL = 0.95
_PART = 1024  # films that a ridge has in floats at a time


@dataclass(frozen=True)
class Told:
    """How well a target is told.

    Attributes
    ----------
    auc
        Area under the ROC curve on films that were not learnt from; 0.5 is chance.
    low, high
        Its 95 % interval by patient; None where there are too few.
    films, patients
        On which it was measured.
    """

    auc: float
    low: float | None
    high: float | None
    films: int
    patients: int

    def words(self) -> str:
        """Write ``AUC 0.93 (0.91–0.95)``."""
        span = f" ({self.low:.2f}–{self.high:.2f})" if self.low is not None else ""
        return f"AUC {self.auc:.2f}{span}"


LEAST_PATIENTS = 10
"""Patients a class needs in a place to be asked for there."""

EVERYWHERE = "all films"
"""Name of the place where sources are pooled, or not known."""


@dataclass(frozen=True)
class Probed:
    """How well one view tells one thing.

    Attributes
    ----------
    view
        Its name.
    lungs
        Whether the view holds something of the lungs.
    target
        ``label`` or ``source``.
    aim
        The class that is told from the others; of sources ``each from the others``, a mean.
    place
        The source, or `EVERYWHERE`; where source is the target, the class.
    how
        ``within`` (patients of the place itself), ``across`` (trained elsewhere) or ``pooled``.
    told
        How well.
    """

    view: str
    lungs: bool
    target: str
    aim: str
    place: str
    how: str
    told: Told


class Scope(NamedTuple):
    """Films among which classes are told apart.

    Attributes
    ----------
    place
        A source, or `EVERYWHERE`.
    rows
        (N,) the films of the classes that have enough patients there.
    aims
        Classes to be told from the rest: both diseases and normal, or of two the one.
    classes
        Those with enough patients.
    """

    place: str
    rows: Mask
    aims: tuple[str, ...]
    classes: tuple[str, ...]


class Seen(NamedTuple):
    """A view, and the films (N,) for which it has features."""

    view: View
    usable: Mask


def scopes(table: pd.DataFrame, among: Sequence[str] = LABELS) -> tuple[list[Scope], list[str]]:
    """Find where classes can be told apart, and word where they cannot, and why.

    Parameters
    ----------
    table
        Films.
    among
        The classes that count.

    Returns
    -------
    tuple
        Scopes, `EVERYWHERE` first if it is more than one source, and sentences.
    """
    labels, sources, codes = known(table, "label"), known(table, "source"), patient_codes(table)
    if not (labels != "").any():
        return [], ["The films have no labels: nothing can be said of what gives a label away."]
    names = sorted({*sources.tolist()} - {""})
    places = {EVERYWHERE: np.ones(len(table), bool)} | {name: sources == name for name in names}
    if len(names) == 1 and places[names[0]].all():
        del places[EVERYWHERE]
    found, unknown = [], []
    for place, rows in places.items():
        people = {label: len(np.unique(codes[rows & (labels == label)])) for label in among}
        classes = tuple(label for label in among if people[label] >= LEAST_PATIENTS)
        few = [f"{people[c]} of {c}" for c in among if 0 < people[c] < LEAST_PATIENTS]
        if few:
            unknown.append(
                f"{place}: too few patients to probe ({', '.join(few)}; {LEAST_PATIENTS} are needed)."
            )
        if len(classes) < 2:
            only = f"only {classes[0]} has" if classes else "no class has"
            unknown.append(f"{place}: {only} enough films, so no label can be told from another.")
            continue
        aims = classes if len(classes) > 2 else classes[1:]
        found.append(Scope(place, rows & np.isin(labels, classes), aims, classes))
    return found, unknown


def probe(
    films: Films,
    seen: Sequence[Seen],
    columns: Sequence[Seen],
    places: Sequence[Scope],
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Probed]:
    """Ask every view for label and source.

    Parameters
    ----------
    films
        As read.
    seen
        Views of the films.
    columns
        Views of the table's columns, asked for the label only.
    places
        As `scopes` finds them.
    seed
        Of folds and resampling.
    progress
        Called with views done and views in all.
    """
    found: list[Probed] = []
    asked = (*seen, *columns)
    for number, one in enumerate(counted(asked, len(asked), progress)):
        # One view's features at a time are held.
        features = one.view.features(films)
        for place in places:
            if one.view.name != "source" or place.place == EVERYWHERE:
                found += _labels(films, one, features, place, seed)
        if number < len(seen):
            for place in places:
                if place.place != EVERYWHERE:
                    found += _labels(films, one, features, place, seed, across=True)
            found += _source(films, one, features, seed)
    return found


def _one_by_one(values: NDArray[np.str_], names: Sequence[str]) -> Mask:
    """Mark for each film which of the names it bears, (N, names)."""
    return np.stack([values == name for name in names], axis=1)


def _measurable(targets: Mask, codes: NDArray[np.intp]) -> bool:
    return all(
        len(np.unique(codes[part])) >= LEAST_PATIENTS
        for column in targets.T
        for part in (column, ~column)
    )


def _labels(
    films: Films, one: Seen, features: Features, scope: Scope, seed: int, across: bool = False
) -> Iterator[Probed]:
    """Ask for the classes of a place, by what its own patients show or, `across`, those of others."""
    here, aims = scope.rows & one.usable, _one_by_one(films.labels, scope.aims)
    x, targets, codes = features[here], aims[here], films.patients[here]
    if not _measurable(targets, codes):
        return
    if across:
        there = one.usable & (films.sources != scope.place) & np.isin(films.labels, scope.classes)
        if not _measurable(aims[there], films.patients[there]):
            return
        weight, bias = fit_ridge(features[there], aims[there].astype(np.float64))
        scores = x @ weight + bias
    elif (x != x[0]).any():
        scores = cross_validated(x, targets, codes, seed)
    else:
        return
    how = "across" if across else "pooled" if scope.place == EVERYWHERE else "within"
    told, _ = measured(scores, targets, codes, seed)
    for aim, of in zip(scope.aims, told, strict=True):
        yield Probed(one.view.name, one.view.lungs, "label", aim, scope.place, how, of)


def _source(films: Films, one: Seen, features: Features, seed: int) -> Iterator[Probed]:
    for label in sorted({*films.labels.tolist()}):
        rows = one.usable & (films.labels == label) & (films.sources != "")
        names = [
            name
            for name in sorted({*films.sources[rows].tolist()})
            if len(np.unique(films.patients[rows & (films.sources == name)])) >= LEAST_PATIENTS
        ]
        if len(names) < 2:
            continue
        rows &= np.isin(films.sources, names)
        targets, codes = _one_by_one(films.sources[rows], names), films.patients[rows]
        scores = cross_validated(features[rows], targets, codes, seed)
        _, told = measured(scores, targets, codes, seed)
        aim, place = "each from the others", label or EVERYWHERE
        yield Probed(one.view.name, one.view.lungs, "source", aim, place, "within", told)


def fit_ridge(features: Features, targets: Floats) -> tuple[Floats, Floats]:
    """Fit targets (N, T) by features (N, D); return weights (D, T) and biases (T,)."""
    count = len(features)
    # Part by part: of all films at once there would be several copies of the features in floats.
    parts = [*in_batches(count, _PART)]
    mean = features.mean(axis=0)
    spread = np.sqrt(_summed(((features[part] - mean) ** 2).sum(axis=0) for part in parts) / count)
    spread = np.where(spread < 1e-9, np.inf, spread)  # what never changes tells nothing
    centre = targets.mean(axis=0)

    def scaled() -> Iterator[tuple[Floats, Floats]]:
        return (((features[part] - mean) / spread, targets[part] - centre) for part in parts)

    if count < len(mean):
        values, vectors = _axes_of_few(np.concatenate([x for x, _ in scaled()]))
    else:
        values, vectors = np.linalg.eigh(_summed(x.T @ x for x, _ in scaled()) / count)
    along = vectors.T @ _summed(x.T @ y for x, y in scaled()) / count
    shrunk = [1 / (np.maximum(values, 0) + penalty) for penalty in _PENALTIES]
    errors = np.zeros(len(_PENALTIES))
    for x, y in scaled():
        rotated = x @ vectors
        squares = rotated**2
        for place, by in enumerate(shrunk):
            leverage = squares @ by / count + 1 / count
            left_out = (y - rotated @ (by[:, None] * along)) / np.maximum(1 - leverage, 1e-6)[
                :, None
            ]
            errors[place] += (left_out**2).sum()
    weights = vectors @ (shrunk[int(errors.argmin())][:, None] * along)
    weight = weights / spread[:, None]
    return weight, centre - mean @ weight


def _axes_of_few(x: Floats) -> tuple[Floats, Floats]:
    """Compute the variances and, as columns, the principal axes of fewer films than features (N, D)."""
    # They are found faster among the films; where nothing varies there are none.
    values, among = np.linalg.eigh(x @ x.T / len(x))
    there = values > 1e-10 * max(float(values[-1]), 1e-30)
    values, among = values[there], among[:, there]
    return values, x.T @ among / np.sqrt(len(x) * values)


def _summed(parts: Iterable[Floats]) -> Floats:
    return reduce(np.add, parts)


def cross_validated(
    features: Features, targets: Mask, patients: NDArray[np.intp], seed: int = 0
) -> Floats:
    """Score every film by a ridge that has seen none of its patient's films.

    Parameters
    ----------
    features
        (N, D).
    targets
        (N, T), which of T things each film is.
    patients
        (N,), whole numbers; films of one number stay in one fold. Folds are stratified by target.

    Returns
    -------
    ndarray of float64
        (N, T), higher meaning more of it.
    """
    scores = np.zeros(targets.shape)
    folds = folds_of(targets, patients, seed)
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            weight, bias = fit_ridge(features[~held], targets[~held].astype(np.float64))
            scores[held] = features[held] @ weight + bias
    return scores


def folds_of(targets: Mask, patients: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Deal patients into folds 0 … `FOLDS` - 1, each with its share of every target, (N,)."""
    people, first = np.unique(patients, return_index=True)
    order = np.random.default_rng(seed).permutation(len(people))
    order = order[np.argsort(targets[first][order].argmax(axis=1), kind="stable")]
    dealt = np.empty(len(people), np.intp)
    dealt[order] = np.arange(len(people)) % FOLDS
    return dealt[np.searchsorted(people, patients)]


def measured(
    scores: Floats, targets: Mask, patients: NDArray[np.intp], seed: int = 0
) -> tuple[list[Told], Told]:
    """Compute the AUC of each of T columns, and of their mean, with intervals by patient.

    Parameters
    ----------
    scores, targets
        (N, T); every column of `targets` holds both true and false.
    patients
        (N,), whole numbers; patients are resampled.
    """
    _, codes = np.unique(patients, return_inverse=True)
    people = int(codes.max()) + 1
    random = np.random.default_rng(seed)
    columns = range(targets.shape[1])
    aucs = np.empty((1 + _RESAMPLES, len(columns)))
    for part in in_batches(len(aucs), max(1, CELLS // len(codes))):
        # First all patients once; the rest is drawn.
        first = np.ones((int(part.start == 0), people))
        drawn = draw(random, people, part.stop - part.start - len(first))
        weights = np.concatenate([first, drawn])[:, codes]
        for t in columns:
            aucs[part, t] = weighted_auc(weights, targets[:, t], scores[:, t])
    # A resample without a class has no AUC for it; the mean takes those that it has.
    counted = np.isfinite(aucs)
    means = np.where(counted, aucs, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    told = [_told(aucs[:, t], len(codes), people) for t in columns]
    return told, _told(np.where(counted.any(axis=1), means, np.nan), len(codes), people)


def _told(values: Floats, films: int, people: int) -> Told:
    interval = percentiles(values[1:], _LEVEL) if people > 1 else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Told(float(values[0]), low, high, films, people)


GRID = 16
"""Patches along a side."""

_CELL = SIDE // GRID
_POINTS = 4  # grey levels along a patch's side that its ridge sees
_PENALTY = 0.1
_MOST = 4000  # films of a place that maps are made of


class PlaceMap(NamedTuple):
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
    auc: Floats
    strongest: tuple[int, int]
    name: str


def place_maps(
    films: Films,
    places: Sequence[Scope],
    masks: Squares | None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[PlaceMap]:
    """Make a map for each source and class.

    Parameters
    ----------
    films, places
        As read, and as `scopes` finds them.
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
    for scope, aim in counted(wanted, len(wanted), progress):
        rows = np.flatnonzero(scope.rows)
        if len(rows) > _MOST:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
        auc = _patch_aucs(films.pixels[rows], films.labels[rows] == aim, films.patients[rows], seed)
        outside = auc
        if masks is not None:
            outside = np.where(_cells(masks.mean(rows)) < 0.5, auc, -1.0)
        strongest = divmod(int(outside.argmax()), GRID)
        found.append(PlaceMap(scope.place, aim, auc, strongest, place_name(*strongest)))
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


def _cells(levels: NDArray[np.floating]) -> Floats:
    """Average a (128, 128) picture over the patches, (16, 16)."""
    return np.asarray(levels.reshape(GRID, _CELL, GRID, _CELL).mean(axis=(1, 3)), np.float64)


def _patch_aucs(squares: Film, hits: Mask, patients: NDArray[np.intp], seed: int) -> Floats:
    folds = folds_of(np.stack([hits, ~hits], axis=1), patients, seed)
    # Row by row: of all patches at once there would be several copies of the films in floats.
    return np.stack([_row_aucs(row, hits, folds) for row in np.split(squares, GRID, axis=1)])


def _row_aucs(row: Film, hits: Mask, folds: NDArray[np.intp]) -> Floats:
    step = _CELL // _POINTS
    small = row.reshape(len(row), _POINTS, step, GRID, _POINTS, step)
    x = small.mean(axis=(2, 5), dtype=np.float32).transpose(2, 0, 1, 3)
    x = np.ascontiguousarray(x).reshape(GRID, len(row), _POINTS * _POINTS)
    y = hits.astype(np.float32)
    scores = np.zeros(x.shape[:2])
    for fold in range(FOLDS):
        held = folds == fold
        if not held.any():
            continue
        learnt = x[:, ~held]
        mean = learnt.mean(axis=1, keepdims=True)
        scale = learnt.std(axis=1, keepdims=True) + 1  # one grey level more: black corners are even
        learnt = (learnt - mean) / scale
        goal = y[~held] - y[~held].mean()
        moments = learnt.transpose(0, 2, 1) @ learnt / len(goal)
        moments += _PENALTY * np.eye(moments.shape[1], dtype=np.float32)
        along = learnt.transpose(0, 2, 1) @ goal / len(goal)
        weights = np.linalg.solve(moments, along[..., None])
        scores[:, held] = (((x[:, held] - mean) / scale) @ weights)[..., 0]
    ones = np.ones((1, len(y)))
    return np.array([float(weighted_auc(ones, hits, one)[0]) for one in scores])
