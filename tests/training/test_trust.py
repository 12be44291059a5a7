"""Trust as training leaves it: in the run, in the bundle, and the same answers from both."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.cache import CachedFilms, cache_films
from cxrlens.prediction import load
from cxrlens.prediction.trust import ARRAYS, LEAST_TEMPERATURE, TRUST
from cxrlens.runs import Run
from cxrlens.training.trust import fit_trust, learn_trust

from ..drawn_evidence import draw_set, train_evidence


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_set(tmp_path_factory.mktemp("drawn"), films=60, seed=5)


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_evidence(drawn, tmp_path_factory.mktemp("run"), epochs=1)


@pytest.fixture(scope="module")
def films(run: Run) -> tuple[pd.DataFrame, CachedFilms]:
    """The run's films twice: all of them trained, and all of them were held."""
    own = run.films()
    twice = pd.concat([own.assign(split="train"), own.assign(split="validation")])
    cached = cache_films(twice["image"].tolist(), run.chain(), run.path.parent / "cache")
    return twice.reset_index(drop=True), cached


def test_with_few_validation_films_the_network_answers_as_it_is(run: Run) -> None:
    assert not (run.path / TRUST).exists()
    table = run.predictions("test")
    assert not table["calibrated"].any()
    assert table["suggests"].tolist() == table[[*run.classes]].idxmax(axis=1).tolist()


def test_trust_is_learnt_from_films_and_comes_back(
    run: Run, films: tuple[pd.DataFrame, CachedFilms]
) -> None:
    learnt = learn_trust(load(run.path), *films)
    assert fit_trust(run, *films)
    predictor = load(run.path)
    assert predictor.trust.numbers is not None
    assert learnt.numbers is not None
    assert predictor.trust.numbers.offsets == pytest.approx(learnt.numbers.offsets)
    assert predictor.trust.numbers.temperature >= LEAST_TEMPERATURE
    held = np.flatnonzero(films[0]["split"] == "validation")
    measured = predictor.measure_cached(films[1].pixels, films[1].rows[held])
    assert measured.relative is not None
    assert measured.residual is not None
    reasons = predictor.trust.answer(measured, [""] * len(held)).reasons
    # A hundredth is unlike by each distance, of the rest some are near: these are the films of the fit.
    assert 0 < sum(map(bool, reasons)) <= 0.2 * len(held)
    prediction = predictor.predict(films[0]["image"][0])
    assert prediction.calibrated
    assert set(prediction.scores) == {"pneumonia", "tuberculosis"}
    assert prediction.thresholds == pytest.approx(dict.fromkeys(prediction.scores, 50.0))


def test_another_kind_of_picture_is_unlike(
    run: Run, films: tuple[pd.DataFrame, CachedFilms]
) -> None:
    fit_trust(run, *films)
    predictor = load(run.path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)
    measured = predictor.measure_cached(pixels, np.arange(8))
    reasons = predictor.trust.answer(measured, [""] * 8).reasons
    assert reasons.count("unlike") >= 7


@pytest.mark.slow
def test_a_bundle_keeps_trust_and_answers_alike(
    run: Run, films: tuple[pd.DataFrame, CachedFilms], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    from cxrlens.export.bundle import export

    fit_trust(run, *films)
    export(run.path, tmp_path / "bundle")
    assert (tmp_path / "bundle" / ARRAYS).read_bytes() == (run.path / ARRAYS).read_bytes()
    own, other = load(run.path), load(tmp_path / "bundle")
    assert own.trust.digest == other.trust.digest
    ours, theirs = (one.measure_cached(films[1].pixels, films[1].rows[:20]) for one in (own, other))
    assert theirs.z == pytest.approx(ours.z, abs=1e-4)
    assert theirs.residual == pytest.approx(ours.residual, rel=1e-2, abs=1e-2)
    assert theirs.relative == pytest.approx(ours.relative, rel=1e-2, abs=1e-2)
