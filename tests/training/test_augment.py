from dataclasses import replace

import numpy as np
import pytest
import torch

from cxrlens.phantoms import boxes_round, draw_phantom
from cxrlens.radiographs.grey import clahe
from cxrlens.recipes.recipe import Augmentation
from cxrlens.training.augment import CLAHE_CLIP, Draw, augment, draw, move, shade

FILM = torch.zeros(1, 64, 64, dtype=torch.uint8)
FILM[0, 16:24, 40:48] = 200


def changes(**of: torch.Tensor) -> Draw:
    """Nothing is changed but what is given."""
    return replace(draw(Augmentation(), 1), **of)


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
        ({"flip": torch.tensor([True])}, (19.5, 63 - 43.5)),
        # Of the film's right half and middle rows, the square lies in the middle third.
        (
            {"part": torch.tensor([[0.75, 0.75]]), "place": torch.tensor([[0.25, -0.25]])},
            (31.5 + (19.5 + 8 - 31.5) / 0.75, 31.5 + (43.5 - 8 - 31.5) / 0.75),
        ),
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


STRONG = Augmentation(
    crop=0.6, stretch=0.15, shift=0.05, scale=0.1, rotation=15, flip=0.5,
    tone=0.7, gain=0.3, offset=0.3, blur=0.3, noise=0.3,
)  # fmt: skip


def test_a_draw_can_be_replayed() -> None:
    torch.manual_seed(2)
    films = torch.randint(0, 256, (12, 32, 32), dtype=torch.uint8)
    drawn = draw(STRONG, 12)
    first, again = ((shade(augment(films, drawn)[:, None] / 64, drawn)) for _ in range(2))
    assert torch.equal(first, again)
    other = draw(STRONG, 12)
    assert not torch.equal(first, shade(augment(films, other)[:, None] / 64, other))


def test_lesion_and_box_move_together() -> None:
    """A drawn lesion and the box round it, each as a picture, through the same draws."""
    inside, covered = [], []
    torch.manual_seed(4)
    for seed in range(12):
        phantom = draw_phantom(seed, "pneumonia", side=64)
        lesion = torch.from_numpy(phantom.lesion_mask.astype(np.float32))
        box = torch.zeros(64, 64)
        for x0, y0, x1, y1 in boxes_round(phantom.lesion_mask):
            box[round(64 * y0) : round(64 * y1), round(64 * x0) : round(64 * x1)] = 1
        drawn = draw(STRONG, 1)
        # Single spots at the edge of what can be seen have no box.
        lesion *= box
        moved, around = move(torch.stack([lesion, box])[None], drawn, 64, "zeros")[0]
        inside.append(float(moved[around > 0].sum() / moved.sum()))
        # The same lesion with the box of another draw, to see that the check can fail.
        elsewhere = move(box[None, None], draw(STRONG, 1), 64, "zeros")[0, 0]
        covered.append(float(moved[elsewhere > 0].sum() / moved.sum()))
    assert min(inside) > 0.999
    assert np.mean(covered) < 0.8


def test_what_comes_from_outside_a_mask_is_nothing() -> None:
    whole = torch.ones(1, 1, 16, 16)
    turned = move(whole, changes(rotation=torch.tensor([45.0])), 16, "zeros")
    assert turned[0, 0, 0, 0] == 0
    assert turned[0, 0, 8, 8] == 1


def test_shades_of_a_standardised_film() -> None:
    film = torch.linspace(-2, 2, 64).expand(1, 1, 8, 64).clone()
    assert shade(film, changes()).numpy() == pytest.approx(film.numpy(), abs=1e-4)
    brighter = shade(film, changes(gain=torch.tensor([2.0]), offset=torch.tensor([0.5])))
    assert brighter.numpy() == pytest.approx(2 * film.numpy() + 0.5, abs=1e-3)
    # An exponent above 1 darkens, and never changes the order of greys.
    curved = shade(film, changes(tone=torch.tensor([2.0])))
    assert (curved < film).all()
    assert (curved.diff(dim=3) > 0).all()
    on_greys = shade(film * 0.25 + 0.5, changes(tone=torch.tensor([2.0])), (0.5, 0.25))
    assert on_greys.numpy() == pytest.approx(curved.numpy() * 0.25 + 0.5, abs=1e-5)
    grain = shade(film, changes(noise=torch.tensor([True]))) - film
    assert grain.std() == pytest.approx(0.15, abs=0.02)
    checks = torch.tensor([1.0, -1.0]).repeat(4, 4)[None, None].repeat(1, 1, 2, 1)
    assert shade(checks, changes(blur=torch.tensor([True]))).abs().max() < 1e-4


def test_a_smaller_side_shows_the_same_film() -> None:
    film = torch.from_numpy(draw_phantom(1, "normal", side=64).film)[None]
    small = augment(film, changes(), 40)
    assert small.shape == (1, 40, 40)
    shrunk = torch.nn.functional.interpolate(film[None].float(), size=40, mode="bilinear")[0]
    assert small.numpy() == pytest.approx(shrunk.numpy(), abs=0.5)
