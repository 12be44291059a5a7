import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cxrlens.errors import CxrlensError, RunError
from cxrlens.prediction.calibration import (
    RANKS,
    STEPS,
    Array,
    Curve,
    Familiarity,
    Measures,
    Numbers,
    fit_calibration,
    fit_numbers,
    map_statistics,
    wilson,
)
from cxrlens.prediction.decision import Outputs, Shares, Single, Voting
from cxrlens.prediction.trust import (
    AGE,
    ARRAYS,
    DRIFTED,
    ENOUGH,
    LATEST,
    NEAR,
    NO_CHEST,
    QUALITY,
    SPOILING,
    TRUST,
    UNLIKE,
    UNSURE,
    Trust,
    Watch,
    answers,
    histogram,
    read_trust,
    refusal,
    write_trust,
)

CLASSES = ("normal", "pneumonia", "tuberculosis")


def drawn(films: int = 600, seed: int = 0) -> tuple[Array, np.ndarray]:
    """z whose true posteriors are the softmax of 0 and (z - (0.5, -1)) / 2."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (films, 2))
    powers = np.exp(np.concatenate([np.zeros((films, 1)), logits], 1))
    shares = powers / powers.sum(1, keepdims=True)
    labels = np.array([random.choice(3, p=row) for row in shares])
    return logits * 2 + np.array([0.5, -1.0]), labels


def numbers(**told: object) -> Numbers:
    plain = {
        "offsets": [0, 0],
        "thresholds": [0, 0],
        "temperature": 1,
        "margin": 1,
        "margins": [0, 1],
    }
    return Numbers.model_validate(plain | told)


def test_the_true_calibration_is_found() -> None:
    z, labels = drawn(20000)
    offsets, temperature = fit_calibration(z, labels)
    assert temperature == pytest.approx(2, abs=0.1)
    counts = np.bincount(labels)
    # Where classes shall weigh the same, the frequent one loses its advantage.
    assert offsets == pytest.approx([0.5, -1] + 2 * np.log(counts[1:] / counts[0]), abs=0.1)
    still, _ = fit_calibration(z, labels, moves=False)
    assert still == pytest.approx([0, 0])


def test_classes_without_an_error_give_a_finite_temperature() -> None:
    labels = np.repeat([0, 1, 2], 20)
    z = np.stack([np.where(labels == 1, 9.0, -9.0), np.where(labels == 2, 9.0, -9.0)], 1)
    _, temperature = fit_calibration(z, labels)
    assert 0.05 < temperature < 5
    # What holds a slope that nothing else would is the pull towards 1.
    small = z / 90

    def loss(slope: float) -> float:
        logits = np.concatenate([np.zeros((60, 1)), slope * small], 1)
        likely = logits[np.arange(60), labels] - np.log(np.exp(logits).sum(1))
        return float(-likely.mean() + 1e-3 * (slope - 1) ** 2 / 2)

    best = minimize_scalar(loss, (1, 100), tol=1e-10).x
    assert 1 / fit_calibration(small, labels)[1] == pytest.approx(best, rel=0.01)


def test_few_films_or_a_class_without_any_fit_nothing() -> None:
    z, labels = drawn(29)
    assert fit_numbers(Measures(z), labels, True) is None
    z, labels = drawn(400)
    assert fit_numbers(Measures(z[labels < 2]), labels[labels < 2], True) is None
    found = fit_numbers(Measures(z), labels, True)
    assert found is not None
    # Half of the offset carries to other places; without leave to move, none is taken.
    offsets, temperature = fit_calibration(z, labels)
    assert found.offsets == found.thresholds == pytest.approx(offsets / 2)
    assert found.temperature == temperature
    stays = fit_numbers(Measures(z), labels, False)
    assert stays is not None
    assert stays.offsets == stays.thresholds == pytest.approx([0, 0])


def test_measures_are_taken_apart_and_put_together() -> None:
    z, labels = drawn(30)
    whole = Measures(z, labels, z[:, 0] + 1, z[:, 1] - 1)
    for films in (whole, Measures(z)):
        rows = np.arange(30)
        parts = Measures.joined([films.of(rows < 7), films.of(rows[7:])])
        for name in ("z", "voted", "residual", "relative"):
            before, after = getattr(films, name), getattr(parts, name)
            assert (before is None and after is None) or np.array_equal(before, after)


def test_near_the_threshold_is_the_share_that_was_asked() -> None:
    z, labels = drawn(1000)
    found = fit_numbers(Measures(z), labels, True)
    assert found is not None
    answers = Trust(CLASSES, found).answer(Measures(z), [""] * 1000)
    assert answers.reasons.count(NEAR) == pytest.approx(70, abs=1)
    assert answers.predicted.count(UNSURE) == answers.reasons.count(NEAR)
    forced = Trust(CLASSES, found).answer(Measures(z), [""] * 1000, force=True)
    assert forced.predicted == forced.suggests == answers.suggests
    assert forced.reasons == answers.reasons


def test_a_patient_younger_than_those_who_taught_the_answer_or_the_next_is_unsure() -> None:
    trust = Trust(CLASSES, numbers(), youngest_of={"normal": 1, "pneumonia": 1, "tuberculosis": 15})
    named = {"tuberculosis": [0, 9], "pneumonia": [9, 5], "normal": [-5, -9]}
    z = np.array([*named.values(), [9, -5], [0, 9], [0, 9], [0, 9]], float)
    films = Measures(z)
    ages = [2, 2, 2, 2, 15, None, 2]
    told = trust.answer(films, ["", "", "", "", "", "", QUALITY], ages)
    # Of the second, tuberculosis comes next; of the third and fourth, pneumonia and normal.
    assert told.reasons == [AGE, AGE, "", "", "", "", QUALITY]
    assert told.suggests[:3] == [*named]
    assert trust.answer(films, [""] * 7, ages, force=True).predicted[0] == "tuberculosis"
    assert AGE not in trust.answer(films, [""] * 7).reasons
    curve = Curve.of(np.array([-2.0, 1, 3]), np.array([False, True, True]), np.arange(3), 0.0)
    moved = replace(trust, numbers=numbers(curves=[None, curve]))
    scores = {"pneumonia": 10.0, "tuberculosis": 99.0}
    assert set(moved.what_if(scores, "", age=30.0)["tuberculosis"]) == {"tuberculosis"}
    assert set(moved.what_if(scores, AGE, age=2.0)["tuberculosis"]) == {UNSURE}


def test_a_curve_counts_films_and_patients_at_every_threshold() -> None:
    z, labels = drawn(600)
    patients = np.arange(600) // 2
    found = fit_numbers(Measures(z), labels, True, patients)
    assert found is not None
    for disease, curve in enumerate(found.curves, 1):
        assert curve is not None
        assert len(curve.thresholds) == 2 * (STEPS + 1) + 1
        of = z[:, disease - 1]
        assert found.thresholds[disease - 1] in curve.thresholds
        assert curve.thresholds == sorted(curve.thresholds)
        for place, at in enumerate(curve.thresholds):
            assert curve.missed[place] == ((of <= at) & (labels == disease)).sum()
            assert curve.alarms[place] == ((of > at) & (labels == 0)).sum()
        assert curve.films == (labels == disease).sum()
        assert curve.patients == len({*patients[labels == disease]})
        sensitivity = curve.sensitivities[len(curve.thresholds) // 2]
        assert sensitivity == wilson(sensitivity.value, curve.patients)
        assert sensitivity.low < sensitivity.value < sensitivity.high
        for alarms, rate in zip(curve.alarms, curve.specificities, strict=True):
            assert rate == wilson(1 - alarms / curve.normals, curve.normal_patients)
    # Wilson's own: the bounds are where the rate is 1.96 standard errors away.
    rate, low, high = wilson(0.8, 40)
    for bound in (low, high):
        assert abs(rate - bound) == pytest.approx(1.96 * np.sqrt(bound * (1 - bound) / 40), 1e-4)
    assert len(Curve.of(np.zeros(2), np.array([False, True]), np.arange(2), 0.0).thresholds) == 1
    assert (wilson(0.0, 20).low, wilson(1.0, 20).high) == (0.0, 1.0)
    voted = Measures(z, labels)
    assert (told := fit_numbers(voted, labels, True))
    assert told.curves == []


def test_what_if_is_what_would_be_answered_with_that_threshold() -> None:
    z, labels = drawn(400)
    found = fit_numbers(Measures(z), labels, True)
    assert found is not None
    trust = Trust(CLASSES, found)
    said = trust.answer(Measures(z[:40]), [""] * 40)
    seen = set()
    for film in range(40):
        scores = dict(zip(CLASSES[1:], said.scores[film], strict=True))
        would = trust.what_if(scores, said.reasons[film])
        for place, name in enumerate(CLASSES[1:]):
            assert len(would[name]) == len(trust.scores_at(name))
            for step in (0, 13, 20, 30):
                moved = list(found.thresholds)
                moved[place] = trust.curves[name].thresholds[step]
                other = replace(trust, numbers=found.model_copy(update={"thresholds": moved}))
                assert would[name][step] in other.answer(Measures(z[[film]]), [""]).predicted
                seen.add(would[name][step])
    assert seen == {*CLASSES, UNSURE}
    assert {*trust.what_if(scores, UNLIKE)["pneumonia"]} == {UNSURE}
    assert UNSURE not in trust.what_if(scores, UNLIKE, force=True)["pneumonia"]
    own = trust.scores_at("tuberculosis")[
        trust.curves["tuberculosis"].thresholds.index(found.thresholds[1])
    ]
    assert own == trust.thresholds["tuberculosis"]
    assert Trust(CLASSES).what_if(scores, "") == {}


@pytest.mark.parametrize(
    "broken", [{"missed": [1]}, {"alarms": [5, 5]}, {"thresholds": []}, {"patients": 0}]
)
def test_a_damaged_curve_is_refused(broken: dict[str, object]) -> None:
    told = {"thresholds": [0, 1], "missed": [0, 1], "alarms": [4, 1], "films": 3, "patients": 3}
    told |= {"normals": 4, "normal_patients": 4}
    assert numbers(curves=[told, None]).curves[1] is None
    with pytest.raises(ValueError, match="curves"):
        numbers(curves=[told | broken, None])


def test_doubt_ranks_errors() -> None:
    z, labels = drawn(2000)
    found = fit_numbers(Measures(z), labels, True)
    assert found is not None
    answers = Trust(CLASSES, found).answer(Measures(z), [""] * 2000)
    wrong = np.array(answers.suggests) != np.array(CLASSES)[labels]
    assert 0 <= answers.doubt.min() < answers.doubt.max() <= 100
    assert answers.doubt[wrong].mean() > answers.doubt[~wrong].mean() + 10


def test_the_first_reason_is_told() -> None:
    z = np.array([[5.0, -5.0], [5.0, -5.0], [0.1, -5.0], [-5.0, -5.0]])
    trust = Trust(CLASSES, numbers(most_residual=1.0))
    films = Measures(z, residual=np.array([2.0, 2.0, 0.0, 0.0]))
    answers = trust.answer(films, [NO_CHEST, "", "", ""])
    assert answers.reasons == [NO_CHEST, UNLIKE, NEAR, ""]
    assert answers.predicted == [UNSURE, UNSURE, UNSURE, "normal"]
    assert answers.suggests == ["pneumonia", "pneumonia", "pneumonia", "normal"]


def test_what_the_film_itself_refuses() -> None:
    assert refusal({"not_a_chest": True, "torn": True}, SPOILING) == NO_CHEST
    assert refusal({"not_a_chest": False, "torn": True}, SPOILING) == QUALITY
    assert refusal({"negative": True}, SPOILING - {"negative"}) == ""
    assert refusal({"padded": True, "patched": True}, SPOILING) == ""


def test_members_who_outvote_the_scores_are_unsure() -> None:
    z = np.array([[3.0, -5.0], [3.0, -5.0]])
    answers = Trust(CLASSES, numbers()).answer(Measures(z, np.array([1, 0])), ["", ""])
    assert answers.suggests == ["pneumonia", "normal"]
    assert answers.predicted == ["pneumonia", UNSURE]


def test_thresholds_move_answers_and_not_probabilities() -> None:
    z = np.array([[1.0, -9.0]])
    low, high = (
        Trust(CLASSES, numbers(thresholds=[at, 0], margin=0)).answer(Measures(z), [""])
        for at in (0.0, 2.0)
    )
    assert (low.predicted, high.predicted) == (["pneumonia"], ["normal"])
    assert np.array_equal(low.probabilities, high.probabilities)
    assert Trust(CLASSES, numbers(thresholds=[2, 0])).thresholds["pneumonia"] == pytest.approx(
        88.08, abs=0.01
    )


def test_prevalence_weighs_the_probabilities() -> None:
    z = np.array([[0.0, 0.0]])
    (even,) = Trust(CLASSES, numbers()).answer(Measures(z), [""]).probabilities
    rare = Trust(CLASSES, numbers(prevalence=[0.97, 0.02, 0.01])).answer(Measures(z), [""])
    assert even == pytest.approx([1 / 3] * 3)
    assert rare.probabilities[0] == pytest.approx([0.97, 0.02, 0.01])
    assert rare.scores[0] == pytest.approx([50, 50])


def test_without_a_fit_the_network_answers_as_it_is() -> None:
    scores = [np.array([[1.0, 2.0, 0.5], [0.0, 0.0, 9.0]], np.float32)]
    shares = Single(0).decide(scores)
    trust = Trust(CLASSES)
    said = trust.answer(trust.measure(shares, Outputs(scores, None, None)), ["", QUALITY])
    assert said.probabilities == pytest.approx(shares.probabilities)
    assert said.predicted == ["pneumonia", UNSURE]
    assert not trust.calibrated


def test_answers_are_the_first_columns_of_the_predictions_table() -> None:
    scores = [np.array([[0.0, 5.0]], np.float32), np.array([[0.0, 1.0]], np.float32)]
    trust, outputs = Trust(("a", "b")), Outputs(scores, None)
    votes = Voting((Single(0, 2), Single(1, 2)))
    (row,) = answers(trust, votes, outputs, [""]).to_dict("records")
    said = ["predicted", "reason", "suggests", "a", "b", "votes_a", "votes_b"]
    assert list(row) == [*said, "score_b", "doubt", "calibrated"]
    assert (row["predicted"], row["votes_a"], row["votes_b"]) == ("b", 0, 2)
    assert "votes_a" not in answers(trust, Single(0, 2), outputs, [""])


def features(random: np.random.Generator, films: int) -> np.ndarray:
    """Forty features that lie near a plane of three dimensions."""
    plane = np.random.default_rng(1).normal(size=(3, 40))
    return (random.normal(size=(films, 3)) @ plane + random.normal(0, 0.1, (films, 40))).astype(
        np.float32
    )


def test_another_kind_of_film_is_far_and_the_same_kind_is_not() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500)
    maps = random.normal(0, 1, (500, 2, 7, 7)) + 2 * (labels[:, None] == [1, 2])[:, :, None, None]
    films, others = features(random, 500), random.normal(0, 1.7, (200, 40)).astype(np.float32)
    learnt = Familiarity.fit(films, map_statistics(maps), labels)
    residual = learnt.residual(features(random, 200))
    strange = learnt.residual(others)
    assert residual is not None
    assert strange is not None
    assert np.mean(strange > np.quantile(residual, 0.99)) > 0.99
    usual, odd = (
        learnt.relative(maps[:100].astype(np.float32)),
        learnt.relative((9 + maps[:100] * 5).astype(np.float32)),
    )
    assert usual is not None
    assert odd is not None
    assert np.mean(odd > np.quantile(usual, 0.99)) > 0.99
    assert learnt.features is not None
    assert len(learnt.features.components) == 40 // 4
    # In whatever unit features are measured, what is left over is the same.
    far = Familiarity.fit(films / 1000, None, labels).residual(others / 1000)
    assert far == pytest.approx(strange, rel=0.05)
    # Shrinking a covariance leaves its trace.
    assert learnt.shape is not None
    along = learnt.shape.along(map_statistics(maps))
    trace = np.trace(np.linalg.inv(learnt.marginal))
    assert trace == pytest.approx((along**2).sum(1).mean(), rel=1e-3)


def test_the_map_is_described_by_five_figures_a_disease() -> None:
    maps = np.zeros((1, 2, 4, 5), np.float32)
    maps[0, 1, 0, 0] = 4.0
    found = map_statistics(maps)[0]
    assert found == pytest.approx(
        [0, 4, 0, 0.2, 0, np.sqrt(0.8 - 0.04), 0, 0.2, 0, 0.05], abs=0.021
    )


def test_trust_comes_back_as_it_was_written(tmp_path: Path) -> None:
    z, labels = drawn()
    random = np.random.default_rng(0)
    maps = random.normal(0, 1, (600, 2, 6, 6)).astype(np.float32)
    learnt = Familiarity.fit(features(random, 600), map_statistics(maps), labels)
    films = Measures(z, None, learnt.residual(features(random, 600)), learnt.relative(maps))
    fit = fit_numbers(films, labels, True)
    assert fit is not None
    kept = Trust(CLASSES, fit, learnt, films=600)
    kept = replace(kept, histogram=histogram(CLASSES, kept.cautious().scores(z)))
    kept = replace(kept, youngest_of={"normal": 4.0})
    write_trust(tmp_path, "0123456789ab", CLASSES, kept)
    back = read_trust(tmp_path, "0123456789ab", CLASSES)
    assert back.calibrated
    assert (back.films, back.youngest_of) == (600, {"normal": 4.0})
    assert [sum(of) for of in back.histogram.values()] == pytest.approx([1, 1])
    assert len(back.digest) == 12
    assert back.numbers is not None
    assert len(back.numbers.margins) == len(back.numbers.relatives) == RANKS
    again = back.measure(
        Shares(np.full((600, 3), 1 / 3), labels),
        Outputs([], maps, features(np.random.default_rng(3), 600)),
    )
    assert again.relative == pytest.approx(films.relative, rel=1e-3, abs=1e-3)
    assert again.residual is not None
    assert (tmp_path / ARRAYS).stat().st_size < 30_000


def test_trust_of_another_model_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert not read_trust(tmp_path, "0123456789ab", CLASSES).calibrated
    write_trust(tmp_path, "0123456789ab", CLASSES, Trust(CLASSES, numbers(), films=50))
    with pytest.raises(RunError, match="of the model 0123456789ab, not of ffff"):
        read_trust(tmp_path, "ffff", CLASSES)
    content = json.loads((tmp_path / TRUST).read_text())
    content["numbers"]["offsets"] = [0]
    (tmp_path / TRUST).write_text(json.dumps(content))
    with pytest.raises(RunError, match="offsets does not fit 3 classes"):
        read_trust(tmp_path, "0123456789ab", CLASSES)
    (tmp_path / TRUST).write_text("{")
    with pytest.raises(RunError, match=r"trust\.json is damaged"):
        read_trust(tmp_path, "0123456789ab", CLASSES)


def test_a_site_file_moves_trust_and_that_of_another_model_is_refused(tmp_path: Path) -> None:
    trust = replace(Trust(CLASSES, numbers()), digest="a" * 12)
    site = tmp_path / "site.json"
    content = {"format": 1, "model": "0123456789ab", "classes": CLASSES}
    content["numbers"] = numbers(thresholds=[4, 4]).model_dump()
    site.write_text(json.dumps(content))
    moved = trust.at(site, "0123456789ab")
    films = Measures(np.array([[2.0, -9.0]]))
    assert trust.answer(films, [""]).predicted == ["pneumonia"]
    assert moved.answer(films, [""]).predicted == ["normal"]
    assert (len(moved.site), moved.digest) == (12, trust.digest)
    with pytest.raises(CxrlensError, match=r"made for the model 0123456789ab, not for ffff"):
        trust.at(site, "ffff")
    with pytest.raises(CxrlensError, match="is no file"):
        trust.at(tmp_path / "none.json", "0123456789ab")


def test_scores_that_drift_are_an_alarm_and_chance_is_none() -> None:
    random = np.random.default_rng(0)
    kept = histogram(CLASSES, random.uniform(0, 100, (900, 2)))
    watch = Watch(kept)
    assert np.isnan(watch.unsure(UNLIKE))

    def see(many: int, most: float) -> None:
        for pneumonia, tuberculosis in random.uniform(0, (100, most), (many, 2)):
            watch.see({"pneumonia": pneumonia, "tuberculosis": tuberculosis}, "")

    see(ENOUGH - 1, 100)
    assert np.isnan(watch.drift("tuberculosis"))
    see(LATEST, 100)
    assert watch.drift("tuberculosis") < DRIFTED / 2
    assert watch.told()["cxrlens_score_drift_alarm"] == 0
    see(LATEST, 60)
    assert watch.drift("tuberculosis") > DRIFTED > watch.drift("pneumonia")
    assert watch.told()["cxrlens_score_drift_alarm"] == 1
    for _ in range(100):
        watch.see({"pneumonia": 1.0, "tuberculosis": 1.0}, UNLIKE)
    assert watch.told()[f'cxrlens_unsure_share{{reason="{UNLIKE}"}}'] == 0.2
