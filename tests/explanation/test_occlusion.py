import numpy as np
import pytest

from cxrlens.errors import CxrlensError
from cxrlens.explanation.occlusion import GREY, occlusion

FILM = np.full((56, 56), 100, np.uint8)
FILM[8:24, 32:48] = 250


def bright(films: np.ndarray) -> np.ndarray:
    """The class is bright pixels beyond grey."""
    share = (films > 200).mean((1, 2)) * 8
    return np.stack([share, 1 - share], axis=1)


def test_hiding_what_counts_drops_the_score() -> None:
    found = occlusion(bright, FILM, 0)
    assert found.patch == 8
    assert found.reference == pytest.approx(bright(FILM[None])[0, 0])
    heat = found.values
    assert heat.shape == (56, 56)
    assert heat[16, 40] == pytest.approx(64 / 56**2 * 8, rel=1e-5)
    assert heat[50, 5] == 0
    assert occlusion(bright, FILM, 1).values == pytest.approx(-heat, abs=1e-6)


def test_showing_only_what_counts_leaves_the_score() -> None:
    found = occlusion(bright, FILM, 0, inverted=True)
    assert found.reference == 0
    assert found.values[16, 40] > 0.1
    assert found.values[50, 5] == 0


def test_the_films_that_are_asked() -> None:
    asked: list[np.ndarray] = []

    def watch(films: np.ndarray) -> np.ndarray:
        asked.extend(films.copy())
        return bright(films)

    found = occlusion(watch, FILM, 0, patch=20, stride=15, batch=4)
    assert found.places.tolist() == [0, 15, 30, 36]
    assert len(asked) == 17
    assert (asked[1][:20, 15:35] == GREY).all()
    assert (asked[1][20:] == FILM[20:]).all()
    asked.clear()
    occlusion(watch, FILM, 0, patch=20, stride=15, inverted=True)
    assert (asked[1][:20, 15:35] == FILM[:20, 15:35]).all()
    assert (asked[1][20:] == GREY).all()


def test_progress_tells_and_stops() -> None:
    seen: list[tuple[int, int]] = []
    occlusion(bright, FILM, 0, patch=28, stride=28, batch=3, progress=lambda *s: seen.append(s))
    assert seen == [(3, 4), (4, 4)]
    with pytest.raises(ZeroDivisionError):
        occlusion(bright, FILM, 0, progress=lambda done, of: 1 // 0)


@pytest.mark.parametrize(("patch", "stride"), [(57, 1), (0, 1), (8, 0)])
def test_a_patch_that_does_not_fit_is_named(patch: int, stride: int) -> None:
    with pytest.raises(CxrlensError, match="does not suit a film of 56"):
        occlusion(bright, FILM, 0, patch=patch, stride=stride)
