"""Each step of the robust chain finds its defect on drawn films and mends it.

How right it is on real films is measured by benchmarks/quality_detectors.py, not here.
"""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.metrics import structural_similarity

from cxrlens.quality import DEFECTS, Chain
from cxrlens.quality.borders import EvenBorders, SharpIslands
from cxrlens.quality.detail import (
    GrainRegression,
    band_statistics,
    grain,
    grain_statistics,
    lively,
    sample_blocks,
)
from cxrlens.quality.exposure import tone_statistics
from cxrlens.quality.gate import rank_thumbnail
from cxrlens.quality.step import Step, settings, thresholds
from cxrlens.radiographs import resize

Film = NDArray[np.uint8]


def step(defect: str) -> Step:
    (only,) = Chain.named("robust", steps=(defect,)).steps
    return only


def found(defect: str, films: list[Film]) -> float:
    chain = Chain.named("robust", steps=(defect,))
    return float(np.mean([chain.check(film).findings[defect].present for film in films]))


@pytest.fixture(scope="module")
def bare(films: list[Film]) -> list[Film]:
    """The drawn films without the borders that some of them have."""
    return [film[20:-20, 20:-20] for film in films]


def test_looks_for_every_defect_and_says_where_its_settings_come_from(films: list[Film]) -> None:
    assert tuple(Chain.named("robust").check(films[0]).findings) == DEFECTS
    assert set(settings("robust")) == set(DEFECTS)
    assert {"script", "date", "films", "rule", "measured_there"} <= set(
        thresholds("robust")["provenance"]
    )


def test_negatives_are_found_and_inverted(films: list[Film]) -> None:
    assert found("negative", films) == 0
    assert found("negative", [255 - film for film in films]) == 1
    np.testing.assert_array_equal(step("negative").repair(255 - films[0]), films[0])


def test_ranks_ignore_tone_and_mirror_inversion(films: list[Film]) -> None:
    ranks = rank_thumbnail(films[0])
    darker = (255 * (films[0] / 255.0) ** 1.3).astype(np.uint8)
    assert np.abs(rank_thumbnail(darker) - ranks).mean() < 0.02
    assert np.abs(rank_thumbnail(255 - films[0]) + ranks).mean() < 0.01
    assert rank_thumbnail(np.full((40, 30), 7, np.uint8)) == pytest.approx(0)


