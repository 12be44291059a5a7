"""The shipped network draws phantoms' lungs, nothing elsewhere, and takes any film."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlens.errors import CxrlensError
from cxrlens.lungs import find_lungs
from cxrlens.lungs.fields import NETWORK
from cxrlens.phantoms import draw_phantom


def test_phantoms_lungs_are_found_in_any_tone() -> None:
    scores = []
    for seed in range(8):
        drawn = draw_phantom(seed, "normal", 300)
        for film in (drawn.film, 255 - drawn.film, drawn.film // 3 + 20):
            mask = find_lungs(film).mask(film.shape)
            scores.append(2 * (mask & drawn.lung_mask).sum() / (mask.sum() + drawn.lung_mask.sum()))
    assert np.mean(scores) > 0.9
    assert min(scores) > 0.75


def test_where_there_is_no_lung_none_is_drawn() -> None:
    page = np.full((400, 300), 250, np.uint8)
    for y in range(20, 400, 16):
        cv2.putText(page, "no radiograph, but words", (5, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 10, 1)
    noise = np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8)
    for picture in (page, noise, np.zeros((50, 70), np.uint8), np.full((50, 70), 255, np.uint8)):
        assert find_lungs(picture).share == 0
        assert find_lungs(picture).chest < 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (30, 30), (31, 700), (2000, 1500)])
def test_films_of_any_size_are_taken(shape: tuple[int, int]) -> None:
    film = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    lungs = find_lungs(film)
    assert lungs.mask(shape).shape == shape
    assert np.isfinite([lungs.chest, lungs.photographed]).all()


def test_a_missing_or_damaged_network_is_one_sentence(tmp_path: Path) -> None:
    film = np.zeros((40, 40), np.uint8)
    with pytest.raises(CxrlensError, match=r"missing from the installation: install cxrlens again"):
        find_lungs(film, tmp_path / "none.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(NETWORK.read_bytes()[:5000])
    with pytest.raises(CxrlensError, match=r"damaged.*install cxrlens again"):
        find_lungs(film, damaged)


def test_the_network_is_small() -> None:
    assert NETWORK.stat().st_size <= 4_000_000
