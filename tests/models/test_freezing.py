"""The frozen part ends at the layer that SYSTEM §5 names, counted on the published architectures."""

import pytest
import torch
from torch import nn

from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import build_backbone
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.recipes.recipe import Model, read_recipe

PUBLISHED = {
    # keras.applications, without the classifier: weights and moving statistics.
    "convnext_tiny.fb_in1k": 27_820_128,
    "tf_efficientnetv2_b3.in1k": 12_930_622,
    # timm's results table: 25.56 M with its classifier of 2,049,000.
    "resnet50": 25_557_032 - 2_049_000 + 2 * 26_560,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_architectures_have_the_published_size(name: str, count: int) -> None:
    network = build_backbone(name, "none").network
    statistics = (value for key, value in network.named_buffers() if "running_" in key)
    assert sum(of.numel() for of in (*network.parameters(), *statistics)) == count


def model(recipe: str, *settings: str) -> FilmClassifier:
    part = read_recipe(recipe, ["model.weights=none", *settings]).model
    return build_model(part, 3)


def split_names(of: FilmClassifier) -> tuple[set[str], set[str]]:
    parameters = dict(of.backbone.network.named_parameters())
    frozen = {name for name, weight in parameters.items() if not weight.requires_grad}
    return frozen, set(parameters) - frozen


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("effnet-svm", ()), ("effnet-svm", ("model.backbone=tf_efficientnet_lite0",))],
)
def test_efficientnet_s_first_blocks(recipe: str, settings: tuple[str, ...]) -> None:
    frozen, trained = split_names(model(recipe, *settings))
    first = (
        "conv_stem.",
        "bn1.",
        "blocks.0.",
        "blocks.1.",
        "blocks.2.",
        "blocks.3.0.",
        "blocks.3.1.",
    )
    assert all(name.startswith(first) for name in frozen)
    assert not any(name.startswith(first) for name in trained)
    assert {name.split(".")[0] for name in frozen} == {"conv_stem", "bn1", "blocks"}


def test_convnext_is_frozen_inside_the_fourth_block_of_its_third_stage() -> None:
    frozen, trained = split_names(model("convnext-plain"))
    block = "stages.2.blocks.3."
    inside = {name.removeprefix(block) for name in frozen if name.startswith(block)}
    assert inside == {
        "conv_dw.weight",
        "conv_dw.bias",
        "norm.weight",
        "norm.bias",
        "mlp.fc1.weight",
        "mlp.fc1.bias",
    }
    assert {
        f"{block}gamma",
        f"{block}mlp.fc2.weight",
        "stages.2.blocks.4.conv_dw.weight",
    } <= trained
    assert {"stem.0.weight", "stages.0.blocks.0.gamma", "stages.2.downsample.1.weight"} <= frozen
    assert not any(name.startswith(("stages.3.", "head.")) for name in frozen)


def test_a_frozen_batch_norm_stays_in_inference_mode() -> None:
    network = model("effnet-svm", "model.backbone=tf_efficientnet_lite0").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.randint(0, 256, (4, 64, 64), dtype=torch.uint8)).scores.sum().backward()
    changed = {
        key
        for key, value in network.state_dict().items()
        if "running_" in key and not torch.equal(value, before[key])
    }
    norms = {
        name
        for name, of in network.named_modules()
        if isinstance(of, nn.BatchNorm2d) and of.training
    }
    assert changed == {f"{name}.running_{part}" for name in norms for part in ("mean", "var")}
    assert "backbone.network.blocks.3.2.bn1" in norms
    assert "backbone.network.blocks.3.1.bn1" not in norms
    assert network.train().backbone.network.get_submodule("bn1").training is False


def test_an_unknown_layer_names_the_nearest() -> None:
    part = Model(backbone="tf_efficientnet_lite0", weights="none", frozen="blocks.3.9")
    with pytest.raises(CxrlensError, match=r"no layer 'blocks\.3\.9'; did you mean blocks\.3"):
        build_model(part, 3)
