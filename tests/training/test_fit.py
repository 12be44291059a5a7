"""Real trainings of a small residual network on small drawn films."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cxrlens.collections.collection import LABELS, Collection
from cxrlens.errors import CollectionError, CxrlensError, OutputError, RunError
from cxrlens.files import write_text
from cxrlens.progress import Epoch
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs import Run
from cxrlens.training.fit import resume, train


def small(*settings: str) -> Recipe:
    shape = ("side=64", "model.blocks=[8]", "model.width=8", "training.max_epochs=3")
    quick = ("training.batch=8", "training.learning_rate_high=0.01", "training.precision=float32")
    return read_recipe("resnet-focal", [*shape, *quick, *settings])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def heard() -> list[Epoch]:
    return []


@pytest.fixture(scope="module")
def run(
    phantoms: Collection,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    heard: list[Epoch],
) -> Run:
    out = tmp_path_factory.mktemp("runs") / "one"
    return train(small(), phantoms, out, cache=cache, on_epoch=heard.append)


def test_a_run_folder_holds_everything(run: Run, phantoms: Collection) -> None:
    assert {path.name for path in run.path.iterdir()} == {
        "recipe.yaml",
        "collection.csv",
        "versions.json",
        "weights.safetensors",
        "history.csv",
        "predictions-validation.csv",
        "predictions-test.csv",
    }
    assert run.recipe == small()
    pd.testing.assert_frame_equal(run.collection().films, phantoms.films)
    assert run.versions()["precision"] == {"chosen": "float32"}


def test_the_history_has_a_row_an_epoch(run: Run) -> None:
    history = run.history()
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history.drop(columns=["epoch", "seconds"]).notna().all(axis=None)


def test_each_epoch_is_told_as_the_history_has_it(run: Run, heard: list[Epoch]) -> None:
    history = run.history()
    assert [(epoch.number, epoch.of, epoch.at_most) for epoch in heard] == [
        (1, 3, True),
        (2, 3, True),
        (3, 3, True),
    ]
    assert [epoch.row for epoch in heard] == [
        pytest.approx(row) for row in history.to_dict("records")
    ]
    assert heard[0].left == pytest.approx(2 * history["seconds"][0])
    assert str(heard[0]).startswith("epoch 1 of at most 3: training loss ")
    assert str(heard[0]).endswith(" left")
    assert "left" not in str(heard[2])


def test_the_epoch_whose_weights_were_kept(run: Run, tmp_path: Path) -> None:
    history = run.history().assign(validation_accuracy=[0.5, 0.9, 0.9])
    assert run.kept(history)["epoch"] == 1
    shutil.copytree(run.path, tmp_path / "last")
    (tmp_path / "last" / "recipe.yaml").write_text(small("training.keep=last").to_yaml())
    assert Run(tmp_path / "last").kept(history)["epoch"] == 2


def test_predictions_are_of_the_split_s_films_and_sum_to_one(
    run: Run, phantoms: Collection
) -> None:
    for split in ("validation", "test"):
        table = run.predictions(split)
        assert table["image"].tolist() == phantoms.split(split)["image"].tolist()
        assert table[["normal", "pneumonia", "tuberculosis"]].sum(
            axis=1
        ).to_numpy() == pytest.approx(1)
        assert {"negative", "noisy_score", "repairs", "label", "patient", "source"} <= {*table}


def test_the_same_seed_gives_the_same_weights(
    run: Run, phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    again = train(small(), phantoms, tmp_path / "again", cache=cache)
    other = train(small("seed=5"), phantoms, tmp_path / "other", cache=cache)
    first, second, third = (load_file(of.weights) for of in (run, again, other))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)


CHILD = """
import sys
from pathlib import Path
from cxrlens.collections.collection import read_collection
from cxrlens.recipes.recipe import read_recipe
from cxrlens.training.fit import train
recipe, films, out, cache = map(Path, sys.argv[1:])
train(read_recipe(recipe), read_collection(films), out, cache=cache,
      progress=lambda *what: print(*what, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["train batches 7", "train batches 9"])
def test_a_killed_run_resumes_to_the_same_weights(
    run: Run, phantoms: Collection, cache: Path, tmp_path: Path, when: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(small().to_yaml())
    phantoms.write(tmp_path / "films.csv")
    out = tmp_path / "killed"
    arguments = [tmp_path / "recipe.yaml", tmp_path / "films.csv", out, cache]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(when):
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert not (out / "predictions-test.csv").exists()

    finished = resume(out, cache=cache)
    first, second = load_file(run.weights), load_file(finished.weights)
    assert all(torch.equal(first[key], second[key]) for key in first)
    compared = ["epoch", "train_loss", "validation_accuracy", "learning_rate"]
    pd.testing.assert_frame_equal(run.history()[compared], finished.history()[compared])
    assert not (out / "progress").exists()


def test_resuming_a_finished_run_changes_nothing(run: Run, cache: Path) -> None:
    before = run.weights.stat().st_mtime_ns
    time.sleep(0.01)
    assert resume(run.path, cache=cache).weights.stat().st_mtime_ns == before


def test_a_run_that_another_process_trains_is_not_gone_on_with(run: Run, cache: Path) -> None:
    with run.alone(), pytest.raises(RunError, match="is being trained by another process"):
        resume(run.path, cache=cache)
    assert resume(run.path, cache=cache).path == run.path
    assert not (run.path / ".lock").exists()


def test_training_stops_early(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    # With a vanishing rate the accuracy cannot improve twice.
    rate = ("training.learning_rate_low=1e-12", "training.learning_rate_high=1e-12")
    stopped = train(
        small("training.max_epochs=9", "training.patience=2", *rate),
        phantoms,
        tmp_path / "r",
        cache=cache,
    )
    assert len(stopped.history()) < 9


def test_the_best_epoch_s_weights_are_kept(run: Run) -> None:
    best = run.history()["validation_accuracy"].max()
    table = run.predictions("validation")
    assert (table["predicted"] == table["label"]).mean() == pytest.approx(best)


def test_an_existing_run_is_not_overwritten(run: Run, phantoms: Collection, cache: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        train(small(), phantoms, run.path, cache=cache)


def test_force_does_not_empty_a_folder_that_is_no_run(
    phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="is no run folder"):
        train(small(), phantoms, tmp_path, cache=cache, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_an_old_run_stays_until_the_new_one_stands(
    phantoms: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, out, link = tmp_path / "cache", tmp_path / "old", tmp_path / "link"
    ridge = read_recipe("thumbnail-ridge", ["side=64", "baseline.thumbnail=8"])
    train(ridge, phantoms, out, cache=cache)
    (out / "notes.txt").write_text("mine")
    unlabelled = Collection(phantoms.films.drop(columns="label"))
    with pytest.raises(CollectionError, match="no column 'label'"):
        train(ridge, unlabelled, out, cache=cache, force=True)
    with Run(out).alone(), pytest.raises(RunError, match="is being trained by another process"):
        train(ridge, phantoms, out, cache=cache, force=True)
    link.symlink_to(out)
    with pytest.raises(OutputError, match="is a link to"):
        train(ridge, phantoms, link, cache=cache, force=True)
    with pytest.raises(OutputError, match=r"a part of its path is a file"):
        train(ridge, phantoms, out / "notes.txt", cache=cache, force=True)
    with monkeypatch.context() as patch:
        patch.setattr(Collection, "write", lambda *_, **__: write_text(Path("/dev/null/x"), ""))
        with pytest.raises(OutputError, match="could not be written"):
            train(ridge, phantoms, out, cache=cache, force=True)
    assert (out / "notes.txt").read_text() == "mine"
    Run(out).need_finished()
    train(ridge, phantoms, out, cache=cache, force=True).need_finished()
    assert not (out / "notes.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "old", "link"}


def test_a_missing_class_is_named(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    films = phantoms.films[phantoms.films["label"] != "tuberculosis"]
    with pytest.raises(CollectionError, match="train split has no film of tuberculosis"):
        train(small(), Collection(films), tmp_path / "r", cache=cache)


def test_one_class_alone_is_refused(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    films = phantoms.films[phantoms.films["label"] == "normal"].drop(columns="split")
    with pytest.raises(CollectionError, match="no film of pneumonia and tuberculosis"):
        train(small(), Collection(films), tmp_path / "r", cache=cache)


def test_a_device_that_is_not_there(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CxrlensError, match="--device cuda: this machine has none"):
        train(small(), phantoms, tmp_path / "r", cache=cache, device="cuda")
    with pytest.raises(CxrlensError, match="--device gpu: known are auto, cpu, cuda, mps"):
        train(small(), phantoms, tmp_path / "r", cache=cache, device="gpu")


def test_a_broken_film_is_skipped_and_named(
    phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xffbroken")
    row = phantoms.films.iloc[[0]].assign(image=str(broken), patient="another", split="train")
    films = Collection(pd.concat([phantoms.films, row], ignore_index=True))
    done = train(small("training.max_epochs=1"), films, tmp_path / "r", cache=cache)
    assert list(done.skipped()) == [str(broken)]


def test_the_faster_precision_is_measured_and_kept(
    phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    done = train(
        small("training.precision=auto", "training.max_epochs=1"),
        phantoms,
        tmp_path / "r",
        cache=cache,
    )
    precision = done.versions()["precision"]
    speeds = precision["films_per_second"]
    assert set(speeds) == {"float32", "bfloat16"}
    assert precision["chosen"] == max(speeds, key=speeds.get)


def test_a_run_of_a_later_version_is_refused(run: Run, tmp_path: Path) -> None:
    versions = run.versions() | {"format": 99, "cxrlens": "9.0"}
    (tmp_path / "versions.json").write_text(json.dumps(versions))
    with pytest.raises(RunError, match=r"written by cxrlens 9\.0 in a layout \(99\)"):
        Run(tmp_path)
    with pytest.raises(RunError, match="is no run folder"):
        Run(tmp_path / "none")


def test_ctrl_c_says_how_to_go_on(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "train batches" and done > total // 3:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="training was interrupted; cxrlens train --resume"):
        train(small(), phantoms, tmp_path / "r", cache=cache, progress=interrupt)
    assert len(resume(tmp_path / "r", cache=cache).history()) == 3


def test_a_full_disk_is_one_sentence(phantoms: Collection, cache: Path, tmp_path: Path) -> None:
    """The first file of weights meets a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    from unittest.mock import patch

    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        return real(Path("/dev/full") if path.name == "weights.safetensors" else path, data)

    with (
        patch.object(Path, "write_bytes", full),
        pytest.raises(
            OutputError, match=r"weights\.safetensors could not be written: the disk is full"
        ),
    ):
        train(small(), phantoms, tmp_path / "r", cache=cache)


def test_a_film_that_is_there_twice_with_two_labels_is_refused(
    phantoms: Collection, tmp_path: Path, cache: Path
) -> None:
    films = phantoms.films
    first = films[films["split"] == "train"].iloc[[0]]
    other = next(label for label in LABELS if label != first["label"].iloc[0])
    again = tmp_path / "again.png"
    shutil.copy(first["image"].iloc[0], again)
    row = first.assign(image=str(again), patient="somebody else", label=other)
    with pytest.raises(
        CollectionError, match=r"1 films are there twice with two labels.*again\.png"
    ):
        train(
            small(),
            Collection(pd.concat([films, row], ignore_index=True)),
            tmp_path / "r",
            cache=cache,
        )
    row = row.assign(label=first["label"], split="test")
    with pytest.raises(CollectionError, match="1 films are there twice in two splits"):
        train(
            small(),
            Collection(pd.concat([films, row], ignore_index=True)),
            tmp_path / "r",
            cache=cache,
        )
    assert not (tmp_path / "r").exists()
