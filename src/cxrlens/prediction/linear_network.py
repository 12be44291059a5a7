"""Baselines: a linear score a class on simple features of a film, in NumPy alone.

Three kinds: grey thumbnails, the film's pixels (for principal components, which are folded into the
scores' weights), and histograms of oriented gradients (Dalal and Triggs 2005; needs scikit-image).
"""

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError, RunError, need
from cxrlens.explanation.method import Slopes
from cxrlens.prediction.decision import Outputs, Single
from cxrlens.radiographs.grey import resize
from cxrlens.recipes.recipe import Baseline
from cxrlens.runs.run import Run
from cxrlens.runs.stored import read_weights


def film_features(film: NDArray[np.uint8], settings: Baseline) -> NDArray[np.float32]:
    """Describe one film by numbers.

    Parameters
    ----------
    film
        (S, S) uint8, as it comes out of the quality chain.
    settings
        A recipe's baseline part.

    Returns
    -------
    ndarray of float32
        (D,): grey values in [0, 1] of the thumbnail (``thumbnail-ridge``) or of the film (``pca-svm``),
        or block-normalised histograms of gradient directions (``hog-svm``).

    Raises
    ------
    MissingExtraError
        For ``hog-svm`` without scikit-image.
    """
    if settings.kind == "hog-svm":
        need("train", what="a baseline on HOG")
        from skimage.feature import hog

        described = hog(
            film,
            orientations=settings.orientations,
            pixels_per_cell=(settings.cell, settings.cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
        )
        return np.asarray(described, np.float32)
    small = resize(film, settings.thumbnail) if settings.kind == "thumbnail-ridge" else film
    return small.ravel().astype(np.float32) / np.float32(255)


class LinearNetwork:
    """One leaf of linear scores; see `cxrlens.prediction.decision.Network`.

    Parameters
    ----------
    weight
        (C, D) float32.
    bias
        (C,) float32.
    settings
        How a film becomes D features.
    side
        Pixels of the square films that it takes.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        settings: Baseline,
        side: int,
    ) -> None:
        self.weight, self.bias, self.settings, self.side = weight, bias, settings, side

    @property
    def gives(self) -> frozenset[str]:
        """Scores alone."""
        return frozenset()

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side): one leaf (N, C), no map."""
        described = np.stack([film_features(film, self.settings) for film in films])
        # float64: the sum over thousands of features keeps its last digits.
        scores = described.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        return Outputs([scores.astype(np.float32)], None)

    def slopes(self, film: NDArray[np.uint8], leaf: int, output: int) -> Slopes:
        """Refuse: there are no feature maps.

        Raises
        ------
        CxrlensError
            Always.
        """
        raise CxrlensError(f"{self.settings.kind} has no feature maps: take another method")


def load_linear(run: Run) -> tuple[LinearNetwork, Single]:
    """Load the baseline of a run, and how it decides: softmax of the scores.

    Raises
    ------
    RunError
        If it is not finished, or its weights do not fit its recipe.
    """
    settings, weights = run.recipe.baseline, run.weights
    assert settings is not None
    arrays = read_weights(weights)
    weight, bias = (arrays.get(name, np.zeros(0, np.float32)) for name in ("weight", "bias"))
    side = run.recipe.side
    expected = (len(run.classes), film_features(np.zeros((side, side), np.uint8), settings).size)
    if weight.shape != expected or bias.shape != expected[:1]:
        raise RunError(
            f"{weights} does not belong to the recipe beside it: copy the run again, or train again"
        )
    return LinearNetwork(weight, bias, settings, side), Single(0, len(run.classes))
