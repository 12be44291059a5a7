import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxrlens.evaluation.against_normal import disease_score, each_disease
from cxrlens.evaluation.intervals import rates_from, thresholds
from cxrlens.evaluation.measured import OWN, VALIDATED

from .drawn_predictions import CLASSES, draw

QUICK = 200


def point(separation, chosen_on, demand, of):
    (found,) = (
        one
        for one in separation.points
        if (one.chosen_on, one.demand, one.at_least) == (chosen_on, demand, of)
    )
    return found


def test_each_disease_is_held_against_its_source_s_own_normal_films():
    table = draw(decimals=6)
    found = each_disease(table, CLASSES, resamples=QUICK)
    assert list(found) == ["pneumonia", "tuberculosis"]
    for disease, one in found.items():
        for name, part in [("", table), *table.groupby("source")]:
            films = part[part["label"].isin(["normal", disease])]
            share = films[disease] / (films[disease] + films["normal"])
            place = one.within[name] if name else one.whole
            assert place.auc.value == pytest.approx(roc_auc_score(films["label"] == disease, share))
            assert place.films + place.normals == len(films)
            assert place.patients == films["patient"].nunique()
            assert place.auc.interval.low < place.auc.value < place.auc.interval.high


@pytest.mark.slow
def test_intervals_are_those_of_repeated_films_of_drawn_patients():
    table = draw(films=80, patients=30, decimals=6)
    films = table[table["label"].isin(["normal", "tuberculosis"])]
    interval = each_disease(table, CLASSES, resamples=2000)["tuberculosis"].whole.auc.interval
    random = np.random.default_rng(5)
    rows = {name: part.index for name, part in films.groupby("patient")}
    drawn = []
    for _ in range(2000):
        picked = random.choice(list(rows), len(rows))
        again = films.loc[np.concatenate([rows[name] for name in picked])]
        if again["label"].nunique() == 2:
            score = disease_score(again, "tuberculosis")
            drawn.append(roc_auc_score(again["label"] == "tuberculosis", score))
    assert [interval.low, interval.high] == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.015
    )


def test_a_threshold_of_the_validation_films_is_used_as_it_is():
    table, validation = draw(decimals=6), draw(seed=8, decimals=6)
    found = each_disease(table, CLASSES, validation, {"tuberculosis": 0.02}, QUICK)
    found = found["tuberculosis"].whole
    chose = validation[validation["label"] != "pneumonia"]
    given = thresholds(
        (chose["label"] == "tuberculosis").to_numpy(), disease_score(chose, "tuberculosis")
    )
    films = table[table["label"] != "pneumonia"]
    positive = (films["label"] == "tuberculosis").to_numpy()
    for (demand, of), threshold in given.items():
        one = point(found, VALIDATED, demand, of)
        assert one.threshold == threshold
        rates = rates_from(
            np.ones((1, len(films))), positive, disease_score(films, "tuberculosis"), threshold
        )
        se, sp = (float(rate[0]) for rate in rates)
        assert (one.sensitivity.value, one.specificity.value) == pytest.approx((se, sp))
        assert one.ppv.value == pytest.approx(se * 0.02 / (se * 0.02 + (1 - sp) * 0.98))
        assert one.npv.value == pytest.approx(sp * 0.98 / (sp * 0.98 + (1 - se) * 0.02))
        assert one.ppv.interval.low < one.ppv.value < one.ppv.interval.high
        own = point(found, OWN, demand, of)
        assert getattr(own, demand).value >= of
        # What is demanded has no interval there: every resample would choose to give it.
        other = "specificity" if demand == "sensitivity" else "sensitivity"
        assert getattr(own, demand).interval is None
        assert getattr(own, other).interval is not None


def test_who_s_target_is_met_where_it_is():
    perfect = pd.DataFrame(
        {
            "label": ["normal"] * 50 + ["tuberculosis"] * 50,
            "normal": [0.9] * 50 + [0.1] * 50,
            "tuberculosis": [0.1] * 50 + [0.9] * 50,
        }
    )
    found = each_disease(perfect, ["normal", "tuberculosis"], resamples=QUICK)["tuberculosis"]
    (target,) = found.whole.who
    assert (target.met, target.sure, target.sensitivity.value) == (True, True, 1.0)
    # 45 of 50 found at no alarm: 0.90 as it stands, but an interval that goes below.
    just = perfect.assign(
        tuberculosis=perfect["tuberculosis"].mask(perfect.index >= 95, 0.01), normal=0.5
    )
    (target,) = each_disease(just, ["normal", "tuberculosis"])["tuberculosis"].whole.who
    assert (target.met, target.sure, target.sensitivity.value) == (True, False, 0.9)
    random = perfect.assign(tuberculosis=np.random.default_rng(0).random(100), normal=0.5)
    (target,) = each_disease(random, ["normal", "tuberculosis"])["tuberculosis"].whole.who
    assert (target.met, target.sure) == (False, True)


def test_a_source_of_one_class_says_why_nothing_is_known():
    table = draw(decimals=6)
    normal = table["label"].eq("normal")
    table.loc[table["source"].eq("there") & normal, "source"] = "only normal"
    found = each_disease(table, CLASSES, draw(seed=8), resamples=QUICK)["tuberculosis"]
    there, normals = found.within["there"], found.within["only normal"]
    assert there.auc.value is None
    assert there.unknown == "no normal films there to hold against the others"
    assert normals.unknown == "no tuberculosis films there to hold against the others"
    # What the validation films' threshold finds, or spares, is known all the same.
    assert point(there, VALIDATED, "specificity", 0.9).sensitivity.value is not None
    assert point(there, VALIDATED, "specificity", 0.9).specificity.value is None
    assert point(normals, VALIDATED, "specificity", 0.9).specificity.value is not None
    assert not [one for one in there.points if one.chosen_on == OWN]


def test_views_ages_and_sexes_are_told_within_a_source():
    table = draw(decimals=6).assign(
        view=["PA", "ap"] * 150, age=[float(n % 90) for n in range(300)], sex="F"
    )
    table.loc[table["source"] == "there", ["view", "age", "sex"]] = [pd.NA, np.nan, pd.NA]
    found = each_disease(table, CLASSES, resamples=QUICK)["pneumonia"].within
    assert not found["there"].groups
    here = found["here"].groups
    assert list(here) == ["view", "age", "sex"]
    assert list(here["age"]) == ["under 18", "18 to 39", "40 to 64", "65 and over"]
    films = table[(table["source"] == "here") & table["label"].isin(["normal", "pneumonia"])]
    for name, one in here["view"].items():
        part = films[films["view"].str.upper() == name]
        score = disease_score(part, "pneumonia")
        assert one.auc.value == pytest.approx(roc_auc_score(part["label"] == "pneumonia", score))
    assert sum(one.films + one.normals for one in here["age"].values()) == len(films)


def test_a_rounded_zero_is_no_infinite_score():
    table = pd.DataFrame({"normal": [1.0, 0.0, 0.0], "tuberculosis": [0.0, 1.0, 0.0]})
    score = disease_score(table, "tuberculosis")
    assert np.isfinite(score).all()
    assert score[0] < score[2] < score[1]
