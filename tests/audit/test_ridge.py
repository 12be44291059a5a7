import numpy as np
import pytest

from cxrlens.audit import probes
from cxrlens.audit.probes import cross_validated, fit_ridge, folds_of, measured


@pytest.mark.parametrize("films", [80, 1500])
def test_ridge_is_scikit_learn_s(films: int) -> None:
    ridge = pytest.importorskip("sklearn.linear_model").RidgeCV
    random = np.random.default_rng(0)
    x = random.normal(size=(films, 12)) * random.uniform(0.1, 5, 12)
    y = (x[:, :2] @ random.normal(size=(2, 1)) + random.normal(size=(films, 1)) > 0).astype(float)
    weight, bias = fit_ridge(x, y)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    grid = [films * penalty for penalty in (0.001, 0.01, 0.1, 1.0, 10.0)]
    other = ridge(alphas=grid).fit((x - mean) / spread, y[:, 0])
    assert x @ weight + bias == pytest.approx(
        np.reshape(other.predict((x - mean) / spread), (-1, 1)), abs=1e-6
    )


def test_no_patient_stands_in_two_folds_and_classes_are_shared_out() -> None:
    random = np.random.default_rng(1)
    patients = random.integers(0, 60, 200)
    targets = (patients % 3 == 0)[:, None]
    folds = folds_of(np.concatenate([targets, ~targets], axis=1), patients, 0)
    assert all(len(set(folds[patients == one])) == 1 for one in set(patients.tolist()))
    people = [len(set(patients[(folds == f) & targets[:, 0]].tolist())) for f in range(5)]
    assert max(people) - min(people) <= 1


def test_what_is_there_is_told_and_what_is_not_is_chance() -> None:
    random = np.random.default_rng(2)
    targets = (np.arange(300) % 2 == 0)[:, None]
    patients = np.arange(300)
    noise = random.normal(size=(300, 50))
    signal = noise + 2 * targets * (np.arange(50) == 7)
    (told,), _ = measured(cross_validated(signal, targets, patients), targets, patients)
    (chance,), _ = measured(cross_validated(noise, targets, patients), targets, patients)
    assert told.auc > 0.85
    assert told.low is not None
    assert told.low > 0.8
    assert chance.low is not None
    assert chance.high is not None
    assert chance.low < 0.5 < chance.high + 0.05


def test_films_that_never_change_tell_nothing() -> None:
    targets = (np.arange(40) % 2 == 0)[:, None]
    scores = cross_validated(np.ones((40, 3)), targets, np.arange(40))
    assert measured(scores, targets, np.arange(40))[0][0].auc == pytest.approx(0.5, abs=0.2)


def test_resamples_drawn_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    targets = random.random((120, 2)) < 0.5
    scores, patients = random.normal(size=(120, 2)) + targets, np.arange(120) // 2
    at_once = measured(scores, targets, patients)
    monkeypatch.setattr(probes, "CELLS", 7 * 120)
    assert measured(scores, targets, patients) == at_once
