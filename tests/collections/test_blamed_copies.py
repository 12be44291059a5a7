"""The robust rule: which copy of a drawn film is blamed, and for what."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from cxrlens.collections.pairs import Judged, blame_copies
from cxrlens.phantoms import draw_phantom
from cxrlens.phantoms.defects import KINDS, draw_defect

Film = np.ndarray


def resized(film: Film, height: int, width: int) -> Film:
    return np.asarray(cv2.resize(film, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(film: Film, quality: int) -> Film:
    _, data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def best(blames: list[Judged]) -> int:
    return min(range(len(blames)), key=lambda i: (blames[i].score, -blames[i].pixels))


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_phantom(4, "normal", side=448).film


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("other_size", [False, True], ids=["one size", "another size"])
def test_the_damaged_copy_leaves_whatever_the_damage(kind: str, other_size: bool) -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        clean = draw_phantom(seed, "normal", side=320).film
        damaged = draw_defect(rng, kind).apply(clean).film
        if other_size:
            damaged = resized(damaged, 290, 300)
        assert best(blame_copies([damaged, clean])) == 1
        assert best(blame_copies([clean, damaged])) == 0


def test_the_fault_has_its_name(film: Film) -> None:
    rng = np.random.default_rng(1)
    covered = film.copy()
    covered[200:230, 100:160] = 255
    damaged: dict[str, Film] = {
        "noisy": np.clip(film + rng.normal(0, 15, film.shape), 0, 255).astype(np.uint8),
        "blurred": np.asarray(cv2.GaussianBlur(film, (0, 0), 5), np.uint8),
        "badly exposed": (film * 0.3).astype(np.uint8),
        "padded": np.pad(film, ((40, 0), (30, 30))),
        "patched": covered,
        "negative": 255 - film,
        "blocky": jpeg(film, 8),
        "small": resized(film, 280, 280),
    }
    for fault, copy in damaged.items():
        clean, blamed = blame_copies([film, copy])
        assert clean.score < blamed.score, fault
        assert fault in blamed.faults, fault
        assert fault in blamed.words(), fault


def test_equal_copies_get_no_blame(film: Film) -> None:
    assert [blame.faults for blame in blame_copies([film, film.copy()])] == [{}, {}]


@pytest.mark.parametrize(
    "change",
    [lambda f: 255 - f, lambda f: np.pad(f, ((30, 0), (20, 25))), lambda f: resized(f, 300, 330)],
    ids=["negative", "padded", "smaller"],
)
def test_a_clean_copy_is_kept_even_if_it_is_changed_without_loss(
    film: Film, change: Callable[[Film], Film]
) -> None:
    rng = np.random.default_rng(2)
    noisy = np.clip(film + rng.normal(0, 10, film.shape), 0, 255).astype(np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(film, (0, 0), 5), np.uint8)
    assert best(blame_copies([noisy, change(film)])) == 1
    assert best(blame_copies([blurred, change(film)])) == 1


def test_of_five_copies_the_clean_one_is_kept(film: Film) -> None:
    rng = np.random.default_rng(3)
    copies = [
        np.clip(film + rng.uniform(-30, 30, film.shape), 0, 255).astype(np.uint8),
        np.asarray(cv2.GaussianBlur(film, (0, 0), 4), np.uint8),
        255 - (film * 0.3).astype(np.uint8),
        film,
        resized(film, 120, 120),
    ]
    assert best(blame_copies(copies)) == 3


def test_films_without_content_are_no_error() -> None:
    for shape in ((1, 1), (5, 300), (300, 300)):
        even = np.full(shape, 7, np.uint8)
        assert all(np.isfinite(blame.score) for blame in blame_copies([even, even]))
