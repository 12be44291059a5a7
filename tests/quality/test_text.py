"""Text burnt into films: found where it stands, and not where there is none."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrlens.phantoms import draw_phantom
from cxrlens.quality import Chain

Film = NDArray[np.uint8]
LOOK = Chain.named("robust", steps=("burnt_in_text",))


def found(film: Film) -> bool:
    return LOOK.examine(film).findings["burnt_in_text"].present


@pytest.fixture(scope="module")
def plain() -> Film:
    """A drawn film without marker or note."""
    film = draw_phantom(4, "normal", 512).film.copy()
    assert not found(film)
    return film


def written(
    film: Film, text: str, grey: int = 255, size: int = 22, at: tuple[int, int] = (20, 8)
) -> Film:
    picture = Image.fromarray(film)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text(at, text, font=font, fill=grey)
    return np.array(picture)


@pytest.mark.parametrize("text", ["ROSSI^MARIA", "Rossi, Maria", "1961-03-12", "ID 4711-0815"])
@pytest.mark.parametrize("size", [16, 22, 48])
def test_names_dates_and_numbers_are_found(plain: Film, text: str, size: int) -> None:
    film = np.pad(plain, ((60, 0), (0, 0)), constant_values=12)
    film = written(film, text, size=size)
    assert found(film)
    examination = LOOK.examine(film)
    assert examination.findings["burnt_in_text"].score > 0.6
    assert examination.repairs == ()
    np.testing.assert_array_equal(examination.pixels, Chain.named("none").examine(film).pixels)


def test_dark_letters_upright_ones_and_those_after_a_jpeg_are_found(plain: Film) -> None:
    label = np.pad(plain, ((40, 0), (0, 0)), constant_values=235)
    label = written(label, "ROSSI MARIA", grey=0)
    assert found(label)
    assert found(np.ascontiguousarray(np.rot90(label)))
    file = io.BytesIO()
    Image.fromarray(label).save(file, "JPEG", quality=60)
    assert found(np.array(Image.open(file)))


def test_small_print_on_a_large_film_is_found() -> None:
    film = np.full((2600, 2400), 15, np.uint8)
    film[400:, 200:-200] = cv2.resize(draw_phantom(4, "normal", 512).film, (2000, 2200))
    assert not found(film)
    assert found(written(film, "ROSSI MARIA 12.03.1961", size=32))


@pytest.mark.parametrize("text", ["L", "R", "AP", "PA", "L1", "ERE"])
def test_markers_are_none(plain: Film, text: str) -> None:
    for size in (20, 40, 80):
        assert not found(written(plain, text, size=size, at=(440 - size, 60)))


def test_rulers_beads_and_grain_are_none(plain: Film) -> None:
    ruler, beads = plain.copy(), plain.copy()
    for mark in range(20, 480, 12):
        cv2.line(ruler, (8, mark), (20, mark), 255, 2)
        cv2.line(ruler, (mark, 500), (mark, 488), 255, 2)
        cv2.circle(beads, (mark, 80), 4, 255, -1)
    rng = np.random.default_rng(0)
    grain = np.clip(plain + rng.normal(0, 60, plain.shape), 0, 255).astype(np.uint8)
    specks = plain.copy()
    specks[rng.random(plain.shape) < 0.05] = 255
    assert [found(film) for film in (ruler, beads, grain, specks)] == [False] * 4


def test_of_drawn_films_only_notes_are_found(films: list[Film]) -> None:
    assert sum(found(film) for film in films) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (12, 12)])
def test_films_of_every_shape_are_looked_at(shape: tuple[int, int]) -> None:
    assert not found(np.full(shape, 90, np.uint8))
