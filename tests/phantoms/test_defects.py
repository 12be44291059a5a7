import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.phantoms import draw_phantom
from cxrlens.phantoms.defects import (
    KINDS,
    BlackSpots,
    Blur,
    Damaged,
    GaussianNoise,
    Negative,
    Padding,
    Patches,
    SaltAndPepper,
    Underexposure,
    UniformNoise,
    described,
    draw_defect,
    recalled,
)
from cxrlens.quality.step import DEFECTS


@pytest.fixture(scope="module")
def film() -> NDArray[np.uint8]:
    return draw_phantom(3, "normal", 128).film


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_draw_replays_exactly(kind: str, film: NDArray[np.uint8]) -> None:
    for seed in range(10):
        defect = draw_defect(np.random.default_rng(seed), kind)
        (again,) = recalled(described([defect]))
        assert again == defect
        before = film.copy()
        first, second = defect.apply(film), again.apply(film)
        assert np.array_equal(film, before)
        assert np.array_equal(first.film, second.film)
        assert (first.kind, first.level, first.borders) == (kind, second.level, second.borders)
        assert (first.mask is None) == (second.mask is None)
        if first.mask is not None and second.mask is not None:
            assert np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damage_changes_the_film_and_keeps_its_type(kind: str, film: NDArray[np.uint8]) -> None:
    damaged = draw_defect(np.random.default_rng(1), kind).apply(film)
    assert damaged.film.dtype == np.uint8
    assert damaged.film.shape != film.shape or not np.array_equal(damaged.film, film)
    if damaged.mask is not None:
        assert damaged.mask.shape == damaged.film.shape


@pytest.mark.parametrize("kind", ["salt_and_pepper", "black_spots", "patches"])
def test_pixels_outside_the_mask_are_untouched(kind: str, film: NDArray[np.uint8]) -> None:
    for seed in range(10):
        damaged = draw_defect(np.random.default_rng(seed), kind).apply(film)
        assert damaged.mask is not None
        assert np.array_equal(damaged.film[~damaged.mask], film[~damaged.mask])
        assert np.isin(damaged.film[damaged.mask], [0, 255]).all()


def test_negative_twice_is_the_film(film: NDArray[np.uint8]) -> None:
    assert np.array_equal(Negative().apply(Negative().apply(film).film).film, film)


def test_blur_follows_the_side(film: NDArray[np.uint8]) -> None:
    def roughness(damaged: Damaged) -> float:
        return float(np.abs(np.diff(damaged.film.astype(int))).mean())

    assert roughness(Blur(4.0).apply(film)) < roughness(Blur(1.5).apply(film))
    impulse = np.zeros((448, 448), np.uint8)
    impulse[200:248, 200:248] = 255
    edge = Blur(2.0).apply(impulse).film[224].astype(float)
    rise = np.diff(edge[150:224])
    columns = np.arange(len(rise))
    centre = (rise * columns).sum() / rise.sum()
    sigma = np.sqrt((rise * (columns - centre) ** 2).sum() / rise.sum())
    assert sigma == pytest.approx(4.0, rel=0.1)


def test_levels_are_reached() -> None:
    grey = np.full((400, 400), 128, np.uint8)
    salted = SaltAndPepper(0.06, 1).apply(grey)
    assert np.mean(salted.film != 128) == pytest.approx(0.06, abs=0.004)
    assert np.mean(salted.film == 0) == pytest.approx(0.03, abs=0.003)
    even = UniformNoise(30, 1).apply(grey).film.astype(float) - 128
    assert even.std() == pytest.approx(30 / np.sqrt(3), rel=0.03)
    assert np.abs(even).max() <= 30
    assert GaussianNoise(20, 1).apply(grey).film.std() == pytest.approx(20, rel=0.03)
    assert Underexposure(40).apply(grey).film.mean() == pytest.approx(40, abs=1)


def test_underexposure_never_brightens() -> None:
    dark = np.full((32, 32), 10, np.uint8)
    assert np.array_equal(Underexposure(60).apply(dark).film, dark)


def test_padding_knows_its_borders() -> None:
    film = np.full((100, 200), 90, np.uint8)
    padding = Padding(top=0.1, bottom=0.0, left=0.05, right=0.02)
    damaged = padding.apply(film)
    assert damaged.borders == (10, 0, 10, 4)
    assert damaged.film.shape == (110, 214)
    assert np.array_equal(damaged.film[10:, 10:210], film)
    assert damaged.mask is not None
    assert not damaged.film[damaged.mask].any()
    assert damaged.level == pytest.approx(1 - 20000 / (110 * 214))
    mask = np.ones((100, 200), np.bool_)
    assert np.array_equal(padding.follow(mask), ~damaged.mask)


def test_every_padding_has_a_side() -> None:
    for seed in range(100):
        draw = Padding.draw(np.random.default_rng(seed))
        assert max(draw.top, draw.bottom, draw.left, draw.right) >= 0.02


def test_spots_and_patches_lie_where_they_were_drawn() -> None:
    film = np.full((200, 200), 100, np.uint8)
    spotted = BlackSpots(((0.5, 0.25, 0.05),)).apply(film).film
    assert spotted[50, 100] == 0
    assert spotted[50, 109] == 0
    assert spotted[50, 112] == 100
    patched = Patches(((0.1, 0.2, 0.1, 0.05, 255),)).apply(film).film
    assert (patched[40:50, 20:40] == 255).all()
    assert (patched == 255).sum() == 200


def test_findings_are_those_of_the_quality_chain() -> None:
    assert {kind.finding for kind in KINDS.values()} <= set(DEFECTS)
    assert set(DEFECTS) - {kind.finding for kind in KINDS.values()} == {
        "photographed",
        "not_a_chest",
        "torn",
        "saturated",
        "burnt_in_text",
    }


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="scratch"):
        draw_defect(np.random.default_rng(0), "scratch")
