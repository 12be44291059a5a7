import shutil
from pathlib import Path

import numpy as np
import pytest

from cxrlens.collections.collection import read_collection
from cxrlens.errors import RecipeError, RunError
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.predictor import Predictor
from cxrlens.progress import Epoch
from cxrlens.recipes.recipe import Distilling, read_recipe
from cxrlens.runs.run import Run
from cxrlens.runs.saved import read_weights, write_weights
from cxrlens.training.fit import resume, train
from cxrlens.training.together import blend, distil


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("blend")
    table = write_phantoms(place / "films", 30, seed=1, side=64)
    settings = ("side=32", "model.blocks=[8]", "model.width=8", "training.max_epochs=1")
    films = read_collection(table)
    return train(
        read_recipe("resnet-focal", (*settings, "quality=none")),
        films,
        place / "first",
        cache=place / "cache",
    )


def test_the_mean_of_the_weights_answers(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.path, run.path.with_name(tmp_path.name)))
    weights = read_weights(run.weights)
    doubled = {name: np.asarray(value * 3, value.dtype) for name, value in weights.items()}
    write_weights(other.weights, doubled)
    blended = blend([run.path, other.path], tmp_path / "blend", cache=tmp_path / "cache")
    blended.need_finished()
    found = read_weights(blended.weights)
    for name, value in weights.items():
        assert found[name] == pytest.approx(value * 2, rel=1e-6)
    assert blended.versions()["blended"] == [run.digest, other.digest]
    assert blended.digest not in (run.digest, other.digest)
    table = blended.predictions("test")
    again = Predictor.of(blended).predict(table["image"][0])
    assert again.probabilities["normal"] == pytest.approx(table["normal"][0], abs=1e-4)


def test_what_does_not_belong_together_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="two runs or more"):
        blend([run.path], tmp_path / "blend", cache=tmp_path / "cache")
    other = Run(shutil.copytree(run.path, run.path.with_name(tmp_path.name)))
    with pytest.raises(RunError, match="one of the runs that it would be made of"):
        blend([run.path, other.path], other.path, cache=tmp_path / "cache", force=True)
    recipe = (other.path / "recipe.yaml").read_text()
    (other.path / "recipe.yaml").write_text(recipe.replace("seed: 0", "seed: 1"))
    with pytest.raises(RunError, match="differ in more than their training"):
        blend([run.path, other.path], tmp_path / "blend", cache=tmp_path / "cache")
    (other.path / "predictions-test.csv").unlink()
    with pytest.raises(RunError, match="not finished"):
        blend([run.path, other.path], tmp_path / "blend", cache=tmp_path / "cache")
    assert not (tmp_path / "blend").exists()


def test_what_runs_say_together_is_taught_to_one(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.path, run.path.with_name(tmp_path.name)))
    weights = read_weights(run.weights)
    moved = {name: np.asarray(value * 1.01, value.dtype) for name, value in weights.items()}
    write_weights(other.weights, moved)
    told = []
    taught = distil(
        [run.path, other.path],
        tmp_path / "taught",
        settings=[
            "distil.labels=0",
            "training.learning_rate_low=1e-9",
            "training.learning_rate_high=1e-9",
        ],
        cache=tmp_path / "cache",
        on_epoch=told.append,
    )
    taught.need_finished()
    assert [epoch.number for epoch in told] == [1]
    assert taught.versions()["taught_by"] == [run.digest, other.digest]
    assert taught.recipe.distil == Distilling(labels=0)
    assert not (taught.path / "progress").exists()
    found = read_weights(taught.weights)
    for name, value in weights.items():
        if value.dtype.kind == "f" and "running" not in name:
            assert found[name] == pytest.approx(value * 1.005, rel=1e-4, abs=1e-6)


def test_an_interrupted_distillation_goes_on(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.path, run.path.with_name(tmp_path.name)))

    def stop(epoch: Epoch) -> None:
        raise InterruptedError

    runs, settings = [run.path, other.path], ["training.max_epochs=2"]
    cache = tmp_path / "cache"
    whole = distil(runs, tmp_path / "whole", settings=settings, cache=cache)
    with pytest.raises(InterruptedError):
        distil(runs, tmp_path / "half", settings=settings, cache=cache, on_epoch=stop)
    half = resume(tmp_path / "half", cache=cache)
    assert half.digest == whole.digest


def test_only_how_it_is_trained_may_differ_from_the_teachers(run: Run, tmp_path: Path) -> None:
    for few in ([], [run.path]):
        with pytest.raises(RunError, match="two runs or more"):
            distil(few, tmp_path / "taught", cache=tmp_path / "cache")
    with pytest.raises(RecipeError, match="side: what is distilled begins as its teachers began"):
        distil([run.path, run.path], tmp_path / "taught", settings=["side=48"])
    with pytest.raises(RecipeError, match="name them to"):
        train(
            run.recipe.model_copy(update={"distil": Distilling()}),
            run.collection(),
            tmp_path / "taught",
            cache=tmp_path / "cache",
        )
    assert not (tmp_path / "taught").exists()
