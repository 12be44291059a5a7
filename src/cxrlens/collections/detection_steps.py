"""How the report's detectors come to their findings, picture by picture (its Figures 2 to 5)."""

import numpy as np
from numpy.typing import NDArray

from cxrlens.quality.blur import QuietResponse
from cxrlens.quality.exposure import DarkMean
from cxrlens.quality.negative import CornerNegative, bright_corner_share
from cxrlens.quality.noise import ResponseVariance, response_picture
from cxrlens.quality.report import steps
from cxrlens.quality.step import Step
from cxrlens.radiographs.filters import box, clahe, median, otsu_threshold

Film = NDArray[np.uint8]
Pictures = list[tuple[str, Film]]


def detection_steps(defect: str, film: Film) -> tuple[Pictures, str]:
    """Show what the report's detector of a defect sees on one film, and what its repair gives.

    Parameters
    ----------
    defect
        ``negative``, ``underexposed``, ``noisy`` or ``blurred``.
    film
        (224, 224) uint8.

    Returns
    -------
    pictures : list of (str, ndarray)
        Name and (224, 224) uint8 picture of each step, the film itself first.
    figure : str
        The statistic beside its threshold, in words.

    Raises
    ------
    KeyError
        If the report has no such detector.
    """
    step: Step = {step.defect: step for step in steps()}[defect]
    pictures: Pictures = [("film", film)]
    if isinstance(step, CornerNegative):
        bright = np.where(film > otsu_threshold(film), 255, 0).astype(np.uint8)
        share = bright_corner_share(film, step.corner)
        pictures += [("Otsu", bright)]
        words = f"bright share of the corners {share:.2f}, threshold {step.share:.2f}"
    elif isinstance(step, DarkMean):
        words = f"mean {film.mean():.0f}, threshold {step.mean:.0f}"
    elif isinstance(step, ResponseVariance):
        response = response_picture(film, step.sigma, step.gain)
        strong = clahe(response, step.clip, (step.tiles, step.tiles))
        smooth = median(film, step.median)
        pictures += [("LoG", response), ("CLAHE", strong), ("median", smooth)]
        pictures += [("then box", box(smooth, step.box))]
        words = f"variance {step.statistic(film):,.0f}, threshold {step.variance:,.0f}"
        return pictures, words
    elif isinstance(step, QuietResponse):
        response = response_picture(film, step.sigma, step.gain)
        strong = clahe(response, step.clip, (step.tiles, step.tiles))
        binary = np.where(strong > step.level, 255, 0).astype(np.uint8)
        pictures += [("LoG", response), ("CLAHE", strong), (f"above {step.level}", binary)]
        words = f"variance {step.statistic(film):,.0f}, threshold {step.variance:,.0f}"
    else:  # pragma: no cover - the report's four steps are above
        raise KeyError(defect)
    return [*pictures, ("repair", step.repair(film))], words
