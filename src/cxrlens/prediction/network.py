"""What a prediction needs of trained networks, whoever runs them."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Network(Protocol):
    """Trained leaves that score films; see `cxrlens.prediction.decision` for what comes of the scores."""

    @property
    def side(self) -> int:
        """Pixels of the square films that it takes."""

    def logits(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Score films.

        Parameters
        ----------
        pixels
            (N, side, side) uint8, films as the quality chain gives them.

        Returns
        -------
        list of ndarray of float32
            For each leaf (N, K), before softmax or sigmoid.
        """

    def cam(self, film: NDArray[np.uint8], leaf: int, output: int) -> NDArray[np.float32]:
        """Compute the Grad-CAM map of one leaf's score for one film.

        Parameters
        ----------
        film
            (side, side) uint8.
        leaf, output
            Which score.

        Returns
        -------
        ndarray of float32
            (h, w), 0 or more, on the grid of the last feature maps.

        Raises
        ------
        CxrlensError
            If the leaf has no feature maps.
        """
