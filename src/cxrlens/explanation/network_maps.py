"""Maps that a network holds itself, at the cost of one pass: its evidence, Grad-CAM and its kin."""

from collections.abc import Callable
from functools import partial

import numpy as np

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import normalised
from cxrlens.explanation.method import Answer, Method, Question, Slopes
from cxrlens.radiographs.grey import Levels


def evidence(question: Question) -> Answer:
    """Show a disease's layer of the map from which a network pools its scores, as shares in [0, 1].

    Such a network is its own explanation: what the map does not hold cannot move the score.

    Raises
    ------
    CxrlensError
        If the class is normal, for which there is no evidence but the want of it.
    """
    if question.target == 0:
        raise CxrlensError(
            f"the map holds evidence of diseases, there is none for {question.label!r}: "
            "explain a disease"
        )
    assert question.evidence is not None  # the method needs a network with a map
    layer = question.evidence[question.target - 1].astype(np.float64)
    values = (1 / (1 + np.exp(-np.clip(layer, -60, 60)))).astype(np.float32)
    strongest = float(values.max())
    return Answer(
        values,
        strongest,
        f"The network pools its score from this map; its strongest place reads {strongest:.2g} of 1",
        absolute=True,
    )


def gradcam(of: Slopes) -> Levels:
    """Compute the Grad-CAM map of one film for one score (Selvaraju et al. 2017).

    The slope of the score before softmax over the last feature maps, averaged over each map, weighs the
    maps; the sum's negative part is cut off (Algorithm 1 of the 2023 study).

    Returns
    -------
    ndarray of float32
        (h, w) on the grid of the last feature maps, 0 or more; all 0 if no part raises the score.
    """
    weights = of.slopes.mean((1, 2))
    cam: Levels = np.tensordot(weights, of.maps, 1).clip(min=0)
    return cam


def hirescam(of: Slopes) -> Levels:
    """Compute the HiResCAM map, (h, w), 0 or more: each place's maps times their slopes (Draelos 2020)."""
    cam: Levels = (of.slopes * of.maps).sum(0).clip(min=0)
    return cam


def layercam(of: Slopes) -> Levels:
    """Compute the LayerCAM map, (h, w), 0 or more: as HiResCAM, rising slopes alone (Jiang et al. 2021)."""
    cam: Levels = (of.slopes.clip(min=0) * of.maps).sum(0).clip(min=0)
    return cam


def _mean_cam(cam: Callable[[Slopes], Levels], question: Question) -> Answer:
    """Explain a class; where several networks stand for it, by the mean of their maps."""
    found = question.slopes()
    if not found:
        raise CxrlensError(
            f"no score of this model stands for {question.label!r}: explain another class"
        )
    return Answer(np.mean([normalised(cam(of)) for of in found], axis=0, dtype=np.float32))


EVIDENCE = Method(
    name="evidence",
    title="Evidence",
    about="the map from which the model itself pools its score",
    needs="map",
    quick=True,
    explain=evidence,
    diseases_only=True,
)

GRADCAM, HIRESCAM, LAYERCAM = (
    Method(name, title, about, "slopes", partial(_mean_cam, cam), quick=True)
    for name, title, about, cam in (
        ("gradcam", "Grad-CAM", "parts of the last feature maps that raise the score", gradcam),
        ("hirescam", "HiResCAM", "places of the last feature maps by what each adds", hirescam),
        (
            "layercam",
            "LayerCAM",
            "places of the last feature maps by their rising slopes",
            layercam,
        ),
    )
)
