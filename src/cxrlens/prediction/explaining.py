"""From a model and a film to a heat map, by one of the registered methods."""

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.heatmap import HeatMap, normalised, to_film
from cxrlens.explanation.method import SAMPLES, Method, Question, Slopes
from cxrlens.prediction.decision import Decision, Network
from cxrlens.progress import Progress
from cxrlens.quality.step import Examination


def explain(
    network: Network,
    decision: Decision,
    examination: Examination,
    film: NDArray[np.uint8],
    evidence: NDArray[np.float32] | None,
    method: Method,
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
    evidence
        The networks' own map (D, h, w) of the film, as it came with the prediction; None without one.
    method
        An entry of `cxrlens.explanation.methods.METHODS`.
    index, target
        The class, and its name.
    samples, seed
        Of methods that draw at random.
    progress
        Tells how far a slow method is.

    Raises
    ------
    CxrlensError
        If the method cannot explain this model or this class.
    """
    pixels = examination.pixels
    if method.needs not in network.gives | {"scores"}:
        raise CxrlensError(
            f"{method.title} needs a network with {_NEEDS[method.needs]}, which this model has not: "
            "use --method occlusion or --method lime"
        )

    def probabilities(films: NDArray[np.uint8]) -> NDArray[np.float64]:
        return decision.decide(network.run(films).scores).probabilities

    def slopes() -> list[Slopes]:
        return [network.slopes(pixels, *pair) for pair in decision.leaves_for(index)]

    def own_map() -> NDArray[np.float32]:
        assert evidence is not None  # the network was asked what it gives
        return evidence

    answer = method.explain(
        Question(pixels, index, target, probabilities, slopes, own_map, samples, seed, progress)
    )
    height, width = film.shape
    top, bottom, left, right = examination.cropped
    seen = (height - top - bottom, width - left - right)
    values = answer.values if answer.absolute else normalised(answer.values)
    whole = to_film(values, seen, smooth=not method.regional)
    whole = np.pad(whole, ((top, bottom), (left, right)))
    lungs = examination.lungs.outline() if examination.lungs else ()
    return HeatMap(
        whole,
        film,
        method.name,
        target,
        answer.scale,
        answer.note,
        method.signed,
        method.regional,
        lungs,
    )


_NEEDS = {"slopes": "feature maps", "map": "a map of its own"}
