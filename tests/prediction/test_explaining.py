from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.errors import CxrlensError, OutputError
from cxrlens.explanation import METHODS, methods_for
from cxrlens.explanation.heatmap import FLOOR
from cxrlens.prediction.decision import Single, Voting
from cxrlens.prediction.predictor import Predictor
from cxrlens.reports.explained import explain_films
from cxrlens.runs.run import Run


@pytest.fixture(scope="module")
def predictor(small_run: Run) -> Predictor:
    return Predictor.load(small_run.path)


@pytest.fixture(scope="module")
def pair(predictor: Predictor) -> Predictor:
    """Two voters, who are the same network."""
    decision = Voting((Single(0, 3), Single(0, 3)))
    return Predictor(predictor.network, decision, predictor.chain, predictor.classes)


GRADCAM_AND_SLOWER = [method.name for method in methods_for(frozenset({"slopes"}))]
"""What a network without a map of its own can be asked."""


@pytest.mark.parametrize("method", GRADCAM_AND_SLOWER)
def test_each_method_gives_a_map_in_the_film_s_geometry(
    predictor: Predictor, phantoms: Collection, method: str
) -> None:
    film = cv2.resize(np.asarray(cv2.imread(phantoms.films["image"][0], 0)), (90, 130))
    told: list[tuple[int, int]] = []
    prediction = predictor.predict(np.asarray(film, np.uint8))
    heat = prediction.explain(method, samples=120, progress=lambda *step: told.append(step))
    assert heat.values.shape == (130, 90)
    assert heat.values.dtype == np.float32
    strength = min(1.0, heat.scale / FLOOR) if heat.scale is not None else 1.0
    assert np.abs(heat.values).max() == pytest.approx(strength, abs=0.15 * strength)
    assert heat.target == prediction.predicted
    if METHODS[method].quick:
        assert heat.values.min() >= 0
        assert heat.scale is None
        return
    assert heat.scale is not None
    assert 0 < heat.scale <= 1
    assert f"{heat.scale:.2g}" in heat.note
    assert told[-1][0] == told[-1][1]
    again = prediction.explain(method, samples=120)
    assert (again.values == heat.values).all()


def test_members_are_explained_alone(pair: Predictor, phantoms: Collection) -> None:
    prediction = pair.predict(Path(phantoms.films["image"][1]))
    assert len(pair.members) == 2
    whole = prediction.explain("occlusion")
    assert prediction.explain("occlusion", member=1).values == pytest.approx(whole.values, abs=1e-5)
    for wrong in (-1, 2):
        with pytest.raises(CxrlensError, match=f"no member {wrong}: the model has 2"):
            prediction.explain("gradcam", member=wrong)


def test_an_explanation_can_be_stopped(predictor: Predictor, phantoms: Collection) -> None:
    def stop(done: int, of: int) -> None:
        raise InterruptedError

    prediction = predictor.predict(Path(phantoms.films["image"][0]))
    for method in (name for name in GRADCAM_AND_SLOWER if not METHODS[name].quick):
        with pytest.raises(InterruptedError):
            prediction.explain(method, progress=stop)


def test_a_method_that_does_not_suit_the_model_is_refused(
    predictor: Predictor, phantoms: Collection
) -> None:
    assert [method.name for method in predictor.methods] == GRADCAM_AND_SLOWER
    prediction = predictor.predict(Path(phantoms.films["image"][0]))
    assert prediction.explain().method == "gradcam"
    with pytest.raises(CxrlensError, match="Evidence needs a network with a map of its own"):
        prediction.explain("evidence")


def test_sheets_a_class_with_members(pair: Predictor, phantoms: Collection, tmp_path: Path) -> None:
    films = [Path(image) for image in phantoms.films["image"][:3]]
    told: list[tuple[int, int]] = []
    result = explain_films(
        pair,
        films,
        tmp_path / "out",
        "lime",
        "tuberculosis",
        "report",
        members=True,
        samples=40,
        progress=lambda *step: told.append(step),
    )
    assert [path.name for path in result.sheets] == ["sheet-lime-tuberculosis.png"]
    drawn = cv2.imread(str(result.sheets[0]))
    alone = explain_films(pair, films, tmp_path / "alone", "lime", "tuberculosis", samples=40)
    narrow = cv2.imread(str(alone.sheets[0]))
    assert drawn is not None
    assert narrow is not None
    assert drawn.shape[1] > 1.4 * narrow.shape[1]
    assert told == [(1, 3), (2, 3), (3, 3)]
    page = result.page.read_text()
    assert "weighted R²" in page
    assert "red against it" in page
    assert "a scale of colours: −1, against; 0; 1, for" in page
    # With members the sheet is the only place of theirs; without it each film stands there once.
    assert page.count("<img") == 3 + 1 + 1
    assert alone.page.read_text().count("<img") == 3 + 1
    assert "orange against it" in alone.page.read_text()
    with pytest.raises(CxrlensError, match="unknown palette"):
        explain_films(pair, films, tmp_path / "never", palette="rainbow")
    assert not (tmp_path / "never").exists()
    with pytest.raises(OutputError, match="exists already"):
        explain_films(pair, films, tmp_path / "out")
