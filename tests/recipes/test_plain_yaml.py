"""Recipes come as YAML, of which only what is plain is taken; whatever else it can do is one sentence."""

from pathlib import Path

import pytest

from cxrlens.errors import RecipeError
from cxrlens.recipes.recipe import read_recipe

HEAD = "name: mine\nmodel: {backbone: resnet}\n"


def test_what_looks_like_a_date_is_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + "about: 2001-99-99\n")
    assert read_recipe(path).about == "2001-99-99"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 2000, "line 1, column 17: more than 16 levels"),
        (HEAD + "seed: " + "9" * 5000, "4300 digits"),
        (HEAD + "seed: 0x" + "f" * 5000, "a number of thousands of digits"),
        (HEAD + "about: &a x\n", "line 3, column 8: anchors and aliases are not taken"),
        (HEAD + "side: 64\nside: 96\n", "line 4, column 1: side stands there twice: keep one"),
        (HEAD + "about: *a\n", "anchors and aliases are not taken"),
        (HEAD + "seed: !!int three\n", "line 3, column 7: tags are not taken"),
        (HEAD + "seed: 0b_\n", "is no YAML file that can be read"),
        (HEAD + 'about: "\\UFFFFFFFF"\n', "is no YAML file that can be read"),
        (HEAD + 'about: "\\uD800"\n', "about: .*valid string"),
        (HEAD + "about: " + "x" * 70_000, "more than 65,536 characters"),
        (HEAD + "loss: {gamma: .inf}\n", "loss.gamma: input should be a finite number"),
        (HEAD + "".join(f"k{n}: 1\n" for n in range(500)), "and 492 faults more"),
        ("a\0b", "is no YAML file that can be read"),
        ("- a\n", "holds no recipe"),
    ],
)
def test_what_is_not_plain_is_one_short_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=sentence) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_a_setting_is_read_by_the_same_rules() -> None:
    with pytest.raises(RecipeError, match=r"--set seed=\*a: the value cannot be read"):
        read_recipe("lite0-ffn", ["seed=*a"])


def test_a_file_of_other_bytes_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="damaged at byte 6, no UTF-8"):
        read_recipe(path)
