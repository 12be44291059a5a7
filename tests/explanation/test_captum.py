"""Grad-CAM and HiResCAM against captum's, an independent library."""

import numpy as np
import pytest
import torch
from torch import nn

from cxrlens.explanation.network_maps import gradcam, hirescam
from cxrlens.models.backbones import build_backbone
from cxrlens.models.classifier import EvidenceClassifier, FilmClassifier, feed_forward
from cxrlens.prediction.torch_network import TorchNetwork

captum = pytest.importorskip("captum.attr")

FILM = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)


def perturbed(name: str) -> FilmClassifier:
    """Fresh timm networks zero their last norms, which would hide faults."""
    torch.manual_seed(1)
    backbone = build_backbone(name, "none", (8, 16))
    return shaken(FilmClassifier(backbone, feed_forward(backbone.channels, 8, 3)))


def shaken(model: FilmClassifier) -> FilmClassifier:
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.data.normal_(0, 0.1)
            part.running_var.data.uniform_(0.5, 1.5)
    for weights in model.parameters():
        if weights.ndim == 1:
            weights.data += torch.randn_like(weights) * 0.3
    return model.eval()


def last_layer(model: FilmClassifier) -> nn.Module:
    network = model.backbone.network
    for name in ("bn2", "stages", "blocks"):
        if hasattr(network, name):
            return getattr(network, name)
    raise AssertionError


@pytest.mark.parametrize(
    "name",
    [
        "resnet",
        "convnext_atto",
        "tf_efficientnet_lite0",
        *(f"tf_efficientnetv2_b{size}" for size in range(4)),
    ],
)
def test_it_is_captum_s(name: str) -> None:
    model = perturbed(name)
    films = torch.from_numpy(FILM)[None].float()
    highest = 0.0
    for target in range(3):
        theirs = captum.LayerGradCam(lambda x: model(x).scores, last_layer(model)).attribute(
            films, target=target, relu_attributions=True
        )
        theirs = theirs[0, 0].detach().numpy()
        ours = gradcam(TorchNetwork([model], len(FILM)).slopes(FILM, 0, target))
        assert ours.shape == theirs.shape
        if theirs.max() > 0:
            assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] >= 0.999
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4 * float(theirs.max()))
        else:
            assert ours.max() == 0
        highest = max(highest, float(theirs.max()))
    assert highest > 0


@pytest.mark.parametrize("counts", ["film", "lungs"])
def test_it_is_captum_s_where_a_map_follows_the_layer(counts: str) -> None:
    torch.manual_seed(1)
    backbone = build_backbone("tf_efficientnet_lite0", "none", ())
    model = shaken(EvidenceClassifier(backbone, 3, 8, standardise="film", counts=counts))
    of = TorchNetwork([model], len(FILM)).slopes(FILM, 0, 2)
    # The lungs join the maps in no layer of the network, so that the maps are handed on through one.
    layer = nn.Identity()
    films = torch.from_numpy(FILM)[None].float()
    for method, cam in (
        (captum.LayerGradCam, gradcam),
        (captum.LayerGradientXActivation, hirescam),
    ):
        asked = method(lambda x: model.scores(layer(model.maps(x))), layer)
        theirs = asked.attribute(films, target=2)[0].sum(0).clamp(min=0).detach().numpy()
        assert theirs.max() > 0
        assert cam(of) == pytest.approx(theirs, rel=1e-3, abs=1e-4 * float(theirs.max()))
