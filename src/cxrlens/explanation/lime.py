"""LIME: which regions of a film speak for a class, by hiding some at random (Ribeiro et al. 2016)."""

import itertools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import SAMPLES, Answer, Method, Probabilities, Question
from cxrlens.progress import Progress, in_batches
from cxrlens.radiographs.grey import Film, Floats, Levels, Mask

FAITHFUL = 0.5
"""Weighted R² below which a linear model of the regions is said not to describe the network."""

REGIONS = 50
KERNEL_WIDTH = 0.25
RIDGE = 1.0

_LEARNT = 1000
"""The surrogate learns from this many answers at most; its cost grows with their square."""
_IMAGINED = 2000
"""Pairs of masks that the surrogate answers."""
_TRUST = 2000
"""Answers beyond `_LEARNT` at which half of what they say against the surrogate is believed."""

_LEAST = 1e-5
"""Probabilities nearer to 0 or 1 count as this: beyond it the log-odds say nothing about the film."""
_NOISE = 0.05
"""Share of the variance of the surrogate that no other mask tells of."""
_LEAN_RIDGE = 3.0
"""Of the regression that weighs regions for the surrogate."""

_COMPACTNESS = 0.1
"""A grey difference of this share of the film's range weighs as much as the distance of two centres."""
_ROUNDS = 10
_SMALLEST = 0.25
"""A region below this share of the mean region's pixels is given to its neighbours."""

Guess = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Masks (N, R) to probabilities (N,)."""


class Lime(NamedTuple):
    """Weights of a film's regions for one class.

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
    """

    segments: NDArray[np.int32]
    weights: Floats
    intercept: float
    r_squared: float

    def map(self) -> Levels:
        """Spread each region's weight over its pixels, (S, S) float32."""
        return self.weights[self.segments].astype(np.float32)


