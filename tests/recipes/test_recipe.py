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