@pytest.mark.parametrize("side", [224, 512])
@pytest.mark.parametrize("kind", ["salt", "gaussian"])
def test_noise_is_found_and_mended(bare: list[Film], side: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    clean = [np.asarray(cv2.resize(film, (side, side)), np.uint8) for film in bare[:6]]
    if kind == "salt":
        noisy = [np.where(rng.random(f.shape) < 0.03, np.uint8(255), f) for f in clean]
    else:
        noisy = [np.clip(f + rng.normal(0, 18, f.shape), 0, 255).astype(np.uint8) for f in clean]
    assert found("noisy", noisy) == 1
    chain = Chain.named("robust", steps=("noisy",))
    gains = []
    for good, bad in zip(clean, noisy, strict=True):
        reference = resize(good, 224)
        gains.append(
            structural_similarity(chain.examine(bad).pixels, reference)
            - structural_similarity(resize(bad, 224), reference)
        )
    assert np.mean(gains) > 0.05


def test_only_impulses_are_replaced_before_the_resize() -> None:
    noise = step("noisy")
    assert isinstance(noise, GrainRegression)
    film = np.tile(np.linspace(60, 160, 64, dtype=np.uint8), (64, 1))
    broken = film.copy()
    broken[10, 10], broken[40, 33] = 255, 0
    np.testing.assert_array_equal(noise.repair(broken), film)
    np.testing.assert_array_equal(noise.finish(film), film)


def test_grain_is_the_noises_standard_deviation() -> None:
    rng = np.random.default_rng(2)
    film = np.clip(128 + rng.normal(0, 9, (300, 300)), 0, 255).round().astype(np.uint8)
    assert grain(film) == pytest.approx(9, rel=0.05)
    assert grain(np.zeros((1, 1), np.uint8)) == 0


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("shape", [(224, 224), (700, 500)])
def test_borders_are_measured_and_cropped(
    bare: list[Film], level: int, shape: tuple[int, int]
) -> None:
    borders = step("padded")
    assert isinstance(borders, EvenBorders)
    top, bottom, left, right = (int(k * shape[0]) for k in (0.1, 0.0, 0.05, 0.15))
    for film in bare:
        inner = np.asarray(cv2.resize(film, shape), np.uint8).clip(30, 215)
        padded = cv2.copyMakeBorder(
            inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=level
        )
        measured = borders.borders(np.asarray(padded, np.uint8))
        height, width = padded.shape
        true = (top, bottom, left, right)
        for m, t, k in zip(measured, true, (height, height, width, width), strict=True):
            assert abs(m - t) <= 0.02 * k
        assert borders.detect(np.asarray(padded, np.uint8)).present
        assert not borders.detect(inner).present


def test_dark_air_beside_the_patient_is_no_border() -> None:
    borders = step("padded")
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    soft = (220 * np.exp(-3 * (x**2 + 0.2 * y**2) ** 2)).astype(np.uint8)
    assert not borders.detect(soft).present


def test_a_film_that_is_all_border_is_left_alone() -> None:
    borders = step("padded")
    for level in (0, 255):
        film = np.full((100, 80), level, np.uint8)
        assert not borders.detect(film).present


def test_patches_are_found_and_filled(bare: list[Film]) -> None:
    patches = step("patched")
    assert isinstance(patches, SharpIslands)
    for film in bare:
        clean = resize(film, 224).clip(30, 225)
        covered = clean.copy()
        cv2.circle(covered, (90, 120), 10, 0, -1)
        cv2.rectangle(covered, (140, 60), (165, 72), 255, -1)
        assert not patches.detect(clean).present
        assert patches.detect(covered).present
        mask = patches.mask(covered)
        assert mask[120, 90]
        assert mask[66, 150]
        assert mask.mean() < 0.04
        filled = patches.repair(covered)
        np.testing.assert_array_equal(filled[~mask], covered[~mask])
        assert structural_similarity(filled, clean) > structural_similarity(covered, clean)


def test_dark_films_are_found_and_stretched(films: list[Film]) -> None:
    bright = [film for film in films if film.mean() > 90]
    dark = [np.clip(film * (40 / film.mean()), 0, 255).astype(np.uint8) for film in bright]
    assert found("underexposed", bright) == 0
    assert found("underexposed", dark) == 1
    chain = Chain.named("robust", steps=("underexposed",))
    for good, bad in zip(bright, dark, strict=True):
        assert chain.examine(bad).repairs == ("stretch",)
        before, after = (structural_similarity(x, good) for x in (bad, chain.examine(bad).pixels))
        assert after > before


def test_tone_leaves_the_black_surroundings_out() -> None:
    film = np.full((50, 50), 100, np.uint8)
    framed = cv2.copyMakeBorder(film, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=0)
    plain, inner = tone_statistics(film), tone_statistics(np.asarray(framed, np.uint8))
    assert inner[0] < plain[0]
    np.testing.assert_allclose(inner[1:], plain[1:])
    assert np.isfinite(tone_statistics(np.zeros((9, 9), np.uint8))).all()


def test_blur_is_found_and_sharpened(films: list[Film]) -> None:
    blurred = [np.asarray(cv2.GaussianBlur(film, (0, 0), 3), np.uint8) for film in films]
    assert found("blurred", blurred) >= 0.9
    sharp = step("blurred").repair(blurred[0])
    assert cv2.Laplacian(sharp, cv2.CV_32F).var() > cv2.Laplacian(blurred[0], cv2.CV_32F).var()


def test_pictures_that_are_no_chest_are_flagged(films: list[Film]) -> None:
    page = np.full((400, 300), 250, np.uint8)
    for y in range(20, 400, 16):
        cv2.putText(page, "no radiograph, but words", (5, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 10, 1)
    black, white = np.zeros((224, 224), np.uint8), np.full((224, 224), 255, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8)
    assert found("not_a_chest", [page, black, white, noise, data.camera()]) == 1
    assert found("not_a_chest", films) <= 1 / 12


def test_blocks_are_spread_and_bounded() -> None:
    film = np.arange(200 * 300, dtype=np.uint32).reshape(200, 300).astype(np.uint8)
    blocks = sample_blocks(film, along=4)
    assert blocks.shape == (16, 32, 32)
    np.testing.assert_array_equal(blocks[0], film[:32, :32])
    np.testing.assert_array_equal(blocks[-1], film[-32:, -32:])
    assert sample_blocks(np.zeros((3, 5), np.uint8)).shape == (1, 32, 32)
    even = np.zeros((20, 32, 32), np.uint8)
    even[:9] = np.random.default_rng(0).integers(50, 200, (9, 32, 32), dtype=np.uint8)
    assert len(lively(even)) == 9


def test_texture_statistics_follow_noise_and_blur(films: list[Film]) -> None:
    rng = np.random.default_rng(4)
    film = films[0]
    noisy = np.clip(film + rng.normal(0, 20, film.shape), 0, 255).astype(np.uint8)
    soft = np.asarray(cv2.GaussianBlur(film, (0, 0), 2), np.uint8)
    assert np.all(grain_statistics(noisy)[:10] > grain_statistics(film)[:10])
    assert np.all(band_statistics(soft) < band_statistics(film))
    fall = band_statistics(soft)[17] - band_statistics(soft)[1]
    assert fall > band_statistics(film)[17] - band_statistics(film)[1]
