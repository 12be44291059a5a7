import numpy as np
import pytest

from cxrlens.training.films import balanced, log_prior, shuffled

# A place with both, a large one with pneumonia alone, a small one with normal films alone.
SOURCES = np.array([0] * 100 + [1] * 900 + [2] * 16)
LABELS = np.array([0] * 64 + [2] * 36 + [1] * 900 + [0] * 16)


def test_shuffled_meets_every_film_once() -> None:
    every = shuffled(LABELS, SOURCES)
    assert every.films == len(LABELS)
    assert sorted(every.epoch(np.random.default_rng(0))) == list(range(len(LABELS)))


def test_classes_alike_and_sources_by_their_root() -> None:
    sampling = balanced(LABELS, SOURCES)
    drawn = sampling.epoch(np.random.default_rng(0))
    assert len(drawn) == sampling.films == pytest.approx(len(LABELS), abs=3)
    classes = np.bincount(LABELS[drawn])
    assert classes == pytest.approx(len(LABELS) / 3, abs=2)
    normal = SOURCES[drawn[LABELS[drawn] == 0]]
    # The roots of 64 and 16 films are 8 and 4.
    assert (normal == 0).sum() / (normal == 2).sum() == pytest.approx(2, abs=0.05)


def test_a_film_comes_again_only_after_all_others_of_its_cell() -> None:
    drawn = balanced(LABELS, SOURCES).epoch(np.random.default_rng(3))
    often = np.bincount(drawn, minlength=len(LABELS))
    for cell in (LABELS == 1, (LABELS == 2), (LABELS == 0) & (SOURCES == 2)):
        assert np.ptp(often[cell]) <= 1


def test_at_most_so_many_of_a_cell_count() -> None:
    sampling = balanced(LABELS, SOURCES, most=50)
    assert sampling.films == pytest.approx(50 + 36 + 50 + 16, abs=3)
    first, second = (set(sampling.epoch(np.random.default_rng(seed))) for seed in (0, 1))
    # Which of the many films are met changes from epoch to epoch.
    assert len(first | second) > len(first) + 20


def test_the_prior_is_the_share_of_a_class_in_its_source_as_it_is_met() -> None:
    prior = np.exp(log_prior(shuffled(LABELS, SOURCES), LABELS, SOURCES, 3))
    assert prior.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert prior[0] == pytest.approx([0.66 / 1.06, 0.02 / 1.06, 0.38 / 1.06], abs=1e-4)
    assert prior[500] == pytest.approx([0.02 / 1.06, 1.02 / 1.06, 0.02 / 1.06], abs=1e-4)
    sampling = balanced(LABELS, SOURCES)
    met = sampling.draws / sampling.draws.sum()
    assert met.sum() == pytest.approx(1)
    even = np.exp(log_prior(sampling, LABELS, SOURCES, 3))[0]
    drawn = sampling.epoch(np.random.default_rng(0))
    here = LABELS[drawn[SOURCES[drawn] == 0]]
    shares = np.bincount(here, minlength=3) / len(here)
    assert even == pytest.approx((shares + 0.02) / 1.06, abs=1e-3)


def test_with_the_prior_there_is_next_to_nothing_to_gain_from_the_source() -> None:
    """Held against the least loss that scores of the source alone can reach."""
    prior = log_prior(shuffled(LABELS, SOURCES), LABELS, SOURCES, 3)
    counts = np.zeros((3, 3))
    np.add.at(counts, (SOURCES, LABELS), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    least = -np.log(shares[SOURCES, LABELS]).mean()

    def loss(logits: np.ndarray) -> float:
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(len(LABELS)), LABELS].mean())

    nothing_seen = np.zeros((len(LABELS), 3))
    assert loss(nothing_seen + prior) - least < 0.05
    assert loss(nothing_seen) - least > 1
