import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxrlens.evaluation import intervals
from cxrlens.evaluation.intervals import bootstrap, weighted_auc
from cxrlens.evaluation.metrics import measure

from .drawn_predictions import CLASSES, draw


def test_weighted_auc_is_scikit_learn_s():
    random = np.random.default_rng(0)
    for decimals in (1, 6):  # with and without many equal scores
        score = random.random(200).round(decimals)
        positive = random.random(200) < 0.3
        weights = random.integers(0, 4, (30, 200)).astype(float)
        expected = [roc_auc_score(positive, score, sample_weight=w) for w in weights]
        np.testing.assert_allclose(weighted_auc(weights, positive, score), expected, rtol=1e-12)


def test_weighted_auc_is_unknown_where_a_side_is_gone():
    positive = np.array([True, False, False])
    weights = np.array([[0.0, 1, 2], [1, 0, 0], [1, 1, 1]])
    found = weighted_auc(weights, positive, np.array([0.9, 0.5, 0.1]))
    assert np.isnan(found[:2]).all()
    assert found[2] == 1


def test_every_resample_is_measured_as_a_table_of_its_films_would_be(monkeypatch):
    """Repeat the rows of each drawn patient, measure with scikit-learn, take the percentiles."""
    table = draw(films=60, patients=25)
    drawn = []
    real = intervals.draw

    def remembered(*arguments):
        drawn.append(real(*arguments))
        return drawn[-1]

    monkeypatch.setattr(intervals, "draw", remembered)
    found = bootstrap(table, CLASSES, resamples=40, seed=3)
    codes = pd.factorize(table["patient"])[0]
    weights = np.concatenate(drawn)
    assert weights.shape == (40, len(set(codes)))
    assert (weights.sum(axis=1) == len(set(codes))).all()
    values = [
        measure(table.loc[np.repeat(table.index, w[codes].astype(int))], CLASSES).flat()
        for w in weights
    ]
    for name, interval in found.by_name.items():
        known = [v[name] for v in values if v[name] is not None]
        expected = np.quantile(known, [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-12)
        assert interval.measured == len(known) / 40


def test_memory_is_bounded_by_drawing_in_parts(monkeypatch):
    table = draw()
    monkeypatch.setattr(intervals, "CELLS", 1000)
    parts = bootstrap(table, CLASSES, resamples=200)
    monkeypatch.undo()
    assert parts == bootstrap(table, CLASSES, resamples=200)


def test_a_seed_gives_the_same_intervals_and_another_others():
    table = draw()
    assert bootstrap(table, CLASSES, 100, seed=1) == bootstrap(table, CLASSES, 100, seed=1)
    assert bootstrap(table, CLASSES, 100, seed=1) != bootstrap(table, CLASSES, 100, seed=2)


def test_every_figure_lies_in_its_interval():
    table = draw()
    values = measure(table, CLASSES).flat()
    found = bootstrap(table, CLASSES)
    assert set(found.by_name) == set(values)
    for name, interval in found.by_name.items():
        assert 0 <= interval.low < values[name] < interval.high <= 1


def test_films_of_the_same_patients_say_less_than_films_of_others():
    """Eight copies of each film are eight films, but not eight patients."""
    table = draw(films=100, patients=100)
    table["patient"] = [f"P{i}" for i in range(100)]
    copies = pd.concat([table] * 8, ignore_index=True)
    strangers = copies.assign(patient=[f"P{i}" for i in range(800)])

    def width(of):
        interval = bootstrap(of, CLASSES).by_name["accuracy"]
        return interval.high - interval.low

    assert width(copies) == pytest.approx(width(table), rel=0.15)
    assert width(copies) == pytest.approx(np.sqrt(8) * width(strangers), rel=0.2)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Patients with four films each, right together in part; the true accuracy is 0.8."""
    random = np.random.default_rng(5)
    inside = ignored = 0
    for trial in range(200):
        chance = random.beta(1.2, 0.3, size=60)  # mean 0.8, strongly clustered
        right = random.random((60, 4)) < chance[:, None]
        predicted = np.where(right.ravel(), "normal", "pneumonia")
        table = pd.DataFrame({"label": "normal", "predicted": predicted})
        table["normal"] = np.where(right.ravel(), 0.9, 0.1)
        table["pneumonia"] = 1 - table["normal"]
        table["patient"] = np.repeat(np.arange(60), 4)
        classes = CLASSES[:2]
        interval = bootstrap(table, classes, 300, seed=trial).by_name["accuracy"]
        inside += interval.low <= 0.8 <= interval.high
        without = bootstrap(table.drop(columns="patient"), classes, 300, seed=trial)
        interval = without.by_name["accuracy"]
        ignored += interval.low <= 0.8 <= interval.high
    assert 0.89 <= inside / 200 <= 0.985
    assert ignored / 200 < 0.89  # films taken for patients promise too much


def test_a_rare_class_has_an_interval_over_the_resamples_that_hold_it():
    table = draw(films=60, patients=60)
    table["patient"] = table["image"]
    table.loc[table["label"] == "tuberculosis", "label"] = "normal"
    table.loc[0, "label"] = "tuberculosis"
    found = bootstrap(table, CLASSES).by_name["tuberculosis.recall"]
    assert found.measured == pytest.approx(1 - (1 - 1 / 60) ** 60, abs=0.05)


def test_what_cannot_be_measured_has_no_interval():
    table = draw()
    table = table[table["label"] != "tuberculosis"]
    found = bootstrap(table, CLASSES, 100).by_name
    assert found["tuberculosis.auc"] is None
    assert found["tuberculosis.recall"] is None
    assert found["normal.auc"] is not None
    one_patient = bootstrap(table.assign(patient="P1"), CLASSES, 100)
    assert one_patient.patients == 1
    assert set(one_patient.by_name.values()) == {None}


def test_wrong_settings_are_refused():
    for settings in ({"resamples": 0}, {"level": 1.0}):
        with pytest.raises(ValueError, match="resamples must be"):
            bootstrap(draw(), CLASSES, **settings)


def test_a_thousand_resamples_of_two_thousand_films_take_seconds():
    table = draw(films=2100, patients=1700, decimals=6)
    start = time.process_time()
    bootstrap(table, CLASSES)
    assert time.process_time() - start < 10
