"""Seams that lost bytes leave, on drawn films and in JPEG files."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrlens.errors import FilmError
from cxrlens.quality import Chain
from cxrlens.radiographs.read import decode_radiograph

Film = NDArray[np.uint8]
SEAM = Chain.named("robust", steps=("torn",))


def shaded(seed: int, side: int = 256) -> Film:
    """Draw soft forms and grain that reach neither black nor white."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    film = 110 + 40 * np.sin(5 * x + rng.uniform(0, 6)) * np.cos(4 * y + rng.uniform(0, 6))
    film += rng.normal(0, 2, film.shape)
    return np.clip(np.rint(film), 0, 255).astype(np.uint8)


def torn(film: Film, row: int, column: int, step: int, unit: int = 8) -> Film:
    """Shift all that follows a block, as a lost difference of its mean does."""
    out = film.astype(int)
    out[unit * row : unit * (row + 1), unit * column :] += step
    out[unit * (row + 1) :] += step
    return np.clip(out, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_films_without_a_seam_are_whole(seed: int) -> None:
    film = shaded(seed)
    framed = np.pad(film, 24)
    for whole in (film, framed, film[5:, 3:], np.flipud(film)):
        examination = SEAM.examine(whole)
        assert not examination.findings["torn"].present
        assert examination.repairs == ()


@pytest.mark.parametrize("unit", [8, 16])
@pytest.mark.parametrize("step", [-20, -6, 6, 20])
def test_a_seam_is_found_and_nothing_is_changed(step: int, unit: int) -> None:
    film = torn(shaded(1), row=6, column=9, step=step, unit=unit)
    examination = SEAM.examine(film)
    assert examination.findings["torn"].present
    assert examination.findings["torn"].score > 0.6
    assert examination.repairs == ()
    np.testing.assert_array_equal(examination.pixels, Chain.named("none").examine(film).pixels)


def test_an_edge_straight_across_is_no_seam() -> None:
    film = shaded(2)
    film[64:] += 20
    assert not SEAM.examine(film).findings["torn"].present


def test_small_films_have_no_seam() -> None:
    for side in (1, 8, 40):
        assert not SEAM.examine(shaded(0)[:side, :side]).findings["torn"].present


def test_flipped_bits_in_a_jpeg_are_refused_or_found() -> None:
    file = io.BytesIO()
    Image.fromarray(shaded(3)).save(file, "JPEG", quality=90)
    whole = decode_radiograph(file.getvalue(), "film").astype(int)
    rng = np.random.default_rng(0)
    seen, changed = 0, 0
    for _ in range(100):
        data = bytearray(file.getvalue())
        data[int(rng.integers(700, len(data) * 9 // 10))] ^= 1 << int(rng.integers(8))
        try:
            film = decode_radiograph(bytes(data), "film")
        except FilmError:
            continue
        if (np.abs(film - whole) > 2).mean() > 0.02:
            changed += 1
            seen += SEAM.examine(film).findings["torn"].present
    assert changed >= 4
    assert seen >= 0.7 * changed


def test_models_trained_before_there_was_this_finding_go_on() -> None:
    """The version of the chain is what their runs wrote down."""
    assert Chain.named("robust").version == "robust-cac03929a9"
    assert Chain.named("robust").findings_version != Chain.named("robust").version
