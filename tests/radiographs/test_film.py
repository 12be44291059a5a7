import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrlens.errors import FilmError
from cxrlens.radiographs.read import name_of, read_film, read_radiograph

GREY = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)


def test_all_forms_of_a_film_are_one_array(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    cv2.imwrite(str(path), GREY)
    forms = [path, str(path), path.read_bytes(), GREY, Image.fromarray(GREY), Image.open(path)]
    for form in forms:
        assert np.array_equal(read_film(form).pixels, GREY), type(form)
    assert [name_of(form) for form in forms] == [str(path)] * 2 + [""] * 4


def test_colour_depth_and_orientation_are_those_of_a_file(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    deep = GREY.astype(np.uint16) * 16
    for array in (colour, deep):
        path = tmp_path / "film.png"
        Image.fromarray(array).save(path)
        assert np.array_equal(read_film(array).pixels, read_radiograph(path))
        assert np.array_equal(read_film(Image.fromarray(array)).pixels, read_radiograph(path))
    turned = Image.fromarray(GREY)
    turned.getexif()[274] = 6
    assert np.array_equal(read_film(turned).pixels, np.rot90(GREY, -1))


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (np.zeros((4, 4)), "is an array .* of float64: give"),
        (np.zeros((4,), np.uint8), "give .H, W."),
        (np.zeros((0, 4), np.uint8), "give .H, W."),
        (np.zeros((4, 4, 3), np.uint16), "give .H, W."),
        (Image.new("F", (4, 4)), "mode F, which is no film's: convert it to L"),
        (Image.new("CMYK", (4, 4)), "mode CMYK"),
        (17, "is a int: give a path"),
        (b"", "is empty"),
        (io.BytesIO(b"x"), "is a BytesIO"),
    ],
)
def test_what_is_no_film_is_one_sentence(film: object, said: str) -> None:
    with pytest.raises(FilmError, match=said):
        read_film(film)  # type: ignore[arg-type]
