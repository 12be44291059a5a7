import numpy as np
import pytest

from cxrlens.errors import BundleError
from cxrlens.prediction.decision import (
    Decision,
    OneVsAll,
    Single,
    Voting,
    decision_from_json,
    decision_to_json,
)

RANDOM = np.random.default_rng(2)


def scores(outputs: int) -> np.ndarray:
    return RANDOM.normal(0, 30, (50, outputs)).astype(np.float32)


def test_single_is_the_softmax() -> None:
    logits = scores(3)
    shares = Single(0).decide([logits])
    powers = np.exp(logits.astype(np.longdouble))
    assert shares.probabilities == pytest.approx(
        (powers / powers.sum(1, keepdims=True)).astype(float)
    )
    assert (shares.predicted == logits.argmax(1)).all()
    assert shares.votes is None


def test_a_single_score_is_the_sigmoid_and_its_complement() -> None:
    shares = Single(0, 1).decide([np.array([[0.0], [1000.0], [-1000.0]], np.float32)])
    assert shares.probabilities == pytest.approx(np.array([[0.5, 0.5], [1, 0], [0, 1]]))
    assert Single(0, 1).leaves_for(1) == []


def test_one_vs_all_divides_sigmoids_by_their_sum() -> None:
    logits = [scores(1) / 10 for _ in range(3)]
    sigmoids = 1 / (1 + np.exp(-np.concatenate(logits, axis=1).astype(float)))
    shares = OneVsAll((0, 1, 2)).decide(logits)
    assert shares.probabilities == pytest.approx(sigmoids / sigmoids.sum(1, keepdims=True))
    assert OneVsAll((0, 1, 2)).leaves_for(2) == [(2, 0)]


def test_votes_count_and_a_tie_goes_to_the_higher_mean() -> None:
    sure, unsure, third = [9.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]
    logits = [np.array([row], np.float32) for row in (sure, unsure, unsure, sure, third)]
    voting = Voting(tuple(Single(leaf) for leaf in range(5)))
    shares = voting.decide(logits)
    assert shares.votes is not None
    assert shares.votes.tolist() == [[2, 2, 1]]
    assert shares.predicted.tolist() == [0]
    assert shares.probabilities.sum() == pytest.approx(1)
    # Two half-hearted votes outvote a certain one, though its mean is higher.
    outvoted = Voting((Single(0), Single(1), Single(2))).decide(logits)
    assert outvoted.probabilities.argmax() == 0
    assert outvoted.predicted.tolist() == [1]
    assert voting.leaves_for(1) == [(leaf, 1) for leaf in range(5)]


@pytest.mark.parametrize(
    ("decision", "classes"),
    [
        (Single(0), 3),
        (Single(2, 1), 2),
        (Voting((OneVsAll((0, 1, 2)), OneVsAll((3, 4, 5)), Single(6))), 3),
    ],
)
def test_json_there_and_back(decision: Decision, classes: int) -> None:
    assert decision_from_json(decision_to_json(decision), 7, classes) == decision


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"kind": "oracle"},
        {"kind": "single"},
        {"kind": "single", "leaf": -1, "outputs": 3},
        {"kind": "voting", "members": 3},
        {"kind": "voting", "members": []},
        [],
    ],
)
def test_what_is_no_decision_is_refused(content: object) -> None:
    with pytest.raises(BundleError, match="no decision of a model"):
        decision_from_json(content, 1, 3)


@pytest.mark.parametrize(
    "decision",
    [
        Single(1),
        Single(0, 2),
        OneVsAll((0, 0)),
        OneVsAll((0, 0, 1)),
        Voting((Single(0), Single(1))),
    ],
)
def test_a_decision_of_another_model_is_refused(decision: Decision) -> None:
    with pytest.raises(BundleError, match="does not fit the leaves and the classes"):
        decision_from_json(decision_to_json(decision), 1, 3)
