"""LIME: which regions of a film speak for a class, by hiding some at random (Ribeiro et al. 2016).

The film is cut into superpixels, random halves of them are hidden, and a linear model is fitted to the
answers, nearer films counting more. What is fitted, and on which masks, is that of the `lime` package;
how it is estimated is not: see `lime`.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import SAMPLES, Answer, Method, Probabilities, Progress, Question
from cxrlens.explanation.segments import superpixels
from cxrlens.explanation.surrogate import fit_surrogate

REGIONS = 50
KERNEL_WIDTH = 0.25
RIDGE = 1.0
_LEARNT = 1000
"""The surrogate learns from this many answers at most; its cost grows with their square."""
_IMAGINED = 2000
"""Pairs of masks that the surrogate answers."""
_TRUST = 2000
"""Answers beyond `_LEARNT` at which half of what they say against the surrogate is believed."""


@dataclass(frozen=True)
class Lime:
    """What `lime` found.

    Attributes
    ----------
    segments
        (S, S) int32, the regions, numbered from 0.
    weights
        (R,) float64: by how much showing a region raises the probability; against the class below 0.
    intercept
        The linear model's answer to a film of which nothing is shown.
    r_squared
        Weighted share of the answers' variance that the linear model explains; where it is low, the
        weights tell little of the model.
    samples
        Masked films that were asked.
    """

    segments: NDArray[np.int32]
    weights: NDArray[np.float64]
    intercept: float
    r_squared: float
    samples: int

    def map(self) -> NDArray[np.float32]:
        """Each pixel's region's weight, (S, S) float32."""
        return self.weights[self.segments].astype(np.float32)


def lime(
    probabilities: Probabilities,
    film: NDArray[np.uint8],
    target: int,
    *,
    samples: int = SAMPLES,
    segments: NDArray[np.int32] | None = None,
    regions: int = REGIONS,
    hidden: Literal["mean", "blur"] = "mean",
    fit: Literal["assisted", "plain"] = "assisted",
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Lime:
    """Explain one class of one film.

    The weights estimated are those that a weighted ridge regression of the answers on the masks would
    have after very many random masks (kernel exp(-d² / 2 · 0.25²) of the cosine distance d to the
    whole film, ridge 1). ``plain`` computes this regression on the masks at hand, which is the `lime`
    package's arithmetic. ``assisted`` needs several times fewer: a Gaussian process learns the log-odds
    from the masks asked, answers thousands of others, and the regression is done on its answers;
    answers beyond the first thousand correct it where it is wrong. Masks come in pairs, each with its
    complement, so that what two regions do together does not pass for what one does.

    Parameters
    ----------
    probabilities
        The model.
    film
        (S, S) uint8, as the model sees it.
    target
        Index of the class.
    samples
        Masked films to ask; the first is the film itself.
    segments
        (S, S), regions numbered from 0 without gaps; by default `regions` superpixels.
    regions
        Superpixels wanted where `segments` is not given.
    hidden
        What stands in a hidden region: its ``mean``, or the film's ``blur`` (a Gaussian of S / 16).
    fit
        ``assisted`` or ``plain``.
    seed
        The same seed gives the same weights.
    batch
        Films asked at once.
    progress
        Called after each batch; raise from it to stop.

    Raises
    ------
    CxrlensError
        For fewer than 10 samples.
    """
    if samples < 10:
        raise CxrlensError(f"LIME needs 10 samples or more, not {samples}; {SAMPLES} are usual")
    regions_of = superpixels(film, regions) if segments is None else segments
    masks = draw_masks(samples, int(regions_of.max()) + 1, seed)
    answers = np.empty(samples)
    cover = _cover(film, regions_of, hidden)
    for start in range(0, samples, batch):
        part = slice(start, start + batch)
        answers[part] = probabilities(_hide(film, cover, regions_of, masks[part]))[:, target]
        if progress:
            progress(min(start + batch, samples), samples)
    weights = (
        weighted_ridge(masks, answers)
        if fit == "plain"
        else _assisted(masks, answers, np.random.default_rng([seed, 1]))
    )
    near = proximity(masks)
    rest = answers - masks @ weights
    intercept = float(near @ rest / near.sum())
    spread = near @ (answers - near @ answers / near.sum()) ** 2
    missed = near @ (rest - intercept) ** 2
    # Answers that differ by rounding alone are the same answer.
    r_squared = 1 - float(missed / spread) if spread > 1e-18 * near.sum() else 0.0
    return Lime(regions_of, weights, intercept, r_squared, samples)


def draw_masks(samples: int, regions: int, seed: int) -> NDArray[np.bool_]:
    """Draw which regions are shown.

    Returns
    -------
    ndarray of bool
        (samples, regions), true where shown: first the whole film, then fair coins, each mask followed
        by its complement.
    """
    half = np.random.default_rng(seed).integers(0, 2, (samples // 2, regions)).astype(bool)
    masks = np.ones((1 + 2 * len(half), regions), bool)
    masks[1::2], masks[2::2] = half, ~half
    return masks[:samples]


def proximity(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weigh masks (N, R) by how near they are to the whole film, (N,) in (0, 1]."""
    distance = 1 - np.sqrt(masks.mean(axis=1))
    return np.asarray(np.exp(-(distance**2) / (2 * KERNEL_WIDTH**2)), np.float64)


