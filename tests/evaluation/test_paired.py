from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from cxrlens.evaluation.metrics import measure
from cxrlens.evaluation.paired import compare_paired, holm, mcnemar

from .drawn_predictions import CLASSES, draw


@pytest.mark.parametrize(("first", "second"), [*product((0, 1, 5, 12), repeat=2), (300, 351)])
def test_mcnemar_is_the_binomial_test_and_its_mid_p(first, second):
    found = mcnemar(first, second)
    if first + second == 0:
        assert found.exact == 1
        assert found.mid == 1
        return
    films, fewer = first + second, min(first, second)
    assert found.exact == pytest.approx(binomtest(first, films).pvalue, rel=1e-9)
    # Fagerland et al. 2013, eq. 5 and the line after it, in float64.
    point = binom.pmf(fewer, films, 0.5)
    mid = 1 - 0.5 * point if first == second else 2 * binom.cdf(fewer, films, 0.5) - point
    assert found.mid == pytest.approx(mid, rel=1e-9)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="from 0"):
        mcnemar(-1, 3)


def test_mid_p_is_right_more_often_than_the_exact_test_where_models_are_equal():
    """Both keep the level of 5 %, and mid-p is not as far below it."""
    random = np.random.default_rng(0)
    counts = random.binomial(30, 0.5, 2000)
    found = [mcnemar(int(count), 30 - int(count)) for count in counts]
    exact = np.mean([one.exact < 0.05 for one in found])
    mid = np.mean([one.mid < 0.05 for one in found])
    assert exact <= mid <= 0.06
    assert exact < 0.05


def pair(seed=0, skill=1.5, better=0.0):
    """The same films called by two models; the second one may be better."""
    first = draw(films=240, patients=90, seed=seed, skill=skill)
    random = np.random.default_rng(seed + 100)
    scores = np.log(first[list(CLASSES)].to_numpy() + 1e-3)
    label = first["label"].map(CLASSES.index).to_numpy()
    scores += random.normal(scale=0.8, size=scores.shape)
    scores[np.arange(len(label)), label] += better
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    second = first.assign(**dict(zip(CLASSES, shares.T, strict=True)))
    second["predicted"] = [CLASSES[i] for i in shares.argmax(axis=1)]
    return first, second


def test_the_difference_is_that_of_each_resample_of_patients():
    first, second = pair(better=0.4)
    found = compare_paired(first, second, CLASSES, resamples=30, seed=5)
    random = np.random.default_rng(5)
    codes = pd.factorize(first["patient"])[0]
    patients = codes.max() + 1
    picks = random.integers(0, patients, size=(30, patients))
    differences = []
    for pick in picks:
        rows = np.concatenate([np.flatnonzero(codes == patient) for patient in pick])
        parts = [measure(table.iloc[rows], CLASSES).macro_f1 for table in (first, second)]
        differences.append(parts[0] - parts[1])
    assert found.macro_f1.value == pytest.approx(
        measure(first, CLASSES).macro_f1 - measure(second, CLASSES).macro_f1
    )
    low, high = np.quantile(differences, [0.025, 0.975])
    assert found.macro_f1.interval.low == pytest.approx(low, abs=1e-12)
    assert found.macro_f1.interval.high == pytest.approx(high, abs=1e-12)
    beyond = min(sum(d >= 0 for d in differences), sum(d <= 0 for d in differences))
    assert found.macro_f1.p == pytest.approx(min(1, 2 * (beyond + 1) / 31))


def test_films_that_part_the_models_are_counted():
    first, second = pair()
    found = compare_paired(first, second, CLASSES, resamples=10)
    a = (first["label"] == first["predicted"]).to_numpy()
    b = (second["label"] == second["predicted"]).to_numpy()
    assert (found.mcnemar.first, found.mcnemar.second) == ((a & ~b).sum(), (b & ~a).sum())
    assert (found.films, found.patients) == (240, first["patient"].nunique())


def test_a_clear_difference_is_found_and_turns_with_the_order():
    first, second = pair(better=2.0)
    found = compare_paired(first, second, CLASSES, resamples=400)
    turned = compare_paired(second, first, CLASSES, resamples=400)
    assert found.macro_f1.interval.high < 0
    assert found.macro_f1.p == pytest.approx(2 / 401)
    assert found.mcnemar.mid < 1e-4
    assert turned.macro_f1.value == -found.macro_f1.value
    assert turned.macro_f1.interval.low == pytest.approx(-found.macro_f1.interval.high)


def test_a_model_against_itself_has_no_difference():
    first, _ = pair()
    found = compare_paired(first, first, CLASSES, resamples=50)
    assert (found.macro_f1.value, found.macro_f1.p, found.mcnemar.exact) == (0, 1, 1)


def test_one_patient_gives_no_interval():
    first, second = (table.assign(patient="P1") for table in pair())
    found = compare_paired(first, second, CLASSES, resamples=20)
    assert (found.macro_f1.interval, found.macro_f1.p) == (None, None)


def test_other_films_or_labels_are_refused():
    first, second = pair()
    with pytest.raises(ValueError, match="same films"):
        compare_paired(first, second.iloc[::-1], CLASSES)
    with pytest.raises(ValueError, match="same labels"):
        compare_paired(first, second.assign(label="normal"), CLASSES)


def test_holm_is_a_step_down_bonferroni():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.001, 0.01]) == pytest.approx([0.5, 0.003, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
