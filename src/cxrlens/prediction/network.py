"""What a prediction needs of trained networks, whoever runs them."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

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
