import os
import signal
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest

from cxrlens.errors import OutputError, RecipeError, RunError
from cxrlens.evaluation.metrics import measure
from cxrlens.models.backbones import build_backbone
from cxrlens.models.classifier import freeze
from cxrlens.recipes.recipe import read_recipe
from cxrlens.reports.comparison import write_study_page
from cxrlens.runs.run import Run
from cxrlens.training import fit
from cxrlens.training.tuning import (
    RATE_HIGH,
    RATE_RATIO,
    WIDTHS,
    apply,
    freezing_depths,
    space_of,
    tune,
)

TINY = ("side=32", "model.blocks=[4]", "training.batch=16", "training.precision=float32")


def tiny(*settings):
    return read_recipe("resnet-focal", (*TINY, "training.max_epochs=1", *settings))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def study(phantoms, cache, tmp_path_factory):
    """Two trials of one epoch."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    return tune(tiny(), phantoms, folder, trials=2, cache=cache), folder


def test_each_trial_is_a_run_that_never_met_the_test_films(study, phantoms):
    found, folder = study
    assert [trial.state for trial in found.trials] == ["complete", "complete"]
    for trial in found.trials:
        run = Run(folder / "trials" / f"{trial.number:04d}")
        assert sorted(p.name for p in run.path.glob("predictions-*")) == [
            "predictions-validation.csv"
        ]
        assert set(run.predictions("validation")["image"]) == set(
            phantoms.split("validation")["image"]
        )
        assert run.recipe.training.learning_rate_high == trial.settings["learning_rate_high"]
        assert trial.value == measure(run.predictions("validation"), run.classes).macro_f1


def test_the_winner_is_a_recipe_that_trains(study, phantoms, cache, tmp_path):
    found, _ = study
    recipe = read_recipe(found.best)
    winner = max(found.trials, key=lambda trial: trial.value)
    assert recipe.model.width == winner.settings["width"]
    assert recipe.name == "resnet-focal-tuned"
    run = fit.train(recipe, phantoms, tmp_path / "run", cache=cache)
    assert len(run.predictions("test"))


def test_the_page_shows_every_trial(study):
    found, folder = study
    page = write_study_page(folder / "study.html", found).read_text("utf-8")
    assert "0000" in page
    assert "0001" in page
    assert f"{max(trial.value for trial in found.trials):.4f}" in page
    assert "<script" not in page


def test_a_finished_study_trains_no_more_and_a_larger_number_goes_on(
    study, phantoms, cache, monkeypatch
):
    found, folder = study
    again = tune(tiny(), phantoms, folder, trials=2, cache=cache)
    assert again.trials == found.trials
    more = tune(tiny(), phantoms, folder, trials=3, cache=cache)
    assert more.trials[:2] == found.trials
    assert len(more.trials) == 3


def test_another_recipe_or_other_films_are_refused(study, phantoms, tmp_path):
    _, folder = study
    with pytest.raises(RunError, match="another recipe"):
        tune(tiny("model.dropout=0.3"), phantoms, folder)
    fewer = type(phantoms)(phantoms.films.iloc[1:])
    with pytest.raises(RunError, match="other films"):
        tune(tiny(), fewer, folder)
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(OutputError, match="is no study"):
        tune(tiny(), phantoms, tmp_path)


def test_what_has_no_single_network_is_not_tuned():
    with pytest.raises(RecipeError, match="folds=0"):
        space_of(read_recipe("resnet-voting"))


def test_a_trial_below_the_median_is_stopped_early(phantoms, cache, tmp_path):
    recipe = tiny("training.max_epochs=6", "training.patience=6")
    tune(recipe, phantoms, tmp_path / "s", trials=1, cache=cache)
    known = optuna.load_study(
        study_name=recipe.name, storage=f"sqlite:///{tmp_path / 's' / 'study.db'}"
    )
    like = known.trials[0]
    for _ in range(5):
        known.add_trial(
            optuna.trial.create_trial(
                params=like.params,
                distributions=like.distributions,
                value=1.0,
                intermediate_values=dict.fromkeys(range(6), 1.0),
            )
        )
    found = tune(recipe, phantoms, tmp_path / "s", trials=7, cache=cache)
    assert found.trials[-1].state == "pruned"
    assert len(found.trials[-1].accuracies) == 2
    place = tmp_path / "s" / "trials" / "0006"
    assert not list(place.glob("predictions-*"))
    assert not (place / "weights.safetensors").exists()


@pytest.mark.slow
def test_a_killed_trial_is_gone_on_with(phantoms, cache, tmp_path):
    """SIGKILL in the middle of a trial; the same command finishes that trial, from its last epoch."""
    table = tmp_path / "films.csv"
    phantoms.write(table)
    folder = tmp_path / "study"
    settings = [*TINY, "training.max_epochs=30", "training.patience=30"]
    command = [sys.executable, "-m", "cxrlens", "tune", "resnet-focal", str(table)]
    command += ["-o", str(folder), "--trials", "1", "--cache", str(cache)]
    command += [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    place = folder / "trials" / "0000"
    deadline = time.monotonic() + 120
    while not (place / "progress" / "last.safetensors").is_file():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = pd.read_csv(place / "history.csv")
    assert 1 <= len(before) < 30

    found = tune(read_recipe("resnet-focal", settings), phantoms, folder, trials=1, cache=cache)
    assert [trial.state for trial in found.trials] == ["complete"]
    after = Run(place).history()
    assert len(after) == 30
    kept = ["epoch", "train_loss", "validation_accuracy", "seconds"]
    pd.testing.assert_frame_equal(after.loc[: len(before) - 1, kept], before[kept])


@pytest.mark.slow
def test_two_processes_share_a_study(phantoms, cache, tmp_path):
    table = tmp_path / "films.csv"
    phantoms.write(table)
    command = [sys.executable, "-m", "cxrlens", "tune", "resnet-focal", str(table)]
    command += ["-o", str(tmp_path / "study"), "--trials", "6", "--cache", str(cache)]
    settings = (*TINY, "training.max_epochs=10", "training.patience=10")
    command += [part for setting in settings for part in ("--set", setting)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
    recipe = read_recipe("resnet-focal", settings)
    found = tune(recipe, phantoms, tmp_path / "study", trials=6, cache=cache)
    assert len(found.trials) == 6
    assert all(trial.state in {"complete", "pruned"} for trial in found.trials)
    assert len({trial.settings["learning_rate_high"] for trial in found.trials}) == 6


class Lowest:
    """Draws the lower bound, or the first choice, of everything."""

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return low

    def suggest_categorical(self, name, choices):
        return choices[0]


def test_a_draw_goes_into_the_recipe():
    recipe = tiny()
    drawn = space_of(recipe).draw(Lowest())
    assert drawn == {
        "learning_rate_high": RATE_HIGH[0],
        "learning_rate_ratio": RATE_RATIO[0],
        "width": WIDTHS[0],
        "dropout": 0.0,
    }
    made = apply(recipe, drawn)
    assert made.training.learning_rate_high == RATE_HIGH[0]
    assert made.training.learning_rate_low == RATE_HIGH[0] / RATE_RATIO[0]
    assert made.model.width == WIDTHS[0]
    assert made.seed == recipe.seed


def test_a_pretrained_backbone_may_be_frozen_stage_by_stage():
    recipe = read_recipe("effnet-svm", ("model.backbone=tf_efficientnet_lite0",))
    depths = freezing_depths(recipe)
    assert depths == ("", "blocks.0", "blocks.1", "blocks.2", "blocks.3.1", "blocks.4")
    backbone = build_backbone("tf_efficientnet_lite0", "none")
    trained = []
    for depth in depths[1:]:
        freeze(backbone, depth)
        trained.append(sum(p.numel() for p in backbone.parameters() if p.requires_grad))
    assert trained == sorted(set(trained), reverse=True)
    space = space_of(recipe)
    assert (space.width, space.dropout) == (False, False)
    assert (
        apply(recipe, {**space.draw(Lowest()), "frozen": "blocks.2.1"}).model.frozen == "blocks.2.1"
    )
