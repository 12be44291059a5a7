"""Grad-CAM: which parts of the last feature maps raise a class's score (Selvaraju et al. 2017)."""

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import normalised
from cxrlens.explanation.method import Answer, Method, Question, Slopes


def gradcam(of: Slopes) -> NDArray[np.float32]:
    """Compute the Grad-CAM map of one film for one score.

    The slope of the score before softmax over the last feature maps, averaged over each map, weighs the
    maps; the sum's negative part is cut off (Algorithm 1 of the report).

    Returns
    -------
    ndarray of float32
        (h, w) on the grid of the last feature maps, 0 or more; all 0 if no part raises the score.
    """
    weights = of.slopes.mean((1, 2))
    cam: NDArray[np.float32] = np.tensordot(weights, of.maps, 1).clip(min=0)
    return cam


def _explain(question: Question) -> Answer:
    """Explain a class; where several networks stand for it, by the mean of their maps."""
    found = question.slopes()
    if not found:
        raise CxrlensError(
            f"no score of this model stands for {question.label!r}: explain another class"
        )
    return Answer(np.mean([normalised(gradcam(of)) for of in found], axis=0, dtype=np.float32))


METHOD = Method(
    name="gradcam",
    title="Grad-CAM",
    about="parts of the last feature maps that raise the score",
    needs="slopes",
    quick=True,
    signed=False,
    explain=_explain,
)
