import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.phantoms import Phantom, draw_phantom

SEEDS = range(60)
DISEASED = ("pneumonia", "tuberculosis")


@pytest.fixture(scope="module")
def drawn() -> Callable[[int, str], Phantom]:
    films: dict[tuple[int, str], Phantom] = {}

    def draw(seed: int, label: str) -> Phantom:
        if (seed, label) not in films:
            films[seed, label] = draw_phantom(seed, label, 128)
        return films[seed, label]

    return draw


def _mean_height(mask: NDArray[np.bool_], lungs: NDArray[np.bool_]) -> float:
    """Where a mask lies between the top (0) and the bottom (1) of the lungs."""
    rows = np.flatnonzero(lungs.any(axis=1))
    return float((np.nonzero(mask)[0].mean() - rows[0]) / (rows[-1] - rows[0]))


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = draw_phantom(7, "tuberculosis"), draw_phantom(7, "tuberculosis")
    assert np.array_equal(first.film, again.film)
    assert np.array_equal(first.lesion_mask, again.lesion_mask)


def test_films_differ() -> None:
    prints = {hashlib.sha256(draw_phantom(k, "normal", 64).film).hexdigest() for k in SEEDS}
    assert len(prints) == len(SEEDS)


@pytest.mark.parametrize("side", [64, 224, 300, 512])
def test_shapes_and_types(side: int) -> None:
    phantom = draw_phantom(11, "pneumonia", side)
    assert phantom.film.shape == (side, side)
    assert phantom.film.dtype == np.uint8
    for mask in (phantom.lesion_mask, phantom.lung_mask):
        assert mask.shape == (side, side)
        assert mask.dtype == np.bool_
    assert phantom.view in {"PA", "AP"}
    assert phantom.sex in {"F", "M"}
    assert 1 <= phantom.age <= 92
    assert phantom.source in {"phantom-a", "phantom-b"}


def test_a_seed_shows_one_scene_at_every_side() -> None:
    small, large = draw_phantom(5, "pneumonia", 128), draw_phantom(5, "pneumonia", 256)
    halved = large.lung_mask[::2, ::2]
    assert np.mean(halved != small.lung_mask) < 0.02
    means = large.film.reshape(128, 2, 128, 2).mean((1, 3))
    assert np.corrcoef(means.ravel(), small.film.ravel())[0, 1] > 0.97


def test_lungs_are_two_dark_fields_of_a_plausible_size(
    drawn: Callable[[int, str], Phantom],
) -> None:
    for seed in SEEDS:
        phantom = drawn(seed, "normal")
        lungs = phantom.lung_mask
        assert 0.12 < lungs.mean() < 0.5
        half = lungs.shape[1] // 2
        assert lungs[:, :half].any()
        assert lungs[:, half:].any()
        rows = np.flatnonzero(lungs.any(axis=1))
        band = slice(rows[0], rows[-1])
        between = (
            ~lungs[band]
            & (np.cumsum(lungs[band], 1) > 0)
            & (np.cumsum(lungs[band, ::-1], 1)[:, ::-1] > 0)
        )
        assert phantom.film[band][between].mean() > phantom.film[lungs].mean() + 20


@pytest.mark.parametrize("label", DISEASED)
def test_lesions_lie_in_the_lungs_and_are_seen(
    drawn: Callable[[int, str], Phantom], label: str
) -> None:
    for seed in SEEDS:
        phantom, healthy = drawn(seed, label), drawn(seed, "normal")
        lesions = phantom.lesion_mask
        assert lesions.mean() > 0.002
        assert (lesions & phantom.lung_mask).sum() > 0.85 * lesions.sum()
        change = phantom.film.astype(int) - healthy.film
        assert change[lesions].mean() > 2
        assert np.abs(change)[lesions].mean() > 4 * np.abs(change)[~lesions].mean()


def test_normal_films_have_no_lesions(drawn: Callable[[int, str], Phantom]) -> None:
    assert not any(drawn(seed, "normal").lesion_mask.any() for seed in SEEDS)


def test_pneumonia_lies_lower_than_tuberculosis(drawn: Callable[[int, str], Phantom]) -> None:
    heights = {
        label: np.array(
            [_mean_height(p.lesion_mask, p.lung_mask) for p in (drawn(s, label) for s in SEEDS)]
        )
        for label in DISEASED
    }
    assert np.median(heights["pneumonia"]) > 0.55
    assert np.median(heights["tuberculosis"]) < 0.4
    # neither place gives the class away by itself
    assert heights["pneumonia"].min() < 0.5 < heights["tuberculosis"].max()


@pytest.mark.parametrize("label", DISEASED)
def test_nothing_but_the_lesions_knows_the_class(
    drawn: Callable[[int, str], Phantom], label: str
) -> None:
    for seed in SEEDS:
        phantom, healthy = drawn(seed, label), drawn(seed, "normal")
        same = ("view", "age", "sex", "source")
        assert all(getattr(phantom, name) == getattr(healthy, name) for name in same)
        assert np.array_equal(phantom.lung_mask, healthy.lung_mask)
        # the body outside the lungs, markers, borders and grain are pixel for pixel the same
        rows, columns = np.nonzero(healthy.lung_mask)
        far = np.ones_like(healthy.lung_mask)
        far[
            max(rows.min() - 12, 0) : rows.max() + 12,
            max(columns.min() - 12, 0) : columns.max() + 12,
        ] = False
        assert np.array_equal(phantom.film[far], healthy.film[far])


def test_the_film_as_a_whole_is_no_brighter_for_its_lesions(
    drawn: Callable[[int, str], Phantom],
) -> None:
    means = [
        (drawn(seed, label).film.mean() - drawn(seed, "normal").film.mean())
        for seed in SEEDS
        for label in DISEASED
    ]
    spread = np.std([drawn(seed, "normal").film.mean() for seed in SEEDS])
    assert np.abs(means).max() < 0.1 * spread


def test_follow_up_films_share_the_patient() -> None:
    first, later = draw_phantom(1, "normal", patient=77), draw_phantom(2, "normal", patient=77)
    assert (first.age, first.sex) == (later.age, later.sex)
    assert not np.array_equal(first.film, later.film)


def test_source_can_be_asked_for() -> None:
    assert {draw_phantom(k, "normal", 64, source="phantom-b").source for k in range(5)} == {
        "phantom-b"
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "covid"}, "covid"),
        ({"label": "normal", "side": 20}, "side is 20"),
        ({"label": "normal", "source": "phantom-c"}, "phantom-c"),
        ({"label": "normal", "seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_phantom(**{"seed": 0, **arguments})  # type: ignore[arg-type]
