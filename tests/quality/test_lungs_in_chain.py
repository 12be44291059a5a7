"""Chains that crop to the lungs or fill what lies outside, and the gate that asks the same network."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.errors import RecipeError
from cxrlens.lungs import find_lungs
from cxrlens.phantoms import draw_phantom
from cxrlens.quality import Chain
from cxrlens.radiographs import resize

Film = NDArray[np.uint8]


@pytest.fixture(scope="module")
def large() -> Film:
    return draw_phantom(5, "normal", 400).film


def test_crop_shows_the_lungs_larger_and_says_what_was_left_out(large: Film) -> None:
    examination = Chain.named("none", 128, lungs="crop").examine(large)
    top, bottom, left, right = examination.cropped
    assert min(examination.cropped) >= 0
    assert max(examination.cropped) > 20
    inner = large[top : 400 - bottom, left : 400 - right]
    np.testing.assert_array_equal(examination.pixels, resize(inner, 128))
    drawn = find_lungs(large).mask(large.shape)
    outside = drawn.copy()
    outside[top : 400 - bottom, left : 400 - right] = False
    assert drawn.sum() > 5000
    assert outside.sum() == 0


def test_mask_keeps_the_lungs_and_fills_the_rest(large: Film) -> None:
    plain = Chain.named("none", 200).examine(large).pixels
    filled = Chain.named("none", 200, lungs="mask").examine(large).pixels
    inside = find_lungs(large).mask((200, 200))
    np.testing.assert_array_equal(filled[inside], plain[inside])
    assert np.unique(filled[:4]).size == 1
    assert (filled != plain).mean() > 0.2


@pytest.mark.parametrize("lungs", ["crop", "mask"])
def test_a_negative_is_turned_where_its_lungs_are_shown(large: Film, lungs: str) -> None:
    chain = Chain.named("none", 96, lungs=lungs)
    positive, turned = chain.examine(large), chain.examine(255 - large)
    np.testing.assert_array_equal(turned.pixels, positive.pixels)
    assert (positive.repairs, turned.repairs) == ((), ("invert",))
    assert turned.findings["negative"].present
    assert "negative" in chain.mends
    plain = Chain.named("none", 96)
    np.testing.assert_array_equal(plain.examine(255 - large).pixels, resize(255 - large, 96))
    assert plain.mends == frozenset()
    assert chain.findings_version.startswith(chain.version)


@pytest.mark.parametrize("lungs", ["crop", "mask"])
def test_a_picture_without_lungs_stays_whole(lungs: str) -> None:
    for shape in ((30, 30), (1, 200), (200, 1), (64, 64)):
        blank = np.full(shape, 90, np.uint8)
        examination = Chain.named("none", 64, lungs=lungs).examine(blank)
        np.testing.assert_array_equal(examination.pixels, resize(blank, 64))
        assert examination.cropped == (0, 0, 0, 0)


def test_crop_comes_on_top_of_borders_and_repairs_reach_it(large: Film) -> None:
    framed = np.asarray(
        cv2.copyMakeBorder(255 - large, 60, 60, 40, 40, cv2.BORDER_CONSTANT), np.uint8
    )
    examination = Chain.named("robust", 128, lungs="crop").examine(framed)
    assert {"crop", "invert"} <= set(examination.repairs)
    top, bottom, left, right = examination.cropped
    assert top >= 60
    assert left >= 40
    assert examination.lungs is not None
    mask = examination.lungs.mask(framed.shape)
    assert not mask[:60].any()
    expected = find_lungs(large).mask(large.shape)
    found = mask[60:-60, 40:-40]
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.9
    inner = large[top - 60 : 400 - (bottom - 60), left - 40 : 400 - (right - 40)]
    assert np.abs(examination.pixels.astype(int) - resize(inner, 128)).mean() < 6


def test_the_version_tells_what_is_done_with_the_lungs() -> None:
    versions = [
        Chain.named(name, 64, lungs=lungs).version
        for name in ("none", "robust")
        for lungs in ("none", "crop", "mask")
    ]
    assert len(set(versions)) == 6
    with pytest.raises(RecipeError, match=r"did you mean 'crop'"):
        Chain.named("none", lungs="corp")


def test_check_finds_the_lungs_and_changes_nothing(large: Film) -> None:
    for name in ("none", "robust"):
        checked = Chain.named(name, 96, lungs="crop").check(large)
        np.testing.assert_array_equal(checked.pixels, resize(large, 96))
        assert checked.cropped == (0, 0, 0, 0)
        assert checked.lungs is not None
        assert checked.lungs.share > 0.1


def test_films_lying_or_cut_are_refused(films: list[Film]) -> None:
    chain = Chain.named("robust", steps=("photographed", "not_a_chest"))

    def refused(pictures: list[Film]) -> float:
        return float(np.mean([chain.check(p).findings["not_a_chest"].present for p in pictures]))

    assert refused(films) <= 1 / 12
    assert refused([np.ascontiguousarray(np.rot90(film, 2)) for film in films]) >= 0.75
    assert refused([np.ascontiguousarray(np.rot90(film)) for film in films]) >= 0.75
    assert refused([film[:, :112] for film in films]) >= 0.75
    assert refused([film[:112, :112] for film in films]) >= 0.75


def test_a_photograph_of_a_film_is_let_through_with_its_finding(films: list[Film]) -> None:
    chain = Chain.named("robust", steps=("photographed", "not_a_chest"))
    y, x = np.mgrid[0:300, 0:300].astype(np.float32)
    photographed = []
    for number, film in enumerate(films):
        rng = np.random.default_rng(number)
        corners = np.array([[0, 0], [223, 0], [223, 223], [0, 223]], np.float32)
        there = np.array([[30, 24], [262, 40], [276, 282], [20, 270]], np.float32)
        there += rng.normal(0, 7, (4, 2)).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(corners, there)
        table = (90 + 30 * np.sin(x / 9) + 20 * np.sin(y / 5)).astype(np.uint8)
        picture = cv2.warpPerspective(
            film, matrix, (300, 300), dst=table, borderMode=cv2.BORDER_TRANSPARENT
        ).astype(np.float32)
        light = 1.1 - 0.35 * x / 300
        moire = 6 * np.sin(x * 1.7 + y * 0.4)
        glare = 60 * np.exp(-(((x - 200) / 30) ** 2) - ((y - 90) / 30) ** 2)
        photographed.append(np.clip(picture * light + moire + glare, 0, 255).astype(np.uint8))

    def share(defect: str, pictures: list[Film]) -> float:
        return float(np.mean([chain.check(p).findings[defect].present for p in pictures]))

    assert share("photographed", photographed) >= 0.8
    assert share("not_a_chest", photographed) <= 0.2
    assert share("photographed", films) <= 1 / 12


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (30, 30), (3, 7)])
def test_blank_and_tiny_pictures_are_refused(shape: tuple[int, int]) -> None:
    chain = Chain.named("robust", steps=("photographed", "not_a_chest"))
    grain = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), grain):
        assert chain.check(picture).findings["not_a_chest"].present
