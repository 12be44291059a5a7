"""A network that brings its own map."""

import math
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from cxrlens.errors import CxrlensError
from cxrlens.lungs import find_lungs
from cxrlens.models.classifier import FLAT, FilmClassifier, LungNetwork, build_model, soft_maximum
from cxrlens.phantoms import draw_phantom
from cxrlens.recipes.recipe import Model

FILMS = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator())


def evidence(backbone: str, **of: object) -> FilmClassifier:
    settings = {"head": "evidence-map", "width": 8, "weights": "none", "standardise": "film"} | of
    torch.manual_seed(0)
    return build_model(Model(backbone=backbone, **settings), 3).eval()


@pytest.mark.parametrize(
    ("backbone", "side"),
    # The finer of two depths: a sixteenth of the side; of our own network with two blocks an eighth.
    [
        ("tf_efficientnet_lite0", 4),
        ("convnext_atto", 4),
        ("resnet18", 4),
        ("regnety_002", 4),
        ("resnet", 8),
    ],
)
def test_the_scores_are_pooled_from_the_map(backbone: str, side: int) -> None:
    model = evidence(backbone, blocks=(8, 16))
    with torch.inference_mode():
        scores, own, *_ = model(FILMS)
    assert own is not None
    assert own.shape == (2, 2, side, side)
    assert scores.shape == (2, 3)
    bias = model.head.bias.detach().numpy()  # type: ignore[union-attr]
    for film in range(2):
        assert float(scores[film, 0]) == pytest.approx(bias[0], abs=1e-6)
        for disease in range(2):
            places = own[film, disease].double().flatten().tolist()
            mean = sum(math.exp(2 * place) for place in places) / len(places)
            assert float(scores[film, disease + 1]) == pytest.approx(
                math.log(mean) / 2 + bias[disease + 1], abs=1e-4
            )


def test_its_features_lead_to_the_same_scores() -> None:
    model = evidence("tf_efficientnet_lite0")
    with torch.inference_mode():
        maps = model.maps(FILMS)
        assert maps.shape == (2, 8, 4, 4)
        assert torch.equal(model.scores(maps), model(FILMS).scores)


def test_a_soft_maximum_lies_between_mean_and_maximum() -> None:
    maps = torch.randn(5, 2, 6, 6)
    pooled = soft_maximum(maps, 2.0)
    assert (pooled > maps.mean((2, 3))).all()
    assert (pooled < maps.amax((2, 3))).all()
    assert soft_maximum(torch.full((1, 1, 3, 3), 4.0), 8.0).item() == pytest.approx(4.0)


def test_the_house_s_lung_network_is_the_same_in_pytorch() -> None:
    film = draw_phantom(3, "normal", side=128).film
    greys = (film - film.mean()) / (film.std() + 255 * FLAT)
    with torch.inference_mode():
        found = LungNetwork()(torch.from_numpy(greys).float()[None, None])
    expected = find_lungs(film).likely / 255
    assert found.shape == (1, 1, 128, 128)
    assert np.abs(found.sigmoid()[0, 0].numpy() - expected).mean() < 0.01
    assert expected.mean() > 0.1


def test_a_map_can_count_in_the_lungs_alone() -> None:
    everywhere = evidence("tf_efficientnet_lite0", counts="film")
    inside = evidence("tf_efficientnet_lite0", counts="lungs")
    film = torch.from_numpy(draw_phantom(3, "normal", side=128).film)[None]
    with torch.inference_mode():
        whole, own = everywhere(film), inside(film)
        assert torch.equal(inside.scores(inside.maps(film)), own.scores)
        # In training it counts everywhere; the norms stay as they are.
        inside.training = True
        assert torch.equal(inside(film).map, whole.map)
    assert whole.map.shape == (1, 2, 8, 8)
    assert own.map.shape == (1, 2, 32, 32)
    lost = functional.interpolate(whole.map, scale_factor=4.0, mode="bilinear") - own.map
    lungs = cv2.erode(find_lungs(film[0].numpy()).mask((32, 32)).astype(np.uint8), np.ones((3, 3)))
    assert lost[0, 0].numpy()[lungs > 0].max() < 0.3
    # A mirror image of lung counts by half.
    assert lost[0, 0].numpy()[lungs[:, ::-1] > 0].max() < 0.7
    # The corners are no lung, nor is their mirror image.
    assert lost[0, :, :2, :2].min() > 2
    assert (own.scores[:, 1:] < whole.scores[:, 1:]).all()


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "mixer_s32_224"])
def test_a_backbone_of_one_grid_is_refused(backbone: str) -> None:
    with pytest.raises(CxrlensError, match=f"stages on two grids, and {backbone} has none"):
        evidence(backbone)


def test_it_can_be_frozen() -> None:
    model = evidence("tf_efficientnet_lite0", frozen="blocks.3.1").train()
    still = {name for name, of in model.named_parameters() if not of.requires_grad}
    assert "backbone.network.blocks.3.1.conv_pw.weight" in still
    assert not any("blocks.4" in name or name.startswith("head") for name in still)


def test_nothing_is_kept_that_no_score_needs() -> None:
    model = evidence("tf_efficientnet_lite0").train()
    scores, own, *_ = model(FILMS)
    (scores.sum() + own.sum()).backward()
    assert all(of.grad is not None for of in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("counts", ["film", "lungs"])
def test_it_goes_to_a_graph_with_its_map(tmp_path: Path, counts: str) -> None:
    pytest.importorskip("onnxscript")
    import warnings

    model = evidence("tf_efficientnet_lite0", counts=counts)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.data.normal_(0, 0.1)
            part.running_var.data.uniform_(0.5, 1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (FILMS,),
            tmp_path / "graph.onnx",
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            opset_version=18,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    name = session.get_inputs()[0].name
    for films in (FILMS, FILMS[:1], FILMS.repeat(3, 1, 1)):
        found = session.run(None, {name: films.numpy()})
        with torch.inference_mode():
            expected = model(films)
        for ours, theirs in zip(expected, found, strict=True):
            assert theirs == pytest.approx(ours.numpy(), abs=1e-4)


def test_a_film_s_own_mean_and_deviation() -> None:
    model = evidence("tf_efficientnet_lite0")
    film = torch.from_numpy(np.random.default_rng(0).integers(40, 90, (1, 32, 32), dtype=np.uint8))
    standardised = model.standardise(film)
    assert standardised.shape == (1, 3, 32, 32)
    assert standardised.mean().item() == pytest.approx(0, abs=1e-5)
    # Another exposure of the same film: twice the contrast, and brighter.
    other = model.standardise(film.float() * 2 + 30)
    assert (other - standardised).abs().max() < 0.8
    assert np.corrcoef(other.flatten(), standardised.flatten())[0, 1] == pytest.approx(1)
    assert torch.isfinite(model.standardise(torch.zeros(1, 32, 32, dtype=torch.uint8))).all()