def weighted_ridge(
    masks: NDArray[np.bool_], answers: NDArray[np.float64], ridge: float = RIDGE
) -> NDArray[np.float64]:
    """Fit answers (N,) by masks (N, R) with an intercept, near masks counting more: weights (R,)."""
    near = proximity(masks)
    shown = masks.astype(np.float64)
    shown -= near @ shown / near.sum()
    weighted = shown * near[:, None]
    square = shown.T @ weighted + ridge * np.eye(shown.shape[1])
    return np.asarray(np.linalg.solve(square, weighted.T @ answers), np.float64)


def _assisted(
    masks: NDArray[np.bool_], answers: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    surrogate = fit_surrogate(masks[:_LEARNT], answers[:_LEARNT])
    half = rng.integers(0, 2, (_IMAGINED, masks.shape[1])).astype(bool)
    imagined = np.concatenate([half, ~half])
    weights = weighted_ridge(imagined, surrogate(imagined), 0.0)
    more = masks[_LEARNT:]
    if len(more):
        correction = weighted_ridge(more, answers[_LEARNT:] - surrogate(more))
        weights = weights + len(more) / (len(more) + _TRUST) * correction
    return weights


def _cover(
    film: NDArray[np.uint8], segments: NDArray[np.int32], hidden: Literal["mean", "blur"]
) -> NDArray[np.uint8]:
    """Draw the film with all regions hidden."""
    if hidden == "blur":
        return np.asarray(cv2.GaussianBlur(film, (0, 0), film.shape[0] / 16), np.uint8)
    sums = np.bincount(segments.ravel(), film.ravel())
    return np.asarray(sums / np.bincount(segments.ravel()), np.uint8)[segments]


def _hide(
    film: NDArray[np.uint8],
    cover: NDArray[np.uint8],
    segments: NDArray[np.int32],
    masks: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Films (N, S, S) with each mask's regions shown and the cover elsewhere."""
    shown = masks.view(np.uint8)[:, segments.ravel()].reshape(len(masks), *film.shape)
    # In bytes that wrap around: cover + (film - cover) is the film again. Much faster than a choice.
    shown *= film - cover
    shown += cover
    return shown


def _explain(question: Question) -> Answer:
    found = lime(
        question.probabilities,
        question.pixels,
        question.target,
        samples=question.samples,
        seed=question.seed,
        progress=question.progress,
    )
    scale = float(np.abs(found.weights).max())
    return Answer(
        found.map(),
        scale,
        f"LIME over {len(found.weights)} regions and {found.samples} masked films; the linear model's "
        f"weighted R² is {found.r_squared:.2f}; the strongest region counts {scale:.2g}",
    )


METHOD = Method(
    name="lime",
    title="LIME",
    about="regions for and against, from random halves of the film",
    needs="scores",
    quick=False,
    signed=True,
    explain=_explain,
    regional=True,
)