def lime(
    probabilities: Probabilities,
    film: Film,
    target: int,
    *,
    samples: int = SAMPLES,
    segments: NDArray[np.int32] | None = None,
    fit: Literal["assisted", "plain"] = "assisted",
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Lime:
    """Explain one class of one film.

    The weights estimated are those that a weighted ridge regression of the answers on the masks would
    have after very many random masks (kernel exp(-d² / 2 · 0.25²) of the cosine distance d to the
    whole film, ridge 1). A hidden region shows its mean. ``plain`` computes this regression on the masks
    at hand, which is the `lime` package's arithmetic. ``assisted`` needs several times fewer: a Gaussian
    process learns the log-odds from the masks asked, answers thousands of others, and the regression is
    done on its answers;
    answers beyond the first thousand correct it where it is wrong. Masks are fair coins, dealt so that no
    region's weight is taken for another's; see `draw_masks`.

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
        (S, S), regions numbered from 0 without gaps; by default `superpixels`.
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

    Examples
    --------
    A model that sees stripes, and a film with some:

    >>> def striped(films):
    ...     share = (films[:, 40:56, 8:24] > 200).mean(axis=(1, 2))
    ...     return np.stack([1 - share, share], axis=1)
    >>> film = np.zeros((64, 64), np.uint8)
    >>> film[40:56:2, 8:24] = 255
    >>> found = lime(striped, film, 1, samples=100)
    >>> found.map()[48, 16] > 0.4, abs(found.map()[10, 50]) < 0.01, found.r_squared > 0.99
    (np.True_, np.True_, True)
    """
    if samples < 10:
        raise CxrlensError(f"LIME needs 10 samples or more, not {samples}; {SAMPLES} are usual")
    regions_of = superpixels(film) if segments is None else segments
    masks = draw_masks(samples, int(regions_of.max()) + 1, seed)
    answers = np.empty(samples)
    sums = np.bincount(regions_of.ravel(), film.ravel())
    cover = np.asarray(sums / np.bincount(regions_of.ravel()), np.uint8)[regions_of]
    for part in in_batches(samples, batch, progress):
        answers[part] = probabilities(_hide(film, cover, regions_of, masks[part]))[:, target]
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
    return Lime(regions_of, weights, intercept, r_squared)


def draw_masks(samples: int, regions: int, seed: int) -> Mask:
    """Draw which regions are shown.

    Each mask by itself is fair coins, but masks come in blocks, of which half are rows of a Hadamard matrix:
    its columns are dealt to regions at random, and half of them turned round. In a block any two regions are
    shown together as often as apart, so the weight of one takes nothing from the other. Each mask is followed
    by its complement (a foldover), so that what two regions do together does not pass for what one does.

    Returns
    -------
    ndarray of bool
        (samples, regions), true where shown: first the whole film, then blocks.

    Examples
    --------
    Of 7 regions a block has 16 masks:

    >>> signs = 2 * draw_masks(17, 7, 0)[1:].astype(int) - 1
    >>> np.array_equal(signs.T @ signs, 16 * np.eye(7))
    True
    """
    random = np.random.default_rng(seed)
    signs = _hadamard(regions)
    blocks = [np.ones((1, regions), bool)]
    for _ in range(-(-(samples - 1) // (2 * len(signs)))):
        columns = 1 + random.permutation(len(signs) - 1)[:regions]
        turned = random.choice(np.array([-1, 1], np.int8), regions)
        half = random.permutation(signs)[:, columns] * turned > 0
        blocks.append(np.stack([half, ~half], axis=1).reshape(-1, regions))
    return np.concatenate(blocks)[:samples]


def _hadamard(regions: int) -> NDArray[np.int8]:
    """Make the smallest of Paley's squares of signs (1933) that has a column a region beside one of ones.

    All its rows are orthogonal to each other, and so are all its columns.
    """
    prime = next(
        n
        for n in itertools.count(max(3, regions))
        if n % 4 == 3 and all(n % factor for factor in range(3, math.isqrt(n) + 1))
    )
    sign = np.full(prime, -1, np.int8)
    sign[np.arange(prime) ** 2 % prime] = 1
    square = np.ones((prime + 1, prime + 1), np.int8)
    square[1:, 1:] = -sign[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
    np.fill_diagonal(square[1:, 1:], -1)
    return square


def proximity(masks: Mask) -> Floats:
    """Weigh masks (N, R) by how near they are to the whole film, (N,) in (0, 1]."""
    distance = 1 - np.sqrt(masks.mean(axis=1))
    return np.asarray(np.exp(-(distance**2) / (2 * KERNEL_WIDTH**2)), np.float64)


def weighted_ridge(masks: Mask, answers: Floats, ridge: float = RIDGE) -> Floats:
    """Fit answers (N,) by masks (N, R) with an intercept, near masks counting more: weights (R,)."""
    near = proximity(masks)
    shown = masks.astype(np.float64)
    shown -= near @ shown / near.sum()
    weighted = shown * near[:, None]
    square = shown.T @ weighted + ridge * np.eye(shown.shape[1])
    return np.asarray(np.linalg.solve(square, weighted.T @ answers), np.float64)


def _assisted(masks: Mask, answers: Floats, rng: np.random.Generator) -> Floats:
    surrogate = fit_surrogate(masks[:_LEARNT], answers[:_LEARNT])
    half = rng.integers(0, 2, (_IMAGINED, masks.shape[1])).astype(bool)
    imagined = np.concatenate([half, ~half])
    weights = weighted_ridge(imagined, surrogate(imagined), 0.0)
    more = masks[_LEARNT:]
    if len(more):
        correction = weighted_ridge(more, answers[_LEARNT:] - surrogate(more))
        weights = weights + len(more) / (len(more) + _TRUST) * correction
    return weights


def fit_surrogate(masks: Mask, answers: Floats) -> Guess:
    """Learn how probable a class is when some regions are hidden.

    A Gaussian process on the log-odds, where a saturated model is nearer to linear than in its
    probabilities. Its covariance of two masks is exp(s - 1), s being their agreement (-1 to 1) over the
    regions, each weighed by its coefficient in a ridge regression of the log-odds: a sum over all
    orders of interaction, between regions that count, the fewer together the likelier.

    Parameters
    ----------
    masks
        (N, R) bool, N of some hundreds; the cost grows with N² in memory and N³ in time.
    answers
        (N,) probabilities in [0, 1].

    Returns
    -------
    callable
        Masks (M, R) to probabilities (M,) float64.
    """
    share = np.clip(answers, _LEAST, 1 - _LEAST)
    odds = np.log(share / (1 - share))
    mean = odds.mean()
    # Single precision halves the cost, and is far finer than the process itself.
    signs = (2 * masks.astype(np.float32)) - 1
    centred = masks - masks.mean(axis=0)
    square = centred.T @ centred + _LEAN_RIDGE * np.eye(masks.shape[1])
    lean = np.abs(np.linalg.solve(square, centred.T @ (odds - mean)))
    if lean.max() == 0:
        constant = float(answers.mean())
        return lambda others: np.full(len(others), constant)
    lean += 1e-3 * lean.max()
    scaled = signs * (lean / lean.sum()).astype(np.float32)
    covariance = np.exp(scaled @ signs.T - 1)
    covariance[np.diag_indices_from(covariance)] += _NOISE
    coefficients = np.linalg.solve(covariance, (odds - mean).astype(np.float32))

    def guess(others: Mask) -> Floats:
        near = (2 * others.astype(np.float32) - 1) @ scaled.T
        near -= 1
        np.exp(near, out=near)
        return np.asarray(1 / (1 + np.exp(-(near @ coefficients + mean))), np.float64)

    return guess


def _hide(
    film: Film,
    cover: Film,
    segments: NDArray[np.int32],
    masks: Mask,
) -> Film:
    """Draw films (N, S, S) with each mask's regions shown and the cover elsewhere."""
    shown = masks.view(np.uint8)[:, segments.ravel()].reshape(len(masks), *film.shape)
    # In bytes that wrap around: cover + (film - cover) is the film again. Much faster than a choice.
    shown *= film - cover
    shown += cover
    return shown


def superpixels(film: Film, count: int = REGIONS) -> NDArray[np.int32]:
    """Cut a film into connected regions that follow its edges (SLIC, Achanta et al. 2012).

    Centres start on a regular grid. In each round a pixel joins the best centre of its own grid cell and
    the eight around it, by grey and place together, and each centre moves to the mean of its pixels.
    Parts that hang loose, and regions that came out tiny, go to their neighbours.

    Parameters
    ----------
    film
        (H, W) uint8.
    count
        Regions wanted; those that come out are the nearest grid's, less the tiny ones.

    Returns
    -------
    ndarray of int32
        (H, W), regions numbered from 0 without gaps, each connected by edges.

    Examples
    --------
    >>> halves = np.zeros((4, 8), np.uint8)
    >>> halves[:, 4:] = 255
    >>> superpixels(halves, 2)[0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    height, width = film.shape
    rows = min(height, max(1, round(np.sqrt(count * height / width))))
    columns = min(width, max(1, round(count / rows)))
    # Against noise, a Gaussian of one pixel.
    grey = cv2.GaussianBlur(film.astype(np.float32), (0, 0), 1.0).astype(np.float32)
    grey /= max(float(np.ptp(grey)), 1.0) * _COMPACTNESS
    step = np.sqrt(height * width / (rows * columns))
    y, x = (np.indices(film.shape) / step).astype(np.float32)

    home_row = (np.arange(height) * rows // height)[:, None]
    home_column = (np.arange(width) * columns // width)[None]
    down, right = np.array([(d, r) for d in (0, -1, 1) for r in (0, -1, 1)]).T[:, :, None, None]
    around = np.clip(home_row + down, 0, rows - 1) * columns
    around = around + np.clip(home_column + right, 0, columns - 1)
    features = (grey, y, x)
    labels = around[0]
    centres = _means(labels, features, np.zeros((rows * columns, 3), np.float32))
    for _ in range(_ROUNDS):
        distance = sum((centres[around, axis] - of) ** 2 for axis, of in enumerate(features))
        best = np.asarray(distance).argmin(0)
        labels = np.take_along_axis(around, best[None], 0)[0]
        centres = _means(labels, features, centres)
    return _connected(labels.astype(np.int32), _SMALLEST * film.size / (rows * columns))


def _means(
    labels: NDArray[np.int64],
    features: tuple[Levels, ...],
    before: Levels,
) -> Levels:
    """Average the features of each region; one that has lost all its pixels stays where it was."""
    size = len(before)
    pixels = np.bincount(labels.ravel(), minlength=size)
    sums = np.stack([np.bincount(labels.ravel(), f.ravel(), size) for f in features], 1)
    means = sums / np.maximum(pixels, 1)[:, None]
    return np.where(pixels[:, None] > 0, means, before).astype(np.float32)


def _connected(labels: NDArray[np.int32], smallest: float) -> NDArray[np.int32]:
    """Keep each region's largest connected part if it has `smallest` pixels; neighbours take the rest."""
    kept = np.full(labels.shape, -1, np.int32)
    number = 0
    for label in np.unique(labels):
        parts, numbered, facts, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=4
        )
        sizes = facts[1:parts, cv2.CC_STAT_AREA]
        if sizes.max() >= smallest:
            kept[numbered == 1 + sizes.argmax()] = number
            number += 1
    if number == 0:  # never with the grid's own sizes; a film of one pixel must work too
        return np.zeros_like(labels)
    while (kept < 0).any():
        rim = np.pad(kept, 1, constant_values=-1)
        for near in (rim[:-2, 1:-1], rim[2:, 1:-1], rim[1:-1, :-2], rim[1:-1, 2:]):
            kept = np.where(kept < 0, near, kept)
    return kept


def _explain(question: Question) -> Answer:
    found = lime(
        question.probabilities,
        question.pixels,
        question.target,
        samples=question.samples,
        progress=question.progress,
    )
    scale = float(np.abs(found.weights).max())
    return Answer(
        found.map(),
        scale,
        f"LIME over {len(found.weights)} regions and {question.samples} masked films; the linear model's "
        f"weighted R² is {found.r_squared:.2f}; the strongest region counts {scale:.2g}"
        + ("" if found.r_squared >= FAITHFUL else ". It does not describe the model here"),
    )


METHOD = Method(
    name="lime",
    title="LIME",
    about="regions for and against, from random halves of the film",
    needs="scores",
    signed=True,
    explain=_explain,
    regional=True,
)
