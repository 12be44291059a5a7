"""From the scores of single networks, whoever runs them, to one answer: alone, one-vs-all, or by vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from cxrlens.errors import BundleError
from cxrlens.explanation.method import Slopes

Scores = Sequence[NDArray[np.float32]]
"""For each leaf (N, K): K scores a film, one a class, or a single one for a class against the rest."""


class Outputs(NamedTuple):
    """The answer of networks to N films.

    Attributes
    ----------
    scores
        For each leaf (N, K) float32, before softmax or sigmoid; a `Decision` makes one answer of them.
    map
        (N, D, h, w) float32: evidence for each of D diseases, place by place, before the sigmoid, the mean
        of the leaves' maps; None where a leaf brings none. The diseases are the classes from the second on.
    features
        (N, C) float32: the last features, each averaged over the film, the leaves' beside one another; None
        from a network that gives none.
    """

    scores: list[NDArray[np.float32]]
    map: NDArray[np.float32] | None
    features: NDArray[np.float32] | None = None


class Network(Protocol):
    """Trained leaves that answer films."""

    @property
    def side(self) -> int:
        """Pixels of the square films that it takes."""

    @property
    def gives(self) -> frozenset[str]:
        """Abilities beside scores: ``map``, ``slopes``; see `cxrlens.explanation.method.Method.needs`."""

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side) uint8, as they come out of the quality chain."""

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


@dataclass(frozen=True)
class Shares:
    """Scores as probabilities.

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


@checked(frozen=True)
class Single:
    """One leaf: the softmax of its scores, or the sigmoid of a single one and its complement."""

    leaf: int = Field(ge=0)
    outputs: int = Field(3, ge=1, le=100)
    kind: Literal["single"] = "single"

    def decide(self, scores: Scores) -> Shares:
        """Turn scores into probabilities; the class is the most probable one."""
        own = scores[self.leaf].astype(np.float64)
        if self.outputs == 1:
            share = sigmoid(own)
            probabilities = np.concatenate([share, 1 - share], axis=1)
        else:
            powers = np.exp(own - own.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
        return Shares(probabilities, probabilities.argmax(axis=1))

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name the leaves, and the output of each, whose score stands for a class."""
        return [(self.leaf, target)] if target < self.outputs else []

    def fits(self, leaves: int, classes: int) -> bool:
        """Check that a model of so many leaves and classes can decide so."""
        return self.leaf < leaves and self.outputs in ((1, 2) if classes == 2 else (classes,))


@checked(frozen=True)
class OneVsAll:
    """One leaf a class, each with one score: sigmoids divided by their sum; the largest decides."""

    leaves: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    kind: Literal["one-vs-all"] = "one-vs-all"

    def decide(self, scores: Scores) -> Shares:
        """Turn one score a class into probabilities."""
        own = np.concatenate([scores[leaf] for leaf in self.leaves], axis=1)
        share = sigmoid(own.astype(np.float64))
        probabilities = share / share.sum(axis=1, keepdims=True)
        return Shares(probabilities, probabilities.argmax(axis=1))

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name the leaf of a class."""
        return [(self.leaves[target], 0)]

    def fits(self, leaves: int, classes: int) -> bool:
        """Check that there is a leaf for each class."""
        return len(self.leaves) == classes and max(self.leaves) < leaves


@checked(frozen=True)
class Voting:
    """Members vote; a tie goes to the class with the higher mean probability."""

    members: tuple["Decision", ...] = Field(min_length=1, max_length=100)
    kind: Literal["voting"] = "voting"

    def decide(self, scores: Scores) -> Shares:
        """Count the members' votes; probabilities are the mean of theirs."""
        shares = [member.decide(scores) for member in self.members]
        mean = np.mean([share.probabilities for share in shares], axis=0)
        votes = np.zeros(mean.shape, np.int64)
        for share in shares:
            votes[np.arange(len(votes)), share.predicted] += 1
        tied = votes == votes.max(axis=1, keepdims=True)
        return Shares(mean, np.where(tied, mean, -1.0).argmax(axis=1), votes)

    def leaves_for(self, target: int) -> list[tuple[int, int]]:
        """Name every member's leaf for a class."""
        return [pair for member in self.members for pair in member.leaves_for(target)]

    def fits(self, leaves: int, classes: int) -> bool:
        """Check every member."""
        return all(member.fits(leaves, classes) for member in self.members)


Decision = Annotated[Single | OneVsAll | Voting, Field(discriminator="kind")]

_STORED: TypeAdapter[Any] = TypeAdapter(Decision)


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """Write a decision as the plain values that `decision_from_json` reads."""
    plain: dict[str, Any] = _STORED.dump_python(decision, mode="json")
    return plain


def decision_from_json(content: Any, leaves: int, classes: int) -> Decision:
    """Read a decision as a bundle keeps it.

    Raises
    ------
    BundleError
        If it is none, or not one of a model with so many leaves and classes.
    """
    try:
        decision: Decision = _STORED.validate_python(content)
    except ValidationError as error:
        raise BundleError(
            f"this is no decision of a model: {str(content)[:200]}; export the run again"
        ) from error
    if not decision.fits(leaves, classes):
        raise BundleError(
            "the decision does not fit the leaves and the classes: export the run again"
        )
    return decision


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map scores of any shape to shares in [0, 1]."""
    # Both branches of the usual formula, so that no exponential overflows.
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1, small) / (1 + small), np.float64)
