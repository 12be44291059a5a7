"""One face for runs and bundles: opened alike, one digest, unfinished ones and strangers refused."""

import hashlib
import shutil
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.collections.cache import cache_films
from cxrlens.collections.collection import read_collection
from cxrlens.errors import BundleError, CxrlensError, ModelError, RunError
from cxrlens.prediction import Predictor, load
from cxrlens.prediction.table import predict_films
from cxrlens.quality.chain import Chain
from cxrlens.runs import is_model, open_model
from cxrlens.runs.run import Run

FIRST = Path(__file__).parents[1] / "artefacts" / "first"
"""What the first layout left: each kind once, drawn and small."""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy, since work goes on in some of them."""
    return shutil.copytree(FIRST, tmp_path / "first")


@pytest.mark.parametrize("name", ["run", "bundle", "ridge"])
def test_models_of_the_first_layout_answer_as_they_did(first: Path, name: str) -> None:
    model = open_model(first / name)
    assert model.kind == ("bundle" if name == "bundle" else "run")
    assert len(model.digest) == 12
    told = pd.read_csv(first / ("ridge" if name == "ridge" else "run") / "predictions-test.csv")
    predictor = Predictor.of(model)
    for row in told.head(3).itertuples():
        film = (first / "run" / str(row.image)).resolve()
        again = predictor.predict(film)
        assert again.suggests == row.predicted
        for label in model.classes:
            assert again.probabilities[label] == pytest.approx(getattr(row, label), abs=1e-5)


def test_a_run_and_its_bundle_are_one_model(first: Path) -> None:
    run, bundle = open_model(first / "run"), open_model(first / "bundle")
    assert run.digest == bundle.digest != open_model(first / "ridge").digest
    assert run.classes == bundle.classes
    assert run.chain() == bundle.chain()
    assert run.recipe == bundle.recipe
    images = run.films()["image"].tolist()
    assert dict(run.learnt(images)) == dict(bundle.learnt(images))
    assert run.patients_learnt
    assert not run.cannot_recognise
    assert "exact content" in bundle.cannot_recognise


def test_the_digest_can_be_made_by_hand(first: Path) -> None:
    found = hashlib.sha256()
    for name in ("recipe.yaml", "weights.safetensors"):
        content = hashlib.sha256((first / "run" / name).read_bytes()).digest()
        found.update(name.encode() + b"\0" + content)
    assert open_model(first / "bundle").digest == found.hexdigest()[:12]


def test_an_unfinished_run_answers_nobody(first: Path, tmp_path: Path) -> None:
    begun, film = first / "begun", first / "films/images/P00001_1.png"
    sentence = "is not finished: cxrlens train --resume -o"
    with pytest.raises(RunError, match=sentence):
        open_model(begun)
    with pytest.raises(RunError, match=sentence):
        load(begun)
    spool = ["--spool", tmp_path / "spool", "--allow", "A", "--to", "A@localhost:1"]
    for call in (
        ["predict", film, "--model", begun],
        ["explain", film, "--model", begun, "-o", tmp_path / "e"],
        ["evaluate", first / "films" / "films.csv", "--model", begun, "-o", tmp_path / "m"],
        ["serve", "--model", begun],
        ["export", begun, "-o", tmp_path / "b"],
        ["dicom-node", "--model", begun, *spool],
    ):
        outcome = CliRunner().invoke(app, [str(part) for part in call])
        assert isinstance(outcome.exception, RunError), call
        assert sentence in str(outcome.exception)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_an_unfinished_run_of_the_first_layout_is_finished(first: Path) -> None:
    from cxrlens.main_job import go_on

    run = go_on(first / "begun", cache=first / "cache")
    assert open_model(run.path).digest == run.digest
    assert len(run.history()) == 6


@pytest.mark.slow
def test_a_study_of_the_first_layout_goes_on(first: Path) -> None:
    from cxrlens.recipes.recipe import read_recipe
    from cxrlens.training.tuning import tune

    found = tune(
        read_recipe(first / "study" / "recipe.yaml"),
        read_collection(first / "study" / "collection.csv"),
        first / "study",
        trials=2,
        cache=first / "cache",
    )
    assert [trial.number for trial in found.trials] == [0, 1]


def test_a_cache_of_the_first_layout_is_used(first: Path) -> None:
    chain = Chain.named("report", 32)
    store = first / "cache" / chain.version / "pixels.u8"
    size = store.stat().st_size
    images = sorted(str(path) for path in (first / "films" / "images").iterdir())
    cached = cache_films(images, chain, first / "cache")
    assert (cached.rows >= 0).all()
    assert store.stat().st_size == size, "nothing had to be decoded again"


def test_a_spool_of_the_first_layout_is_taken_up(first: Path) -> None:
    from cxrlens.pacs.spool import Spool

    with closing(Spool(first / "spool")) as spool:
        counts = spool.counts()
    assert (counts["waiting"], counts["results"]) == (1, 1)


def test_a_table_is_not_resumed_with_another_model(first: Path, tmp_path: Path) -> None:
    films, table = [first / "films/images/P00001_1.png"], tmp_path / "p.csv"
    predict_films(load(first / "bundle"), films, table)
    # The run is the same model as its bundle.
    assert len(predict_films(load(first / "run"), films, table, resume=True).table) == 1
    with pytest.raises(CxrlensError, match="another model"):
        predict_films(load(first / "ridge"), films, table, resume=True)


def test_what_is_no_model_is_said(tmp_path: Path, first: Path) -> None:
    for path, sentence in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, "is no run folder"),
    ):
        with pytest.raises((ModelError, RunError), match=sentence):
            open_model(path)
    assert is_model(first / "run")
    assert is_model(first / "bundle")
    assert not is_model(first / "films")
    (first / "bundle" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="digest differs"):
        open_model(first / "bundle")


def test_a_model_among_the_films_gets_the_way_to_call_it(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrlens.runs.bundle.entry_points", lambda group: [])
    for name in ("run", "bundle"):
        outcome = CliRunner().invoke(app, ["predict", str(first / name)])
        place = first / name
        assert str(outcome.exception) == f"{place} is a model: cxrlens predict FILM --model {place}"
    outcome = CliRunner().invoke(app, ["predict", str(first / "films")])
    assert "--model runs/NAME" in str(outcome.exception)


def test_a_changed_chain_is_told(first: Path) -> None:
    versions = first / "run" / "versions.json"
    versions.write_text(versions.read_text().replace('"chain": "report-', '"chain": "report-0'))
    with pytest.raises(RunError, match=r"from the quality chain report-0.*train again"):
        Run(first / "run").chain()
