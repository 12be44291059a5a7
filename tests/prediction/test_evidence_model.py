"""A trained evidence map through every door: prediction, explanation, and a bundle without PyTorch."""

from pathlib import Path

import numpy as np
import pytest

from cxrlens.errors import CxrlensError
from cxrlens.prediction import Prediction, load
from cxrlens.runs import Run

from ..drawn_evidence import draw_set, train_evidence


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_set(tmp_path_factory.mktemp("drawn"), films=48, seed=3)


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_evidence(drawn, tmp_path_factory.mktemp("run"), epochs=2)


def test_the_map_is_the_explanation_in_the_film_s_own_geometry(run: Run, drawn: Path) -> None:
    film = next((drawn / "images").iterdir())
    prediction = load(run.path).predict(film)
    heat = {disease: prediction.explain("evidence", disease) for disease in run.classes[1:]}
    assert all(of.values.shape == of.film.shape for of in heat.values())
    assert not np.array_equal(heat["pneumonia"].values, heat["tuberculosis"].values)
    with pytest.raises(CxrlensError, match="none for 'normal'"):
        prediction.explain("evidence", "normal")


def test_the_map_costs_no_second_pass(
    run: Run, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load(run.path)
    films = sorted((drawn / "images").iterdir())[:3]
    predictions = [p for p in predictor.predict_many(films) if isinstance(p, Prediction)]
    pixels = np.stack([prediction.examination.pixels for prediction in predictions])
    expected = predictor.network.run(pixels).map
    assert expected is not None

    def again(films: object) -> None:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(predictor.network, "run", again)
    for prediction, own in zip(predictions, expected, strict=True):
        assert np.array_equal(prediction.evidence, own)
        prediction.explain("evidence", "pneumonia")


def test_scores_come_from_the_map_that_is_shown(run: Run, drawn: Path) -> None:
    predictor = load(run.path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    answer = predictor.network.run(pixels)
    assert answer.map is not None
    pooled = np.log(np.exp(2.0 * answer.map).mean((2, 3))) / 2
    bias = answer.scores[0][:, 1:] - pooled
    # One bias a class for all films: nothing but the map moves a score.
    assert bias == pytest.approx(np.repeat(bias[:1], 3, axis=0), abs=1e-5)
    assert np.ptp(answer.scores[0][:, 0]) == 0


@pytest.mark.slow
def test_a_bundle_gives_the_same_map(run: Run, drawn: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from cxrlens.export.bundle import export

    export(run.path, tmp_path / "bundle")
    film = next((drawn / "images").iterdir())
    ours, theirs = (
        load(path).predict(film).explain("evidence", "pneumonia").values
        for path in (run.path, tmp_path / "bundle")
    )
    assert theirs == pytest.approx(ours, abs=1e-5)
