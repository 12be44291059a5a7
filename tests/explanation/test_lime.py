from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from cxrlens.errors import CxrlensError
from cxrlens.explanation.lime import (
    draw_masks,
    fit_surrogate,
    lime,
    proximity,
    superpixels,
    weighted_ridge,
)

SIDE, GRID = 64, 6
RNG = np.random.default_rng(2)
FILM = RNG.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
ROWS = np.arange(SIDE) * GRID // SIDE
SEGMENTS = (ROWS[:, None] * GRID + ROWS[None]).astype(np.int32)
REGIONS = GRID * GRID
PULL = RNG.normal(size=REGIONS)
PROBES = [np.argmax((region == SEGMENTS) * np.abs(FILM - 127.5)) for region in range(REGIONS)]
"""A pixel of each region that is far from the region's mean."""


def shown(films: np.ndarray) -> np.ndarray:
    """Which regions each film shows."""
    return films.reshape(len(films), -1)[:, PROBES] == FILM.ravel()[PROBES]


def saturated(films: np.ndarray) -> np.ndarray:
    """A model that is sure of most films, with regions that count only together."""
    masks = shown(films)
    odds = 4 + (2 * masks - 1) @ PULL + 2.0 * (masks[:, 3] & masks[:, 20])
    share = 1 / (1 + np.exp(-odds))
    return np.stack([1 - share, share], axis=1)


def linear(films: np.ndarray) -> np.ndarray:
    share = 0.5 + shown(films) @ PULL / 40
    return np.stack([1 - share, share], axis=1)


explain = partial(lime, film=FILM, target=1, segments=SEGMENTS)


def test_plain_weights_are_the_lime_package_s() -> None:
    lime_base = pytest.importorskip("lime.lime_base")
    masks = draw_masks(400, REGIONS, 0)
    answers = np.random.default_rng(1).random(400)
    distance = 1 - masks.sum(1) / np.sqrt(masks.sum(1) * REGIONS)
    base = lime_base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)))
    labels = np.stack([answers, 1 - answers], axis=1)
    intercept, pairs, score, _ = base.explain_instance_with_data(
        masks.astype(float), labels, distance, 0, REGIONS, feature_selection="none"
    )
    theirs = np.array([weight for _, weight in sorted(pairs)])
    ours = weighted_ridge(masks, answers)
    assert ours == pytest.approx(theirs, abs=1e-9)
    near = proximity(masks)
    rest = answers - masks @ ours
    assert near @ rest / near.sum() == pytest.approx(intercept, abs=1e-9)
    missed = near @ (rest - intercept) ** 2
    whole = near @ (answers - near @ answers / near.sum()) ** 2
    assert 1 - missed / whole == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("fit", ["plain", "assisted"])
def test_a_linear_model_is_explained_wholly(fit: str) -> None:
    found = explain(linear, samples=600, fit=fit)
    assert found.weights == pytest.approx(PULL / 40, abs=0.006)
    assert found.r_squared > 0.97
    assert found.map()[0, 0] == pytest.approx(found.weights[0])


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """Weights of so many masks that hardly anything is left to chance."""
    return explain(saturated, samples=20_000, seed=77, fit="plain").weights


def test_assisted_needs_several_times_fewer_questions(reference: np.ndarray) -> None:
    few = [
        spearmanr(explain(saturated, samples=n, seed=seed, fit=fit).weights, reference)[0]
        for n, fit in ((300, "assisted"), (1200, "plain"))
        for seed in range(4)
    ]
    assert np.mean(few[:4]) > max(0.9, np.mean(few[4:]))


def test_assisted_comes_to_the_same_weights(reference: np.ndarray) -> None:
    """Where the surrogate is wrong, answers beyond the first thousand put it right."""
    size = np.abs(reference).max()
    found = explain(saturated, samples=8000).weights
    assert np.abs(found - reference).max() < 0.08 * size


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, other = (
        explain(saturated, samples=101, seed=s, batch=b).weights
        for s, b in ((4, 32), (4, 7), (5, 32))
    )
    assert one == pytest.approx(two, abs=1e-12)
    assert (one != other).any()


def test_masks_come_with_their_complements() -> None:
    masks = draw_masks(101, 9, 3)
    assert masks[0].all()
    assert (masks[1::2] != masks[2::2]).all()
    assert len(draw_masks(100, 9, 3)) == 100


def test_hidden_regions_show_their_mean() -> None:
    asked: list[np.ndarray] = []

    def watch(films: np.ndarray) -> np.ndarray:
        asked.append(films.copy())
        return linear(films)

    explain(watch, samples=40, batch=40)
    masks = draw_masks(40, REGIONS, 0)
    for film, mask in zip(asked[0], masks, strict=True):
        for region in range(REGIONS):
            part = region == SEGMENTS
            expected = FILM[part] if mask[region] else np.uint8(FILM[part].mean())
            assert (film[part] == expected).all()


def test_progress_tells_and_stops() -> None:
    seen: list[tuple[int, int]] = []
    explain(linear, samples=70, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(32, 70), (64, 70), (70, 70)]

    def stop(done: int, of: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        explain(linear, progress=stop)
    with pytest.raises(CxrlensError, match="10 samples or more"):
        explain(linear, samples=3)


def test_a_model_that_never_changes_its_mind_gets_no_weights() -> None:
    found = explain(lambda films: np.full((len(films), 2), 0.5), samples=50)
    assert found.weights == pytest.approx(np.zeros(REGIONS), abs=1e-12)
    assert found.r_squared == 0


def test_without_segments_there_are_superpixels() -> None:
    found = lime(lambda f: np.stack([f.mean((1, 2)) / 255] * 2, 1), FILM, 0, samples=50)
    assert len(found.weights) == found.segments.max() + 1
    assert (found.segments == superpixels(FILM)).all()


def test_the_surrogate_guesses_masks_it_has_not_seen() -> None:
    masks = draw_masks(800, REGIONS, 5)
    answers = 1 / (1 + np.exp(-2 - (2 * masks - 1) @ PULL - 2.0 * (masks[:, 3] & masks[:, 20])))
    guess = fit_surrogate(masks[:500], answers[:500])(masks[500:])
    missed = np.mean((guess - answers[500:]) ** 2) / answers[500:].var()
    assert missed < 0.1
    plain = masks @ weighted_ridge(masks[:500], answers[:500])
    plain += answers[:500].mean() - plain[:500].mean()
    assert missed < 0.7 * np.mean((plain[500:] - answers[500:]) ** 2) / answers[500:].var()
