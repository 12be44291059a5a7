"""From the scores of single networks, whoever runs them, to one answer: alone, one-vs-all, or by vote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import Slopes


class Outputs(NamedTuple):
    """What networks answer to N films.

    Attributes
    ----------
    scores
        For each leaf (N, K) float32, before softmax or sigmoid;
        `cxrlens.prediction.decision` says what they amount to.
    map
        (N, D, h, w) float32: evidence for each of D diseases, place by place, before the sigmoid, the mean
        of the leaves' maps; None where a leaf brings none. The diseases are the classes from the second on.
    """

    scores: list[NDArray[np.float32]]
    map: NDArray[np.float32] | None


class Network(Protocol):
    """Trained leaves that answer films."""

    @property
    def side(self) -> int:
        """Pixels of the square films that it takes."""

    @property
    def gives(self) -> frozenset[str]:
        """What it has beside scores: ``map``, ``slopes``; see `cxrlens.explanation.method.Method.needs`."""

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side) uint8, as the quality chain gives them."""

    def slopes(self, film: NDArray[np.uint8], leaf: int, output: int) -> Slopes:
        """Compute how the last feature maps of a film move one score.

        Parameters
        ----------
        film
            (side, side) uint8.
        leaf, output
            Which score.

        Raises
        ------
        CxrlensError
            If the leaf has no feature maps.
        """


Logits = Sequence[NDArray[np.float32]]
"""For each leaf (N, K): K scores a film, one a class, or a single one for a class against the rest."""


@dataclass(frozen=True)
class Shares:
    """What the scores amount to.

    Attributes
    ----------
    probabilities
        (N, C) float64, rows sum to 1.
    predicted
        (N,) int64, index of the class.
    votes
        (N, C) int64, members that chose each class; none where nobody votes.
    """

    probabilities: NDArray[np.float64]
    predicted: NDArray[np.int64]
    votes: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Single:
    """One leaf: the softmax of its scores, or the sigmoid of a single one and its complement."""

    leaf: int
    outputs: int = 3

    def decide(self, logits: Logits) -> Shares:
        """Turn scores into probabilities; the class is the most probable one."""
        scores = logits[self.leaf].astype(np.float64)
        if self.outputs == 1:
            share = sigmoid(scores)
            probabilities = np.concatenate([share, 1 - share], axis=1)
        else:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
        return Shares(probabilities, probabilities.argmax(axis=1))

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name the leaves, and the output of each, whose score stands for a class."""
        if target >= self.outputs:
            return []
        return [(self.leaf, target)]

    def to_json(self) -> dict[str, Any]:
        """Plain values that `decision_from_json` reads."""
        return {"kind": "single", "leaf": self.leaf, "outputs": self.outputs}


@dataclass(frozen=True)
class OneVsAll:
    """One leaf a class, each with one score: sigmoids divided by their sum; the largest decides."""

    leaves: tuple[int, ...]

    def decide(self, logits: Logits) -> Shares:
        """Turn one score a class into probabilities."""
        share = sigmoid(
            np.concatenate([logits[leaf] for leaf in self.leaves], axis=1).astype(np.float64)
        )
        probabilities = share / share.sum(axis=1, keepdims=True)
        return Shares(probabilities, probabilities.argmax(axis=1))

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name the leaf of a class."""
        return [(self.leaves[target], 0)]

    def to_json(self) -> dict[str, Any]:
        """Plain values that `decision_from_json` reads."""
        return {"kind": "one-vs-all", "leaves": list(self.leaves)}


@dataclass(frozen=True)
class Voting:
    """Members vote; a tie goes to the class with the higher mean probability."""

    members: tuple["Decision", ...]

    def decide(self, logits: Logits) -> Shares:
        """Count the members' votes; probabilities are the mean of theirs."""
        shares = [member.decide(logits) for member in self.members]
        mean = np.mean([share.probabilities for share in shares], axis=0)
        votes = np.zeros(mean.shape, np.int64)
        for share in shares:
            votes[np.arange(len(votes)), share.predicted] += 1
        tied = votes == votes.max(axis=1, keepdims=True)
        return Shares(mean, np.where(tied, mean, -1.0).argmax(axis=1), votes)

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name every member's leaf for a class."""
        return [pair for member in self.members for pair in member.leaves_for(target)]

    def to_json(self) -> dict[str, Any]:
        """Plain values that `decision_from_json` reads."""
        return {"kind": "voting", "members": [member.to_json() for member in self.members]}


Decision = Single | OneVsAll | Voting


def decision_from_json(content: Mapping[str, Any]) -> Decision:
    """Read what a decision's ``to_json`` gave.

    Raises
    ------
    CxrlensError
        If it is no decision.
    """
    try:
        match content["kind"]:
            case "single":
                return Single(int(content["leaf"]), int(content["outputs"]))
            case "one-vs-all":
                return OneVsAll(tuple(int(leaf) for leaf in content["leaves"]))
            case "voting":
                return Voting(tuple(decision_from_json(inner) for inner in content["members"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CxrlensError(f"this is no decision of a model: {content!r}") from error
    raise CxrlensError(f"this is no decision of a model: {content!r}")


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map scores of any shape to shares in [0, 1]."""
    # Both branches of the usual formula, so that no exponential overflows.
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1, small) / (1 + small), np.float64)
