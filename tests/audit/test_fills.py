import numpy as np
import pytest

from cxrlens.audit.views import FILLS, filled, lungs_alone
from cxrlens.phantoms import draw_phantom


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    phantoms = [draw_phantom(seed, "tuberculosis", 96) for seed in range(6)]
    return np.stack([p.film for p in phantoms]), np.stack([p.lung_mask for p in phantoms])


@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_changes_the_lungs_alone_and_hides_what_was_in_them(
    drawn: tuple[np.ndarray, np.ndarray], fill: str
) -> None:
    films, masks = drawn
    out = filled(films, masks, fill, seed=3)
    assert (out[~masks] == films[~masks]).all()
    assert (filled(films, masks, fill, seed=3) == out).all()
    changed = films.copy()
    changed[:, 40:50][masks[:, 40:50]] = 255
    if fill in ("mean", "noise"):
        assert (filled(changed, masks, fill, seed=3) == out).all()
    else:
        assert (out[masks] != films[masks]).mean() > 0.5


def test_no_film_gets_its_own_lungs(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    films, masks = drawn
    stamped = films.copy()
    for value, (film, mask) in enumerate(zip(stamped, masks, strict=True)):
        film[mask] = value
    out = filled(stamped, masks, FILLS[3], seed=0)
    got = [
        int(np.bincount(f[m], minlength=6)[:6].argmax()) for f, m in zip(out, masks, strict=True)
    ]
    assert sorted(got) == list(range(6))
    assert all(giver != value for value, giver in enumerate(got))


def test_a_mask_of_nothing_leaves_the_film(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    films, masks = drawn
    nothing = np.zeros_like(masks)
    for fill in FILLS:
        assert (filled(films, nothing, fill) == films).all()
    assert (lungs_alone(films, nothing) == 0).all()


def test_lungs_alone_keeps_lungs_alone(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    films, masks = drawn
    out = lungs_alone(films, masks)
    assert (out[masks] == films[masks]).all()
    assert all(len(set(film[~mask].tolist())) == 1 for film, mask in zip(out, masks, strict=True))
