"""Runs that are made of runs: folds that vote, and one network a class."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import LABELS, Collection
from cxrlens.errors import CollectionError, RecipeError, RunError
from cxrlens.main_job import evaluate, evaluate_on
from cxrlens.prediction import load
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs import Run
from cxrlens.training.fit import members_of, resume, train

QUICK = (
    "side=64",
    "model.blocks=[8]",
    "model.width=8",
    "training.max_epochs=2",
    "training.batch=8",
    "training.learning_rate_high=0.01",
    "training.precision=float32",
)


def small(recipe: str, *settings: str) -> Recipe:
    return read_recipe(recipe, [*QUICK, *settings])


ONE_VS_ALL = ("one_vs_all=true", "loss.name=binary-focal", "loss.class_weights=false")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def voting(phantoms: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "voting"
    return train(small("resnet-voting", "folds=3"), phantoms, out, cache=cache)


@pytest.fixture(scope="module")
def one_vs_all(phantoms: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "ova"
    return train(small("resnet-focal", *ONE_VS_ALL), phantoms, out, cache=cache)


def test_fold_members_share_out_the_films_and_spare_the_test_split(
    voting: Run, phantoms: Collection
) -> None:
    test = set(phantoms.split("test")["image"])
    held: list[str] = []
    for member in voting.members().values():
        assert member.recipe == small("resnet-voting", "folds=0")
        films = member.collection()
        assert set(films.split("test")["image"]) == test
        own = films.split("validation")
        assert not set(own["patient"]) & set(films.split("train")["patient"])
        held += own["image"].tolist()
    assert sorted(held) == sorted(set(phantoms.films["image"]) - test)
    assert not (voting.path / "weights.safetensors").exists()


def test_the_parent_counts_the_members_votes(voting: Run) -> None:
    table = voting.predictions("test")
    parts = [member.predictions("test") for member in voting.members().values()]
    for label in LABELS:
        chosen = sum((part["predicted"] == label).astype(int) for part in parts)
        assert table[f"votes_{label}"].tolist() == chosen.tolist()
        mean = np.mean([part[label] for part in parts], axis=0)
        assert table[label].to_numpy() == pytest.approx(mean, abs=1e-6)
    most = table[[f"votes_{label}" for label in LABELS]].max(axis=1)
    assert all(
        row[f"votes_{row['predicted']}"] == n
        for (_, row), n in zip(table.iterrows(), most, strict=True)
    )


def test_out_of_fold_predictions_stand_for_validation(voting: Run) -> None:
    table = voting.predictions("validation").set_index("image")
    for member in voting.members().values():
        own = member.predictions("validation").set_index("image")
        pd.testing.assert_frame_equal(table.loc[own.index, [*LABELS]], own[[*LABELS]])
    assert table.index.is_unique


def test_one_network_a_class(one_vs_all: Run) -> None:
    members = one_vs_all.members()
    assert list(members) == list(LABELS)
    table = one_vs_all.predictions("test")
    raw = np.stack([members[label].predictions("test")[label] for label in LABELS], axis=1)
    assert table[list(LABELS)].to_numpy() == pytest.approx(
        raw / raw.sum(axis=1, keepdims=True), abs=1e-6
    )
    assert table["predicted"].tolist() == [LABELS[best] for best in raw.argmax(axis=1)]
    own = members["tuberculosis"].predictions("test")
    assert set(own["label"]) == {"tuberculosis", "rest"}
    assert own[["tuberculosis", "rest"]].sum(axis=1).to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["voting", "one_vs_all"])
def test_a_loaded_run_predicts_as_its_table_and_explains(
    kind: str, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(kind)
    predictor = load(run.path)
    table = run.predictions("test")
    for image, row in table.set_index("image").iloc[:3].iterrows():
        prediction = predictor.predict(str(image))
        assert prediction.predicted == row["predicted"]
        assert list(prediction.probabilities.values()) == pytest.approx(
            row[list(LABELS)].tolist(), abs=1e-5
        )
        assert (
            set(prediction.row()) >= {"votes_normal"} if kind == "voting" else not prediction.votes
        )
        heat = prediction.explain(target="pneumonia").values
        assert 0 <= heat.min() <= heat.max() <= 1


def test_a_member_is_a_run_that_can_be_asked(one_vs_all: Run) -> None:
    member = load(one_vs_all.path / "members" / "tuberculosis")
    assert member.classes == ("tuberculosis", "rest")
    image = one_vs_all.predictions("test")["image"][0]
    assert set(member.predict(image).probabilities) == {"tuberculosis", "rest"}


@pytest.mark.slow
def test_evaluation_writes_a_report_for_parent_and_members(voting: Run, one_vs_all: Run) -> None:
    for run in (voting, one_vs_all):
        assert set(evaluate(run)) == {"validation", "test"}
        for of in (run, *run.members().values()):
            assert of.metrics()["test"]["films"] == len(run.predictions("test"))
            assert "Research use" in (of.path / "report.html").read_text()


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
def test_a_run_killed_in_its_last_fold_resumes_to_the_same_votes(
    voting: Run, phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(voting.recipe.to_yaml())
    phantoms.write(tmp_path / "films.csv")
    out = tmp_path / "killed"
    arguments = [tmp_path / "recipe.yaml", tmp_path / "films.csv", out, cache]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    epochs = voting.recipe.training.max_epochs
    for line in child.stdout:
        words = line.split()
        if line.startswith("fold-2: train batches") and int(words[-2]) > int(words[-1]) / epochs:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    finished = (out / "members/fold-0/weights.safetensors").stat().st_mtime_ns
    assert (out / "members/fold-2/versions.json").exists()
    assert not (out / "predictions-test.csv").exists()
    again = resume(out, cache=cache)
    assert (out / "members/fold-0/weights.safetensors").stat().st_mtime_ns == finished
    for split in ("validation", "test"):
        columns = ["predicted", *LABELS]
        pd.testing.assert_frame_equal(
            again.predictions(split)[columns], voting.predictions(split)[columns]
        )


def test_folds_of_the_user_are_kept(phantoms: Collection) -> None:
    films = phantoms.films
    number = films["patient"].map({name: n % 2 for n, name in enumerate(films["patient"].unique())})
    own = Collection(films.assign(fold=number.astype("Int64").mask(films["split"] == "test")))
    members = members_of(small("resnet-voting", "folds=2"), own)
    first = members["fold-0"][1].split("validation")["image"]
    assert set(first) == set(films.loc[(number == 0) & (films["split"] != "test"), "image"])
    with pytest.raises(CollectionError, match=r"holds \[0, 1\], the recipe wants 0 to 2"):
        members_of(small("resnet-voting", "folds=3"), own)


def test_folds_that_share_a_patient_are_refused(phantoms: Collection) -> None:
    number = range(len(phantoms.films))
    names = pd.array([("P1", "p1")[n % 2] for n in number], dtype="string")
    films = phantoms.films.assign(patient=names, fold=[n % 2 for n in number])
    with pytest.raises(CollectionError, match=r"patient [Pp]1 has films in several folds"):
        members_of(small("resnet-voting", "folds=2"), Collection(films))


def test_fewer_patients_than_folds(phantoms: Collection) -> None:
    with pytest.raises(CollectionError, match="fewer than the 20 parts"):
        members_of(small("resnet-voting", "folds=20"), phantoms)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("folds=1",), "one fold leaves nothing to train on"),
        (("one_vs_all=true",), "binary-focal goes with one_vs_all"),
        (("loss.name=binary-focal",), "binary-focal goes with one_vs_all"),
        ((*ONE_VS_ALL, "target=normal"), "say one of both"),
        (("loss.margin=0.1",), r"loss\.margin is of the svm head"),
        (("model.head=svn",), "did you mean svm"),
        (("augmentation.shfit=0.1",), r"did you mean augmentation\.shift"),
    ],
)
def test_settings_that_do_not_fit_together(settings: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        small("resnet-focal", *settings)


def test_augmentation_and_svm_train_and_resume_alike(
    phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    recipe = small(
        "resnet-focal",
        "model.head=svm",
        "loss.name=weston-watkins",
        "loss.margin=0.01",
        "augmentation.rotation=10",
        "augmentation.clahe=0.5",
    )

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "train batches" and done > total / recipe.training.max_epochs:
            raise KeyboardInterrupt

    whole = train(recipe, phantoms, tmp_path / "whole", cache=cache)
    with pytest.raises(RunError, match="interrupted"):
        train(recipe, phantoms, tmp_path / "cut", cache=cache, progress=interrupt)
    cut = resume(tmp_path / "cut", cache=cache)
    columns = ["train_loss", "validation_loss", "validation_accuracy"]
    pd.testing.assert_frame_equal(whole.history()[columns], cut.history()[columns])


def test_a_class_against_the_rest_needs_no_third_class(
    phantoms: Collection, cache: Path, tmp_path: Path
) -> None:
    films = phantoms.films[phantoms.films["label"] != "pneumonia"]
    alone = small("resnet-focal", "target=tuberculosis", "loss.name=binary-focal")
    run = train(alone, Collection(films), tmp_path / "r", cache=cache)
    assert set(evaluate(run)["test"].by_class) == {"tuberculosis", "rest"}
    others = Collection(phantoms.split("test").drop(columns="split"))
    found = evaluate_on(run.path, others, tmp_path / "on", cache=cache)
    assert (
        found.predictions["label"].value_counts()["rest"]
        == (others.films["label"] != "tuberculosis").sum()
    )
    none = films[films["label"] == "normal"]
    with pytest.raises(CollectionError, match="needs films of tuberculosis and of the rest"):
        train(alone, Collection(none), tmp_path / "s", cache=cache)
