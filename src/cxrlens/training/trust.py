"""Fit how far a run's answers are to be trusted, when its training ends: on films, not on its weights."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.cache import CachedFilms
from cxrlens.collections.collection import patient_codes
from cxrlens.collections.readers.published import youngest
from cxrlens.prediction.calibration import Familiarity, fit_numbers, map_statistics
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import ARRAYS, TRUST, Trust, histogram, write_trust
from cxrlens.progress import Progress
from cxrlens.runs.run import Run

PER_CELL = 250
"""Films of training that are asked of each class of each source: some hundred show what they look like."""

_BATCH = 32


def fit_trust(
    run: Run,
    films: pd.DataFrame,
    cached: CachedFilms,
    device: str = "cpu",
    progress: Progress | None = None,
) -> bool:
    """Write ``trust.json`` and ``trust.safetensors`` into a run folder.

    Parameters
    ----------
    run
        With its weights. A member that tells one class from the rest has no normal to be measured against,
        and of folds no film was held from all members: neither gets any.
    films, cached, progress
        See `learn_trust`.
    device
        Where the network runs.

    Returns
    -------
    bool
        Whether it was written; not where there are too few films.
    """
    for name in (TRUST, ARRAYS):
        (run.path / name).unlink(missing_ok=True)
    if run.recipe.target or run.recipe.folds:
        return False
    trust = learn_trust(Predictor.of(run, device), films, cached, progress)
    if trust.numbers is None:
        return False
    write_trust(run.path, run.digest, run.classes, trust)
    return True


def learn_trust(
    predictor: Predictor,
    films: pd.DataFrame,
    cached: CachedFilms,
    progress: Progress | None = None,
) -> Trust:
    """Learn what is familiar from films of training, and fit the numbers on films that were held.

    Parameters
    ----------
    predictor
        The model.
    films
        ``label``, ``split`` and, where known, ``source``, ``age`` and ``patient``, numbered from 0: those of
        ``train`` tell what is familiar and who is young, those of ``validation`` fit the numbers.
    cached
        Their pixels, row by row; a film that could not be read is left out.
    progress
        Told how many films of training were asked.

    Returns
    -------
    Trust
        Without numbers where `cxrlens.prediction.trust.fit_numbers` has too few films.
    """
    labels = films["label"].map(predictor.classes.index).to_numpy(np.int64)
    read = cached.rows >= 0
    held = np.flatnonzero(films["split"].eq("validation").to_numpy() & read)
    learnt = _some(films[films["split"].eq("train").to_numpy() & read])
    if len(np.unique(labels[learnt])) < len(predictor.classes) or not len(held):
        return predictor.trust
    features: list[NDArray[np.float32]] = []
    shapes: list[NDArray[np.float64]] = []
    for start in range(0, len(learnt), _BATCH):
        rows = cached.rows[learnt[start : start + _BATCH]]
        outputs = predictor.network.run(cached.pixels[rows])
        if outputs.features is not None:
            features.append(outputs.features)
        if outputs.map is not None:
            shapes.append(map_statistics(outputs.map))
        if progress:
            progress(min(start + _BATCH, len(learnt)), len(learnt))
    familiarity = Familiarity.fit(
        np.concatenate(features) if features else None,
        np.concatenate(shapes) if shapes else None,
        labels[learnt],
    )
    predictor.trust = Trust(tuple(predictor.classes), None, familiarity)
    films_held = predictor.measure_cached(cached.pixels, cached.rows[held])
    numbers = fit_numbers(
        films_held,
        labels[held],
        moves="map" in predictor.network.gives,
        patients=patient_codes(films.iloc[held]),
    )
    fit = replace(
        predictor.trust,
        numbers=numbers,
        films=len(held),
        youngest_of=youngest(films[films["split"] == "train"], predictor.classes),
    )
    return replace(fit, histogram=histogram(fit.classes, fit.cautious().scores(films_held.z)))


def _some(films: pd.DataFrame) -> NDArray[np.int64]:
    """Choose at most `PER_CELL` films of each class of each source, the same ones always."""
    order = np.random.default_rng(0).permutation(len(films))
    cells = ["label", *(["source"] if "source" in films else [])]
    mixed = films.iloc[order]
    kept = mixed[mixed.groupby(cells, dropna=False).cumcount() < PER_CELL]
    return np.sort(kept.index.to_numpy(np.int64))
