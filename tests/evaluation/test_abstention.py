import numpy as np
import pandas as pd
import pytest

from cxrlens.evaluation.assess import COVERAGES, abstention, assess
from cxrlens.evaluation.card import abstained
from cxrlens.evaluation.metrics import forced, measure
from cxrlens.evaluation.scores import scores_of

CLASSES = ("normal", "pneumonia", "tuberculosis")


def table() -> pd.DataFrame:
    """Ten films, of which three are unsure: two of those would have been wrong."""
    label = ["normal"] * 4 + ["pneumonia"] * 3 + ["tuberculosis"] * 3
    named = ["normal", "normal", "normal", "pneumonia", "pneumonia", "pneumonia", "normal"]
    named += ["tuberculosis", "tuberculosis", "normal"]
    unsure = [False, False, True, True, False, False, True, False, False, False]
    rows = pd.DataFrame({"image": [f"{i}.png" for i in range(10)], "label": label})
    rows["predicted"] = np.where(unsure, "unsure", named)
    rows["suggests"] = named
    rows["reason"] = np.where(unsure, "near the threshold", "")
    rows["doubt"] = [1, 2, 60, 90, 3, 4, 80, 5, 6, 70]
    for name in CLASSES:
        rows[name] = np.where(rows["suggests"] == name, 0.6, 0.2)
    return rows


def test_what_is_answered_and_how_often_it_is_wrong() -> None:
    found = abstention(table(), CLASSES, resamples=200)
    assert found is not None
    assert found.answered.value == pytest.approx(0.7)
    assert found.forced_error.value == pytest.approx(0.3)
    assert found.error.value == pytest.approx(1 / 7)
    assert found.ratio.value == pytest.approx(10 / 21)
    assert found.by_class == pytest.approx({"normal": 0.5, "pneumonia": 2 / 3, "tuberculosis": 1})
    assert found.by_reason == {"near the threshold": 3}
    pneumonia = found.diseases["pneumonia"]
    assert pneumonia.films == 3
    assert pneumonia.forced.value == pneumonia.as_miss.value == pytest.approx(2 / 3)
    assert pneumonia.as_referral.value == 1
    assert found.answered.interval is not None
    assert found.answered.interval.low < 0.7 < found.answered.interval.high


def test_errors_are_ranked_by_doubt_and_by_the_highest_probability() -> None:
    found = abstention(table(), CLASSES, resamples=0)
    assert found is not None
    assert found.doubt.value == 1.0
    assert found.likelihood.value == 0.5
    assert dict(found.curve)[0.7] == 0
    assert dict(found.curve)[1.0] == pytest.approx(0.3)
    assert [share for share, _ in found.curve] == list(COVERAGES)


def test_a_card_tells_unsure_as_a_miss_and_as_a_referral_and_each_class() -> None:
    found = abstention(table(), CLASSES, resamples=0)
    assert found is not None
    figures = {one.name: one.value for one in abstained(found.model_dump(mode="json"))}
    assert figures["Sensitivity to pneumonia, unsure as a miss"] == pytest.approx(2 / 3)
    assert figures["Sensitivity to pneumonia, unsure as a referral"] == 1
    assert figures["Share of the normal films that is answered"] == 0.5
    assert figures["Error among the 70% of least doubt"] == 0


def test_all_other_figures_name_a_class_for_unsure_films() -> None:
    films = table()
    every = films.assign(predicted=films["suggests"])
    assert measure(films, CLASSES) == measure(every, CLASSES)
    assert forced(every, CLASSES) is every
    likely = forced(films.drop(columns="suggests"), CLASSES)
    assert likely["predicted"].tolist() == films["suggests"].tolist()


def test_a_table_without_abstention_says_nothing_of_it() -> None:
    films = table().assign(predicted=table()["suggests"]).drop(columns=["doubt", "reason"])
    assert abstention(films, CLASSES) is None


def test_unsure_is_taken_in_anybody_s_table_and_by_source() -> None:
    films = table().assign(source=["a", "b"] * 5)
    scores = scores_of(films.assign(predicted=films["predicted"].str.upper()), "theirs.csv")
    found = assess(scores.table, scores.classes, resamples=20)
    assert found.abstention is not None
    assert found.abstention.by_reason == {"near the threshold": 3}
    places = [one.abstention for one in found.by_source.values()]
    assert sum(one.films for one in places if one) == 10
