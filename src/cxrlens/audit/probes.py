"""Shortcut probes: what tells label and source without a look at the lungs, and where on the film."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlens.audit.films import SIDE, Films
from cxrlens.audit.ridge import FOLDS, Array, Told, cross_validated, fit_ridge, folds_of, measured
from cxrlens.audit.views import View
from cxrlens.collections.collection import LABELS
from cxrlens.evaluation.intervals import weighted_auc
from cxrlens.evaluation.metrics import patient_codes
from cxrlens.progress import Progress

LEAST_PATIENTS = 10
"""Patients a class needs in a place to be asked for there."""

EVERYWHERE = "all films"
"""What the place is called where sources are pooled, or not known."""


@dataclass(frozen=True)
class Probed:
    """What one view tells.

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


@dataclass(frozen=True)
class Scope:
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
    rows: NDArray[np.bool_]
    aims: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A view with its features, and the films for which it has any."""

    view: View
    features: Array
    usable: NDArray[np.bool_]


def scopes(films: Films) -> tuple[list[Scope], list[str]]:
    """Say where classes can be told apart, and in words where they cannot, and why.

    Returns
    -------
    tuple
        Scopes, `EVERYWHERE` first if it is more than one source, and sentences.
    """
    if "label" not in films.table or films.table["label"].isna().all():
        return [], ["The films have no labels: nothing can be said of what gives a label away."]
    labels = films.table["label"].fillna("").to_numpy(str)
    codes = patient_codes(films.table)
    everything = np.ones(len(films), bool)
    places = [(EVERYWHERE, everything)]
    sources = _sources(films)
    names = sorted(set(sources) - {""})
    if len(names) == 1 and (sources == names[0]).all():
        places = [(names[0], everything)]
    elif names:
        places += [(name, sources == name) for name in names]
    found, unknown = [], []
    for place, rows in places:
        people = {label: len(np.unique(codes[rows & (labels == label)])) for label in LABELS}
        classes = tuple(label for label in LABELS if people[label] >= LEAST_PATIENTS)
        few = [f"{people[c]} of {c}" for c in LABELS if 0 < people[c] < LEAST_PATIENTS]
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


def _sources(films: Films) -> NDArray[np.str_]:
    if "source" not in films.table:
        return np.full(len(films), "")
    return films.table["source"].fillna("").to_numpy(str)


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
        What `scopes` found.
    seed
        Of folds and resampling.
    progress
        Called with views done and views in all.
    """
    found: list[Probed] = []
    for done, one in enumerate((*seen, *columns), 1):
        for place in places:
            if one.view.name != "source" or place.place == EVERYWHERE:
                found += _labels(films, one, place, seed)
        if one in seen:
            found += _across(films, one, places, seed)
            found += _source(films, one, seed)
        if progress:
            progress(done, len(seen) + len(columns))
    return found


def _targets(
    films: Films, rows: NDArray[np.bool_], names: Sequence[str], column: str = "label"
) -> NDArray[np.bool_]:
    values = films.table[column].to_numpy(str)[rows]
    return np.stack([values == name for name in names], axis=1)


def _measurable(targets: NDArray[np.bool_], codes: NDArray[np.intp]) -> bool:
    return all(
        len(np.unique(codes[part])) >= LEAST_PATIENTS
        for column in targets.T
        for part in (column, ~column)
    )


def _labels(films: Films, one: Seen, scope: Scope, seed: int) -> Iterator[Probed]:
    rows = scope.rows & one.usable
    codes, targets = patient_codes(films.table)[rows], _targets(films, rows, scope.aims)
    if not _measurable(targets, codes) or not one.features[rows].std(axis=0).any():
        return
    scores = cross_validated(one.features[rows], targets, codes, seed)
    how = "pooled" if scope.place == EVERYWHERE else "within"
    for aim, told in zip(scope.aims, measured(scores, targets, codes, seed)[0], strict=True):
        yield Probed(one.view.name, one.view.lungs, "label", aim, scope.place, how, told)


def _across(films: Films, one: Seen, places: Sequence[Scope], seed: int) -> Iterator[Probed]:
    sources = _sources(films)
    for scope in places:
        here = scope.rows & one.usable & (sources == scope.place)
        if scope.place == EVERYWHERE or here.all():
            continue
        labels = films.table["label"].fillna("").to_numpy(str)
        there = one.usable & (sources != scope.place) & np.isin(labels, scope.classes)
        elsewhere = _targets(films, there, scope.aims)
        codes, targets = patient_codes(films.table), _targets(films, here, scope.aims)
        if not (_measurable(targets, codes[here]) and _measurable(elsewhere, codes[there])):
            continue
        weight, bias = fit_ridge(one.features[there], elsewhere.astype(np.float64))
        scores = one.features[here] @ weight + bias
        for aim, told in zip(
            scope.aims, measured(scores, targets, codes[here], seed)[0], strict=True
        ):
            yield Probed(one.view.name, one.view.lungs, "label", aim, scope.place, "across", told)


def _source(films: Films, one: Seen, seed: int) -> Iterator[Probed]:
    if "source" not in films.table:
        return
    sources = _sources(films)
    labels = (
        films.table["label"].fillna("").to_numpy(str)
        if "label" in films.table
        else np.full(len(films), "")
    )
    codes = patient_codes(films.table)
    for label in sorted(set(labels)):
        rows = one.usable & (labels == label) & (sources != "")
        names = [
            name
            for name in sorted(set(sources[rows]))
            if len(np.unique(codes[rows & (sources == name)])) >= LEAST_PATIENTS
        ]
        if len(names) < 2:
            continue
        rows &= np.isin(sources, names)
        targets = _targets(films, rows, names, "source")
        scores = cross_validated(one.features[rows], targets, codes[rows], seed)
        told = measured(scores, targets, codes[rows], seed)[1]
        yield Probed(
            one.view.name,
            one.view.lungs,
            "source",
            "each from the others",
            label or EVERYWHERE,
            "within",
            told,
        )


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
