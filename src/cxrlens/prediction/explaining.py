"""From a model and a film to a heat map, by the method's name."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import HeatMap, normalised, to_film
from cxrlens.explanation.lime import SAMPLES, lime
from cxrlens.explanation.occlusion import occlusion
from cxrlens.prediction.decision import Decision
from cxrlens.prediction.network import Network
from cxrlens.quality.findings import Examination

METHODS = ("gradcam", "lime", "occlusion", "inverted-occlusion")
"""Explaining methods by name."""

Progress = Callable[[int, int], object]
"""Called with films asked and films in all; an exception that it raises ends the explanation."""


def explain(
    network: Network,
    decision: Decision,
    examination: Examination,
    film: NDArray[np.uint8],
    method: str,
    index: int,
    target: str,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> HeatMap:
    """Show where networks looked.

    Parameters
    ----------
    network, decision
        The networks, and what their scores amount to.
    examination
        The film as they saw it.
    film
        (H, W) uint8, the film as it was read, in whose geometry the map is given.
    method
        One of `METHODS`.
    index, target
        The class, and its name.
    samples, seed
        Of LIME.
    progress
        Tells how far a slow method is.

    Raises
    ------
    CxrlensError
        If the method is unknown, or cannot explain this model.
    """
    pixels = examination.pixels
    scale, note = None, ""

    def probabilities(films: NDArray[np.uint8]) -> NDArray[np.float64]:
        return decision.decide(network.logits(films)).probabilities

    match method:
        case "gradcam":
            values = _gradcam(network, decision, pixels, index, target)
        case "lime":
            found = lime(
                probabilities, pixels, index, samples=samples, seed=seed, progress=progress
            )
            values, scale = found.map(), float(np.abs(found.weights).max())
            note = (
                f"LIME over {len(found.weights)} regions and {found.samples} masked films; the linear "
                f"model's weighted R² is {found.r_squared:.2f}; the strongest region counts {scale:.2g}"
            )
        case "occlusion" | "inverted-occlusion":
            inverted = method == "inverted-occlusion"
            slid = occlusion(probabilities, pixels, index, inverted=inverted, progress=progress)
            values = slid.map()
            scale = float(np.abs(values).max())
            change = (
                "the largest rise over a grey film's" if inverted else "the largest drop or rise"
            )
            note = (
                f"A patch of {slid.patch} of {slid.side} pixels; {change} probability "
                f"({slid.reference:.2g}) is {scale:.2g}"
            )
        case _:
            raise CxrlensError(f"unknown method {method!r}: known are {', '.join(METHODS)}")
    height, width = film.shape
    top, bottom, left, right = examination.cropped
    seen = (height - top - bottom, width - left - right)
    whole = to_film(normalised(values), seen, smooth=method != "lime")
    whole = np.pad(whole, ((top, bottom), (left, right)))
    return HeatMap(whole, film, method, target, scale, note)


def _gradcam(
    network: Network, decision: Decision, pixels: NDArray[np.uint8], index: int, target: str
) -> NDArray[np.float32]:
    """Grad-CAM of a class, (h, w); where several networks stand for it, the mean of their maps."""
    pairs = decision.leaves_for(index)
    if not pairs:
        raise CxrlensError(f"no score of this model stands for {target!r}: explain another class")
    maps = [normalised(network.cam(pixels, leaf, output)) for leaf, output in pairs]
    return np.asarray(np.mean(maps, axis=0), np.float32)
