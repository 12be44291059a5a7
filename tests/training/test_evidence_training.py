"""Trainings of small evidence maps, and what else a recipe can ask of a training."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cxrlens.collections.collection import Collection, read_boxes, read_collection
from cxrlens.collections.combine import split
from cxrlens.errors import CollectionError, CxrlensError, RecipeError, RunError
from cxrlens.models.classifier import build_model
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction.torch_network import load_classifier
from cxrlens.radiographs.read import read_radiograph
from cxrlens.recipes.recipe import Recipe, Training, read_recipe
from cxrlens.runs import Run
from cxrlens.training.fit import resume, train
from cxrlens.training.losses import taught_map_loss
from cxrlens.training.module import build_optimiser, build_schedule
from cxrlens.training.together import blend, distil


def small(*settings: str) -> Recipe:
    shape = ("side=64", "model.backbone=resnet", "model.weights=none", "model.blocks=[8,16]")
    quick = ("training.batch=8", "training.max_epochs=3", "training.precision=float32")
    return read_recipe("evidence-lite0", [*shape, "model.width=8", *quick, *settings])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight drawn films with their boxes and lungs."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    return write_phantoms(folder, 48, seed=3, side=64, masks=True).parent


@pytest.fixture(scope="module")
def films(drawn: Path) -> Collection:
    return split(read_collection(drawn / "films.csv"), seed=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def tables(drawn: Path) -> dict[str, Path]:
    return {"boxes": drawn / "boxes.csv", "lungs": drawn / "lungs.csv"}


@pytest.fixture(scope="module")
def run(
    drawn: Path, films: Collection, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    return train(
        small(), films, tmp_path_factory.mktemp("runs") / "one", cache=cache, **tables(drawn)
    )


def test_a_run_keeps_what_it_was_taught_by(run: Run, drawn: Path, films: Collection) -> None:
    pd.testing.assert_frame_equal(
        read_boxes(run.boxes).table, read_boxes(drawn / "boxes.csv").table
    )
    assert run.lungs.is_file()
    assert (run.history()["train_map_loss"] > 0).all()
    assert len(run.predictions("test")) == len(films.split("test"))


def test_the_rate_climbs_once_and_ends_at_nothing(run: Run) -> None:
    rates = run.history()["learning_rate"]
    assert rates.is_monotonic_decreasing
    assert rates.iloc[-1] < 1e-6


def test_the_average_is_what_is_kept(
    run: Run, drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    plain = train(small("training.average=0"), films, tmp_path / "r", cache=cache, **tables(drawn))
    averaged, own = load_file(run.weights), load_file(plain.weights)
    moved = [key for key in own if not torch.equal(own[key], averaged[key])]
    assert "head.evidence.weight" in moved
    # The average lags behind; both come from the same training, whose losses are the same.
    pd.testing.assert_series_equal(run.history()["train_loss"], plain.history()["train_loss"])
    torch.manual_seed(0)
    start = build_model(small().network, 3).state_dict()["head.evidence.weight"]
    key = "head.evidence.weight"
    assert (averaged[key] - start).norm() < (own[key] - start).norm()


def test_an_interrupted_run_resumes_to_the_same_weights(
    run: Run, drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        epochs = small().training.max_epochs
        if stage == "train batches" and done > 2 * total / epochs:
            raise KeyboardInterrupt

    out = tmp_path / "r"
    with pytest.raises(RunError, match="interrupted"):
        train(small(), films, out, cache=cache, progress=interrupt, **tables(drawn))
    finished = resume(out, cache=cache)
    first, second = load_file(run.weights), load_file(finished.weights)
    assert all(torch.equal(first[key], second[key]) for key in first)
    columns = ["epoch", "train_loss", "train_map_loss", "validation_accuracy", "learning_rate"]
    pd.testing.assert_frame_equal(run.history()[columns], finished.history()[columns])


def test_a_distilled_map_is_nearer_to_what_its_teachers_say_than_their_mean_weights(
    run: Run, drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    quick = small("training.learning_rate_high=1e-2", "training.max_epochs=6")
    other = train(quick, films, tmp_path / "other", cache=cache, **tables(drawn))
    both = [run.path, other.path]
    settings = [
        "distil.labels=0",
        "distil.places=30",
        "training.learning_rate_high=3e-3",
        "training.max_epochs=8",
    ]
    taught = distil(both, tmp_path / "taught", settings=settings, cache=cache)
    mean = blend(both, tmp_path / "mean", cache=cache)
    pixels = torch.stack(
        [torch.from_numpy(read_radiograph(image)) for image in films.split("train")["image"]]
    )
    with torch.inference_mode():
        maps = [load_classifier(of).eval()(pixels).map for of in (run, other, taught, mean)]
    theirs = (maps[0] + maps[1]) / 2
    assert taught_map_loss(maps[2], theirs) < 0.5 * taught_map_loss(maps[3], theirs)


def test_the_last_epoch_is_kept_and_training_never_stops_early(
    drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    rate = ("training.learning_rate_low=1e-12", "training.learning_rate_high=1e-12")
    settings = small("training.patience=1", "training.max_epochs=4", *rate)
    done = train(settings, films, tmp_path / "r", cache=cache, **tables(drawn))
    assert len(done.history()) == 4


def test_what_is_loaded_brings_its_map(run: Run) -> None:
    model = load_classifier(run)
    with torch.inference_mode():
        scores, own, *_ = model(torch.zeros(2, 64, 64, dtype=torch.uint8))
    assert scores.shape == (2, 3)
    assert own is not None
    assert own.shape == (2, 2, 8, 8)


def test_folds_are_taught_too(drawn: Path, films: Collection, cache: Path, tmp_path: Path) -> None:
    settings = small("folds=2", "training.max_epochs=1")
    done = train(settings, films, tmp_path / "r", cache=cache, **tables(drawn))
    assert all(member.boxes.is_file() for member in done.members().values())


@pytest.mark.parametrize(
    ("settings", "given", "sentence"),
    [
        (
            (),
            ("lungs",),
            r"teaches its map with boxes, and no table .*: --boxes FILE, or --set map\.boxes=0",
        ),
        ((), (), r"with boxes and lungs, .*--boxes FILE --lungs FILE, or .*=0 --set map\.lungs=0"),
        ((), ("boxes",), r"teaches its map with lungs, .*--set map\.lungs=0"),
        (("map.lungs=0",), ("boxes", "lungs"), "no map that lungs teach"),
    ],
)
def test_tables_that_are_missing_or_too_many(
    drawn: Path,
    films: Collection,
    cache: Path,
    tmp_path: Path,
    settings: tuple[str, ...],
    given: tuple[str, ...],
    sentence: str,
) -> None:
    chosen = {name: path for name, path in tables(drawn).items() if name in given}
    with pytest.raises(RecipeError, match=sentence):
        train(small(*settings), films, tmp_path / "r", cache=cache, **chosen)
    assert not (tmp_path / "r").exists()


def test_an_ordinary_recipe_has_no_use_for_boxes(
    drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    recipe = read_recipe("resnet-focal", ["side=64"])
    with pytest.raises(RecipeError, match="resnet-focal has no map that boxes teach"):
        train(recipe, films, tmp_path / "r", cache=cache, boxes=drawn / "boxes.csv")


def test_the_source_s_prior_needs_sources(
    drawn: Path, films: Collection, cache: Path, tmp_path: Path
) -> None:
    unnamed = Collection(films.films.drop(columns="source"))
    with pytest.raises(CollectionError, match="has no column 'source'"):
        train(small(), unnamed, tmp_path / "r", cache=cache, **tables(drawn))
    some = Collection(films.films.assign(source=films.films["source"].mask(films.films.index == 3)))
    with pytest.raises(CollectionError, match="1 films have no source"):
        train(small(), some, tmp_path / "r", cache=cache, **tables(drawn))


def test_balance_does_without_sources(films: Collection, cache: Path, tmp_path: Path) -> None:
    unnamed = Collection(films.films.drop(columns="source"))
    settings = ("training.source_prior=false", "map=null", "training.max_epochs=1")
    done = train(small(*settings), unnamed, tmp_path / "r", cache=cache)
    assert len(done.history()) == 1


def test_decay_spares_biases_and_norms() -> None:
    model = build_model(small().network, 3)
    settings = Training(optimiser="adamw", weight_decay=0.1)
    first, second = build_optimiser(settings, model.parameters()).param_groups
    assert (first["weight_decay"], second["weight_decay"]) == (0.1, 0.0)
    assert all(weight.ndim > 1 for weight in first["params"])
    assert all(weight.ndim == 1 for weight in second["params"])
    assert len(first["params"]) + len(second["params"]) == len(list(model.parameters()))


def test_one_cycle_begins_low_and_peaks_once() -> None:
    settings = Training(
        schedule="one-cycle", learning_rate_low=1e-4, learning_rate_high=1e-2, max_epochs=4
    )
    optimiser = build_optimiser(settings, [torch.nn.Parameter(torch.zeros(2, 2))])
    schedule = build_schedule(settings, optimiser, steps=25)
    rates = []
    for _ in range(100):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(1e-2, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(14, abs=1)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("model.head=feed-forward",), "the key map teaches an evidence map"),
        (("one_vs_all=true", "loss.name=binary-focal"), "score all three classes"),
        (("loss.name=weston-watkins",), "source_prior adds to log probabilities"),
        (("training.sampling=shuffled",), "films_per_cell is of sampling=balanced"),
        (("training.optimiser=adam",), "weight_decay is of optimiser=adamw"),
        (("map.boxs=1",), r"unknown key map\.boxs; did you mean map\.boxes"),
        (("model.head=evidence",), "did you mean evidence-map"),
    ],
)
def test_recipes_that_contradict_themselves(settings: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CxrlensError, match=sentence):
        small(*settings)
