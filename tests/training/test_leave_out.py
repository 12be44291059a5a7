"""Real trainings of thumbnails on small drawn films of several made-up places."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.cli.evaluate import say_metrics
from cxrlens.collections.collection import Collection
from cxrlens.errors import CollectionError, RecipeError
from cxrlens.evaluation.against_normal import disease_score
from cxrlens.evaluation.measured import read_metrics
from cxrlens.main_job import evaluate, go_on, train
from cxrlens.prediction.predictor import load
from cxrlens.recipes.leave_out import leave_out, staying
from cxrlens.recipes.recipe import Recipe, read_recipe
from cxrlens.runs.run import Run
from cxrlens.training.fit import train as fit
from cxrlens.training.tuning import space_of

SMALL = ("side=64", "baseline.thumbnail=8")


@pytest.fixture(scope="module")
def placed(phantoms: Collection) -> Collection:
    """The drawn films as of four places: every class at ``here`` and ``there``, the others hold two."""
    films = phantoms.films.sort_values("label", ignore_index=True)
    number = films.groupby("label").cumcount()
    sources = number.map(lambda n: ("here", "there", "nih", "qatar")[n % 4]).astype("string")
    lone = sources.isin(["nih", "qatar"]) & films["label"].eq("pneumonia")
    splits = number.map(lambda n: ("train", "validation", "test", "train")[n // 4 % 4])
    return Collection(
        films.assign(
            source=sources.mask(lone, "here"),
            split=splits.astype("string"),
            patient=[f"P{n}" for n in films.index],
            rsna_class="Lung Opacity",
        )
    )


def ridge(*settings: str) -> Recipe:
    return read_recipe("thumbnail-ridge", [*SMALL, *settings])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def in_turn(placed: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "each"
    return train(ridge("leave_out.in_turn=each"), placed, out, cache=cache)


def test_films_of_a_left_out_source_are_outside_and_nowhere_else(
    placed: Collection, cache: Path, tmp_path: Path
) -> None:
    run = train(ridge("leave_out.sources=[there]"), placed, tmp_path / "one", cache=cache)
    films = run.collection().films
    assert (films["split"].eq("outside") == films["source"].eq("there")).all()
    kept = films["source"] != "there"
    assert (films.loc[kept, "split"] == placed.films.loc[kept, "split"]).all()
    outside = run.predictions("outside")
    assert set(outside["source"]) == {"there"}
    assert len(outside) == (placed.films["source"] == "there").sum()
    assert set(outside["rsna_class"]) == {"Lung Opacity"}
    for split in ("validation", "test"):
        assert "there" not in set(run.predictions(split)["source"])
    assert run.recipe.leave_out.sources == ("there",)
    found = read_metrics(run.path / "metrics.json")
    assert list(found) == ["validation", "test", "outside"]
    assert list(found["outside"].diseases["tuberculosis"].within) == ["there"]
    assert "At places it never saw" in (run.path / "report.html").read_text()


def test_it_learns_from_the_other_films_alone(
    placed: Collection, cache: Path, tmp_path: Path
) -> None:
    run = fit(ridge("leave_out.sources=[there]"), placed, tmp_path / "one", cache=cache)
    fewer = Collection(placed.films[placed.films["source"] != "there"])
    same = fit(ridge(), fewer, tmp_path / "fewer", cache=cache)
    assert run.weights.read_bytes() == same.weights.read_bytes()
    whole = fit(ridge(), placed, tmp_path / "whole", cache=cache)
    assert run.weights.read_bytes() != whole.weights.read_bytes()


def test_every_source_is_judged_by_a_run_that_did_not_see_it(
    in_turn: Run, placed: Collection
) -> None:
    members = in_turn.outside()
    assert list(members) == ["here", "nih-qatar", "there"]
    outside = in_turn.predictions("outside").set_index("image")
    assert sorted(outside.index) == sorted(placed.films["image"])
    within = read_metrics(in_turn.path / "metrics.json")["outside"].diseases["tuberculosis"].within
    for name, member in members.items():
        gone = set(in_turn.recipe.outside[name])
        own = member.predictions("outside")
        assert set(own["source"]) == gone
        assert not set(member.collection().split("train")["source"]) & gone
        columns = ["normal", "pneumonia", "tuberculosis"]
        pd.testing.assert_frame_equal(
            outside.loc[own["image"], columns].reset_index(drop=True), own[columns]
        )
        for source in gone:
            films = own[(own["source"] == source) & own["label"].isin(["normal", "tuberculosis"])]
            expected = roc_auc_score(
                films["label"] == "tuberculosis", disease_score(films, "tuberculosis")
            )
            assert within[source].auc.value == pytest.approx(expected)
            assert (member.path / "report.html").is_file()


def test_the_run_itself_is_the_model_of_all_films(
    in_turn: Run, placed: Collection, cache: Path, tmp_path: Path
) -> None:
    whole = fit(ridge(), placed, tmp_path / "whole", cache=cache)
    assert in_turn.weights.read_bytes() == whole.weights.read_bytes()
    image = placed.films["image"].iloc[0]
    assert (
        load(in_turn.path).predict(image).probabilities
        == load(whole.path).predict(image).probabilities
    )
    before = Run(in_turn.path).digest
    (in_turn.path / "outside" / "extra").mkdir()
    (in_turn.path / "outside" / "extra" / "recipe.yaml").write_text("name: x")
    assert Run(in_turn.path).digest == before


@pytest.mark.slow
def test_an_interrupted_turn_is_taken_up_where_it_stopped(
    in_turn: Run, placed: Collection, cache: Path, tmp_path: Path
) -> None:
    def stop(stage: str, done: int, of: int) -> None:
        if stage == "without nih and qatar: predict test":
            raise KeyboardInterrupt

    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(ridge("leave_out.in_turn=each"), placed, out, cache=cache, progress=stop)
    finished = (out / "outside/here/weights.safetensors").stat().st_mtime_ns
    assert not (out / "predictions-outside.csv").exists()
    again = go_on(out, cache=cache)
    assert (out / "outside/here/weights.safetensors").stat().st_mtime_ns == finished
    columns = ["normal", "pneumonia", "tuberculosis", "source"]
    pd.testing.assert_frame_equal(
        again.predictions("outside")[columns], in_turn.predictions("outside")[columns]
    )
    stored = json.loads((out / "metrics.json").read_text())
    assert stored == json.loads((in_turn.path / "metrics.json").read_text())


@pytest.mark.slow
def test_folds_deal_out_the_films_inside(placed: Collection, cache: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        "resnet-voting",
        [
            *("side=64", "folds=2", "model.blocks=[4]", "model.width=4", "training.max_epochs=1"),
            *("training.precision=float32", "leave_out.sources=[there]"),
        ],
    )
    run = fit(recipe, placed, tmp_path / "voting", cache=cache)
    assert "there" not in set(run.predictions("validation")["source"])
    assert set(run.predictions("outside")["source"]) == {"there"}
    assert set(evaluate(run)) == {"validation", "test", "outside"}


def test_sources_that_share_patients_or_a_hospital_go_together(placed: Collection) -> None:
    recipe, left = leave_out(ridge("leave_out.sources=[nih]"), placed)
    assert recipe.leave_out.sources == ("nih", "qatar")
    assert set(left.films.loc[left.films["split"] == "outside", "source"]) == {"nih", "qatar"}
    apart = ridge("leave_out.sources=[nih]", "leave_out.together=[]")
    assert leave_out(apart, placed)[0].leave_out.sources == ("nih",)
    films = placed.films.copy()
    films["patient"] = films["patient"].mask(
        films["source"].isin(["here", "qatar"]), "one person of two places"
    )
    each, _ = leave_out(
        ridge("leave_out.in_turn=[there,[qatar]]", "leave_out.together=[]"), Collection(films)
    )
    assert each.leave_out.in_turn == (("there",), ("here", "qatar"))


def test_a_person_is_never_left_out_and_learnt_from(placed: Collection) -> None:
    films = placed.films.copy()
    there, here, qatar = (
        films.index[films["source"] == name][0] for name in ("there", "here", "qatar")
    )
    films.loc[[there, here, qatar], "patient"] = ["X-7", "x-7", "12"]
    films.loc[here, "source"] = pd.NA
    apart = ridge("leave_out.sources=[there]", "leave_out.together=[]")
    recipe, left = leave_out(apart, Collection(films))
    assert recipe.leave_out.sources == ("there",)
    assert left.films.loc[[there, here], "split"].eq("outside").all()
    films.loc[films["source"].eq("nih"), "patient"] = "x-7"
    assert leave_out(apart, Collection(films))[0].leave_out.sources == ("nih", "there")
    films.loc[here, "patient"] = "12.0"
    films.loc[films["source"].eq("nih"), "patient"] = "12"
    recipe, left = leave_out(
        ridge("leave_out.in_turn=[[nih]]", "leave_out.together=[]"), Collection(films)
    )
    assert recipe.leave_out.in_turn == (("nih", "qatar"),)


def test_copies_of_validation_films_choose_no_threshold_and_are_told(
    in_turn: Run, placed: Collection, tmp_path: Path
) -> None:
    for split in ("test", "validation"):
        films = placed.split(split)[["image", "label"]]
        for image in films["image"]:
            shutil.copy(image, tmp_path / f"{split}-{Path(image).name}")
        copies = [f"{split}-{Path(image).name}" for image in films["image"]]
        films.assign(image=copies).to_csv(tmp_path / "films.csv", index=False)
        verb = ["evaluate", str(tmp_path / "films.csv"), "--model", str(in_turn.path)]
        done = CliRunner().invoke(app, [*verb, "-o", str(tmp_path / split)])
        assert done.exit_code == 0, done.output
        seen = split == "validation"
        points = pd.read_csv(tmp_path / split / "operating-points.csv")
        assert ("validation films" in set(points["chosen_on"])) != seen
        assert ("the figures flatter" in " ".join(done.output.split())) == seen


def test_a_source_that_a_class_needs_stays_and_that_is_said(placed: Collection) -> None:
    films = placed.films
    films = films.assign(source=films["source"].mask(films["label"].eq("pneumonia"), "here"))
    recipe, left = leave_out(ridge("leave_out.in_turn=each"), Collection(films))
    assert recipe.leave_out.in_turn == (("nih", "qatar"), ("there",))
    assert staying(recipe, left) == {
        "here": "here is in every training: without it there is no film of pneumonia."
    }
    with pytest.raises(
        CollectionError, match="leaving out here leaves no film of pneumonia: leave another"
    ):
        leave_out(ridge("leave_out.sources=[here]"), Collection(films))
    with pytest.raises(CollectionError, match="leaving out here leaves no film of pneumonia"):
        leave_out(ridge("leave_out.in_turn=[[there],[here]]"), Collection(films))
    with pytest.raises(CollectionError, match="no source can be left out: leaving out one leaves"):
        leave_out(ridge("leave_out.in_turn=each"), Collection(films.assign(source="one")))


def test_what_cannot_be_said_of_a_place_is_said(
    placed: Collection, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = placed.films
    ill = films["source"].eq("there") & films["label"].ne("normal")
    films = films.assign(source=films["source"].mask(ill, "here"))
    run = train(
        ridge('leave_out.sources=["there","nih"]'), Collection(films), tmp_path / "run", cache=cache
    )
    say_metrics(run)
    said = " ".join(capsys.readouterr().out.split())
    assert "No training saw nih, qatar and there." in said
    assert "pneumonia, all films, nih, qatar and there: no pneumonia films there" in said
    assert "tuberculosis, there: no tuberculosis films there to hold against the others." in said


def test_names_that_are_no_sources_are_refused(placed: Collection) -> None:
    with pytest.raises(
        CollectionError, match=r"no film is from the source 'theer'; did you mean there\?"
    ):
        leave_out(ridge("leave_out.sources=[theer]"), placed)
    with pytest.raises(
        CollectionError, match="no film is from the source 'x'; there are here, nih"
    ):
        leave_out(ridge("leave_out.in_turn=[[x]]"), placed)
    bare = Collection(placed.films.drop(columns="source"))
    with pytest.raises(
        CollectionError, match="the collection has no sources, so none can be left out"
    ):
        leave_out(ridge("leave_out.in_turn=each"), bare)
    with pytest.raises(CollectionError, match="no film is from the source 'all'"):
        leave_out(ridge("leave_out.in_turn=all"), placed)
    with pytest.raises(RecipeError, match=r"leave_out\.sources"):
        ridge("leave_out.sources=3")
    with pytest.raises(RecipeError, match=r"leave_out\.in_turn"):
        ridge("leave_out.in_turn=3")
    with pytest.raises(RecipeError, match="tune one network"):
        space_of(read_recipe("lite0-ffn", ["leave_out.in_turn=each"]))


def test_folder_names_are_safe_and_differ() -> None:
    recipe = ridge('leave_out.in_turn=[["a/b"],["a b"],["../.."],["Ünit"]]')
    assert list(recipe.outside) == ["a-b", "a-b-2", "source", "ünit"]


def test_sources_that_hold_the_same_film_go_together(
    placed: Collection, cache: Path, tmp_path: Path
) -> None:
    films = placed.films.copy()
    here = films.index[films["source"].eq("here") & films["split"].eq("train")][0]
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(films.loc[here, "image"]).read_bytes())
    again = films.loc[[here]].assign(image=str(copy), source="sakha", patient="another name")
    doubled = Collection(pd.concat([films, again], ignore_index=True))
    run = fit(ridge("leave_out.sources=[sakha]"), doubled, tmp_path / "one", cache=cache)
    assert run.recipe.leave_out.sources == ("here", "sakha")
    assert set(run.predictions("outside")["source"]) == {"here", "sakha"}
