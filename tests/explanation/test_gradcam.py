import numpy as np
import pytest
import torch

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import PALETTES, HeatMap, normalised, to_film
from cxrlens.explanation.network_maps import gradcam
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.prediction.torch_network import TorchNetwork
from cxrlens.recipes.recipe import Model

FILM = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def cam_of(model: FilmClassifier, film: np.ndarray, output: int) -> np.ndarray:
    return gradcam(TorchNetwork([model], len(film)).slopes(film, 0, output))


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("resnet", "none"), ("tf_efficientnet_lite0", "imagenet"), ("convnext_atto", "none")],
)
def test_it_is_algorithm_1_with_gradients_by_hooks(backbone: str, weights: str) -> None:
    """The same algorithm written another way: hooks on the pooling input, explicit loops."""
    torch.manual_seed(4)
    model = build_model(
        Model(backbone=backbone, weights=weights, blocks=(8, 16), width=8), 3
    ).eval()
    kept: dict[str, torch.Tensor] = {}
    original = model.backbone.pool

    def pool(maps: torch.Tensor) -> torch.Tensor:
        maps.retain_grad()
        kept["maps"] = maps
        return original(maps)

    highest = 0.0
    for target in range(3):
        model.backbone.pool = pool  # type: ignore[method-assign]
        model(torch.from_numpy(FILM)[None]).scores[0, target].backward()
        maps, gradient = kept["maps"][0].detach().numpy(), kept["maps"].grad[0].numpy()  # type: ignore[index]
        model.backbone.pool = original  # type: ignore[method-assign]
        cam = np.maximum(sum(gradient[k].mean() * maps[k] for k in range(len(maps))), 0)
        scale = max(cam.max(), 1e-30)
        ours = cam_of(model, FILM, target)
        assert ours / scale == pytest.approx(cam / scale, abs=1e-4)
        highest = max(highest, normalised(ours).max())
    assert highest > 0.9


def test_it_finds_the_part_that_counts() -> None:
    """A network whose score is the mean brightness of a film, seen through one map."""
    model = build_model(Model(backbone="resnet", weights="none", blocks=(8,), width=4), 3).eval()
    model.backbone.maps = lambda x: torch.nn.functional.avg_pool2d(x, 8)  # type: ignore[method-assign]
    model.backbone.pool = lambda maps: maps.mean((2, 3))  # type: ignore[method-assign]
    model.head = torch.nn.Linear(1, 3, bias=False)
    model.head.weight.data[:] = torch.tensor([[1.0], [0.0], [-1.0]])
    film = np.full((64, 64), 100, np.uint8)
    film[:16, 48:] = 255
    heat = to_film(normalised(cam_of(model, film, 0)), (64, 64))
    assert heat[4, 60] > 0.95
    assert heat[40, 10] == 0
    assert cam_of(model, film, 1).max() == 0


def test_weights_get_no_gradient() -> None:
    model = build_model(Model(backbone="resnet", weights="none", blocks=(8,), width=4), 3)
    cam_of(model, FILM, 0)
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


def heat(values: np.ndarray) -> HeatMap:
    return HeatMap(
        values.astype(np.float32), np.full(values.shape, 120, np.uint8), "gradcam", "normal"
    )


def test_where_nothing_counts_the_film_stays_as_it_is() -> None:
    values = np.zeros((10, 20))
    values[:, 10:] = 1
    overlay = heat(values).overlay()
    assert (overlay[:, :10] == 120).all()
    assert (overlay[:, 10:] != 120).any()
    assert heat(values).beside().shape == (10, 40, 3)


def test_the_report_s_palette_runs_from_blue_to_red() -> None:
    overlay = heat(np.array([[0.0, 1.0]])).overlay("report")
    assert overlay[0, 0].argmax() == 2
    assert overlay[0, 1].argmax() == 0
    with pytest.raises(CxrlensError, match=f"known are {', '.join(PALETTES)}"):
        heat(np.zeros((2, 2))).save("never.png", "rainbow")
