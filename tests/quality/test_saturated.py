"""Films whose greys were cut off by a window."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.phantoms import draw_phantom
from cxrlens.prediction.trust import QUALITY, SPOILING, refusal
from cxrlens.quality import Chain

Film = NDArray[np.uint8]
LOOK = Chain.named("robust", steps=("negative", "saturated"))


def windowed(film: Film, slope: float, intercept: float) -> Film:
    return np.rint(np.clip(film * slope + intercept, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_window_that_cuts_off_the_whites_is_found_and_spoils_the_film(seed: int) -> None:
    film = draw_phantom(seed, "normal", 256).film
    cut = windowed(film, 2.5, -60)
    for negative in (False, True):
        whole, lost = (LOOK.check(255 - of if negative else of).findings for of in (film, cut))
        assert not whole["saturated"].present
        assert lost["saturated"].present
    assert refusal({"saturated": True}, SPOILING) == QUALITY


def test_a_dark_window_and_a_white_border_lose_nothing() -> None:
    film = draw_phantom(1, "normal", 256).film
    framed = [np.pad(film, sides, constant_values=255) for sides in (40, ((0, 0), (0, 90)))]
    for kept in (windowed(film, 0.4, 0), *framed):
        assert not LOOK.check(kept).findings["saturated"].present
