import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from cxrlens.evaluation.intervals import (
    DEMANDS,
    predictive_values,
    rates_from,
    steps,
    thresholds,
    weighted_auc,
)


def scored(films, decimals, seed):
    """Labels and scores that overlap; few decimals make many films of one score."""
    random = np.random.default_rng(seed)
    positive = random.random(films) < 0.4
    positive[:2] = True, False
    return positive, (random.normal(size=films) + positive).round(decimals)


@pytest.mark.parametrize("decimals", [0, 1, 6])
@pytest.mark.parametrize("films", [5, 40, 333])
def test_points_are_the_best_of_scikit_learn_s_curve(films, decimals):
    for seed in range(20):
        positive, score = scored(films, decimals, seed)
        weights = np.ones((1, films))
        wrong, right, levels = roc_curve(positive, score, drop_intermediate=False)
        curve = steps(weights, positive, score)
        chosen = thresholds(positive, score)
        assert curve.thresholds.tolist() == levels.tolist()
        for demand, of in DEMANDS:
            found, spared = (float(one[0]) for one in curve.rates(curve.chosen(demand, of)))
            if demand == "specificity":
                assert spared >= of - 1e-9
                assert found == pytest.approx(right[1 - wrong >= of - 1e-9].max())
                assert spared == pytest.approx((1 - wrong)[np.isclose(right, found)].max())
            else:
                assert found >= of - 1e-9
                assert spared == pytest.approx((1 - wrong)[right >= of - 1e-9].max())
                assert found == pytest.approx(right[np.isclose(1 - wrong, spared)].max())
            # The threshold, used on the same films, gives the same point.
            again = rates_from(weights, positive, score, chosen[demand, of])
            assert [float(one[0]) for one in again] == pytest.approx([found, spared])


def test_areas_are_scikit_learn_s_for_every_weighting():
    positive, score = scored(200, 1, 3)
    weights = np.random.default_rng(0).integers(0, 4, (6, 200)).astype(float)
    auc, precision = steps(weights, positive, score).areas()
    for row, one, area in zip(weights, auc, precision, strict=True):
        assert one == pytest.approx(roc_auc_score(positive, score, sample_weight=row))
        assert area == pytest.approx(average_precision_score(positive, score, sample_weight=row))
    assert auc == pytest.approx(weighted_auc(weights, positive, score))


def test_a_weight_is_as_many_films():
    positive, score = scored(60, 1, 7)
    times = np.random.default_rng(1).integers(0, 3, 60)
    weighted = steps(times[None].astype(float), positive, score)
    copied = steps(np.ones((1, times.sum())), np.repeat(positive, times), np.repeat(score, times))
    for demand, of in DEMANDS:
        assert weighted.rates(weighted.chosen(demand, of)) == copied.rates(
            copied.chosen(demand, of)
        )


def test_a_weighting_without_films_of_one_kind_has_no_rate_of_it():
    positive = np.array([True, True, False])
    weights = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found, spared = rates_from(weights, positive, np.array([0.9, 0.1, 0.5]), 0.5)
    assert found[0] == pytest.approx(1 / 3)
    assert np.isnan(spared[0])
    assert np.isnan(found[1])
    assert spared[1] == 0
    auc, precision = steps(weights, positive, np.array([0.9, 0.1, 0.5])).areas()
    assert np.isnan([*auc, *precision]).all()


def test_where_all_films_score_alike_none_may_be_called_so():
    positive = np.array([True, False, True, False])
    chosen = thresholds(positive, np.zeros(4))
    assert chosen["specificity", 0.9] == np.inf
    assert chosen["sensitivity", 0.9] == 0


def test_predictive_values_are_those_of_a_table_of_people():
    # Of 10,000 people 200 are ill: 180 found, 20 missed; of 9,800 well ones 6,860 spared.
    ppv, npv = predictive_values([0.9], [0.7], 0.02)
    assert ppv[0] == pytest.approx(180 / (180 + 2940))
    assert npv[0] == pytest.approx(6860 / (6860 + 20))
    nobody_called, nobody_spared = predictive_values([0.0, 1.0], [1.0, 0.0], 0.1)
    assert np.isnan(nobody_called[0])
    assert nobody_called[1] == pytest.approx(0.1)
    assert nobody_spared[0] == pytest.approx(0.9)
    assert np.isnan(nobody_spared[1])
