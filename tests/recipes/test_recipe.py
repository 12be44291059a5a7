from pathlib import Path

import pytest

from cxrlens.errors import RecipeError
from cxrlens.recipes.recipe import Recipe, read_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_called_like_their_file(name: str) -> None:
    assert read_recipe(name).name == name


def test_the_report_rows_say_what_the_report_says() -> None:
    recipe = read_recipe("resnet-focal")
    assert recipe.model.blocks == (128, 256, 512)
    assert (recipe.model.width, recipe.model.dropout, recipe.model.weights) == (512, 0.1, "none")
    assert (recipe.loss.name, recipe.loss.gamma, recipe.loss.class_weights) == ("focal", 2, True)
    assert recipe.quality == "report"
    assert recipe.side == 224
    training = recipe.training
    assert (training.learning_rate_low, training.learning_rate_high) == (1e-5, 1e-4)
    assert (training.batch, training.patience, training.max_epochs, training.cycle) == (
        32,
        8,
        80,
        8,
    )
    other = read_recipe("resnet-cross-entropy")
    assert (other.loss.name, other.loss.class_weights) == ("cross-entropy", False)
    assert other.model == recipe.model
    assert other.training == recipe.training


def test_settings_change_single_keys() -> None:
    recipe = read_recipe(
        "lite0-ffn", ["training.learning_rate_high=1e-4", "side=160", "loss.class_weights=true"]
    )
    assert recipe.training.learning_rate_high == 1e-4
    assert recipe.side == 160
    assert recipe.loss.class_weights is True


def test_yaml_holds_the_whole_recipe(tmp_path: Path) -> None:
    recipe = read_recipe("resnet-focal", ["seed=3"])
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    assert read_recipe(tmp_path / "mine.yaml") == recipe


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("training.bach=3", r"unknown key training\.bach; did you mean training\.batch\?"),
        ("modle.backbone=resnet", r"unknown key modle; did you mean model\?"),
        (
            "loss.name=focall",
            r"loss\.name is 'focall', allowed are cross-entropy, focal, .*; did you mean focal",
        ),
        ("training.batch=many", r"training\.batch.*'many'"),
        ("training.batch=1", r"training\.batch: .*greater than or equal to 2"),
        ("quality=raport", r"quality: 'raport' is none of none, report"),
        ("training.learning_rate_low=1", "learning_rate_low is above learning_rate_high"),
        ("training.batch", "write it as key=value"),
        ("side.deep=1", "side holds a value"),
        ("name=Bad Name", "name"),
    ],
)
def test_faults_name_the_key_and_the_way_out(setting: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence) as caught:
        read_recipe("lite0-ffn", [setting])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean lite0-ffn"):
        read_recipe("lite0-fnn")


@pytest.mark.parametrize("text", ["- a\n", "a: [", "", "\x00"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        read_recipe(tmp_path / "mine.yaml")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(RecipeError, match="either the key model or the key baseline"):
        read_recipe(tmp_path / "mine.yaml")


def test_a_recipe_cannot_be_changed_by_accident() -> None:
    recipe: Recipe = read_recipe("lite0-ffn")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "setting", "sentence"),
    [
        ("thumbnail-ridge", "training.batch=8", "a baseline has no training"),
        ("resnet-focal", "folds=1", "one fold leaves nothing to train on"),
        ("effnet-one-vs-all", "target=normal", "say one of both"),
        ("resnet-focal", "one_vs_all=true", "binary-focal goes with one_vs_all"),
        ("resnet-focal", "loss.margin=0.5", "loss.margin is of the svm head"),
        ("resnet-focal", "map.boxes=1", "the key map teaches an evidence map"),
        ("resnet-focal", "model.counts=lungs", "only an evidence map counts in the lungs"),
        ("resnet-focal", "augmentation.transplant=0.1", "transplant needs boxes"),
        ("effnet-one-vs-all", "training.source_prior=true", "source_prior"),
        ("effnet-svm", "training.source_prior=true", "source_prior"),
        ("resnet-focal", "training.films_per_cell=4", "films_per_cell is of sampling=balanced"),
        ("resnet-focal", "training.learning_rate_low=9", "learning_rate_low is above"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    name: str, setting: str, sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        read_recipe(name, [setting])


def test_a_baseline_has_no_network() -> None:
    ridge = read_recipe("thumbnail-ridge")
    assert ridge.backbone == "thumbnail-ridge"
    with pytest.raises(RecipeError, match="thumbnail-ridge is a baseline"):
        _ = ridge.network


def test_recipes_say_what_they_need() -> None:
    assert read_recipe("resnet-focal").needs == ()
    assert read_recipe("lite0-ffn").needs == ("the extra offline",)
    assert read_recipe("convnext-plain").needs == ("the model hub or --weights",)
    assert read_recipe("evidence-lungs").needs[1:] == ("--boxes", "--lungs", "films with sources")
    own = read_recipe("lite0-ffn", ["model.weights=mine.pth", "leave_out.in_turn=each"])
    assert own.needs == ("the file mine.pth", "films with sources")
