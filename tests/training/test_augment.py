import numpy as np
import pytest
import torch

from cxrlens.radiographs.filters import clahe
from cxrlens.recipes.recipe import Augmentation
from cxrlens.training.augment import CLAHE_CLIP, Draw, augment, draw

FILM = torch.zeros(1, 64, 64, dtype=torch.uint8)
FILM[0, 16:24, 40:48] = 200


def changes(**of: torch.Tensor) -> Draw:
    still = {
        "shift": torch.zeros(1, 2),
        "scale": torch.ones(1),
        "rotation": torch.zeros(1),
        "brightness": torch.zeros(1),
        "contrast": torch.ones(1),
        "clahe": torch.zeros(1, dtype=torch.bool),
    }
    return Draw(**still | of)


def centre(film: torch.Tensor) -> tuple[float, float]:
    down, right = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    weight = film[0].numpy()
    return float((down * weight).sum() / weight.sum()), float((right * weight).sum() / weight.sum())


def test_without_changes_a_film_stays_as_it_is() -> None:
    assert augment(FILM, changes()).numpy() == pytest.approx(FILM.numpy(), abs=1e-3)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"shift": torch.tensor([[0.125, -0.0625]])}, (19.5 - 4, 43.5 + 8)),
        # A quarter turn clockwise takes what is above the middle to its right.
        ({"rotation": torch.tensor([90.0])}, (43.5, 63 - 19.5)),
        ({"scale": torch.tensor([1.5])}, (31.5 - 12 * 1.5, 31.5 + 12 * 1.5)),
    ],
)
def test_a_square_moves_where_it_should(
    change: dict[str, torch.Tensor], where: tuple[float, float]
) -> None:
    assert centre(augment(FILM, changes(**change))) == pytest.approx(where, abs=0.1)


def test_brightness_and_contrast() -> None:
    film = torch.full((1, 8, 8), 100, dtype=torch.uint8)
    film[0, :4] = 140
    assert augment(film, changes(brightness=torch.tensor([20.0]))).unique().tolist() == [120, 160]
    assert augment(film, changes(contrast=torch.tensor([0.5]))).unique().tolist() == [110, 130]


def test_clahe_is_the_house_s() -> None:
    film = torch.from_numpy(np.random.default_rng(0).integers(50, 90, (1, 64, 64), dtype=np.uint8))
    result = augment(film, changes(clahe=torch.tensor([True])))
    assert result[0].numpy() == pytest.approx(clahe(film[0].numpy(), CLAHE_CLIP), abs=1e-2)
    assert film.max() < 90


def test_draws_keep_the_bounds_and_follow_the_seed() -> None:
    bounds = Augmentation(
        shift=0.1, scale=0.2, rotation=15, brightness=0.1, contrast=0.3, clahe=0.5
    )
    torch.manual_seed(5)
    first = draw(bounds, 2000)
    torch.manual_seed(5)
    assert torch.equal(draw(bounds, 2000).shift, first.shift)
    for values, low, high in (
        (first.shift, -0.1, 0.1),
        (first.scale, 0.8, 1.2),
        (first.rotation, -15, 15),
        (first.brightness, -25.5, 25.5),
        (first.contrast, 0.7, 1.3),
    ):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    assert first.clahe.float().mean() == pytest.approx(0.5, abs=0.05)
