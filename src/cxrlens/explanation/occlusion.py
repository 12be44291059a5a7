"""Occlusion: what happens to a class when a patch is hidden, or when all but the patch is."""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import Answer, Method, Probabilities, Question
from cxrlens.progress import Progress, in_batches
from cxrlens.radiographs.grey import Film, Levels

GREY = 128
"""Level that stands where the film is hidden."""

PATCHES = 7
"""The patch's side is the film's, divided by this: 32 pixels of 224."""


class Occlusion(NamedTuple):
    """How the score changed with the place of the patch.

    Attributes
    ----------
    values
        (S, S) float32, by how much each pixel speaks for the class, below 0 against it: the drop of the
        probability where the patch hides the film, or, inverted, its rise over a grey film's where the
        patch shows it, the mean over all patches that cover the pixel.
    reference
        The probability for the film as it is; inverted: for a film that is grey all over.
    places
        (P,) int64, the patch's first row, or column, at each place.
    patch
        Pixels of its side.
    """

    values: Levels
    reference: float
    places: NDArray[np.int64]
    patch: int


def occlusion(
    probabilities: Probabilities,
    film: Film,
    target: int,
    *,
    inverted: bool = False,
    patch: int | None = None,
    stride: int | None = None,
    batch: int = 32,
    progress: Progress | None = None,
) -> Occlusion:
    """Slide a grey patch over a film and watch a class's probability (Zeiler and Fergus 2014).

    Parameters
    ----------
    probabilities
        The model.
    film
        (S, S) uint8, as the model sees it.
    target
        Index of the class.
    inverted
        Hide all but the patch instead.
    patch
        Its side in pixels; by default S / 7, rounded.
    stride
        Pixels from one place to the next; by default half a patch, so that a pixel lies under up to
        four. The last place of a row touches the film's edge.
    batch
        Films asked at once.
    progress
        Called after each batch; raise from it to stop.

    Raises
    ------
    CxrlensError
        If the patch does not fit into the film or the stride is below 1.

    Examples
    --------
    A model that sees stripes, and a film with some:

    >>> def striped(films):
    ...     share = (films[:, 40:56, 8:24] > 200).mean(axis=(1, 2))
    ...     return np.stack([1 - share, share], axis=1)
    >>> film = np.zeros((64, 64), np.uint8)
    >>> film[40:56:2, 8:24] = 255
    >>> found = occlusion(striped, film, 1)
    >>> found.values.shape, found.reference, found.values[48, 16] > 0.1, found.values[:30].any()
    ((64, 64), 0.5, np.True_, np.False_)
    """
    side = film.shape[0]
    patch = max(1, round(side / PATCHES)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= side or stride < 1:
        raise CxrlensError(
            f"a patch of {patch} pixels at a stride of {stride} does not suit a film of {side}: "
            f"take a patch of 1 to {side} and a stride of 1 or more"
        )
    places = np.unique(np.append(np.arange(0, side - patch + 1, stride), side - patch))
    grey = np.full_like(film, GREY)
    below, above = (grey, film) if inverted else (film, grey)
    corners = [np.s_[y : y + patch, x : x + patch] for y in places for x in places]
    scores = np.empty(len(corners))
    for part in in_batches(len(corners), batch, progress):
        films = np.repeat(below[None], part.stop - part.start, axis=0)
        for one, place in zip(films, corners[part], strict=True):
            one[place] = above[place]
        scores[part] = probabilities(films)[:, target]
    reference = float(probabilities(below[None])[0, target])
    gain = (scores - reference) * (1 if inverted else -1)
    covers = np.zeros((len(places), side))
    for row, place in zip(covers, places, strict=True):
        row[place : place + patch] = 1
    times = covers.sum(axis=0)
    mean = covers.T @ gain.reshape(len(places), -1) @ covers / np.outer(times, times)
    return Occlusion(mean.astype(np.float32), reference, places, patch)


def _explain(question: Question, inverted: bool = False) -> Answer:
    slid = occlusion(
        question.probabilities,
        question.pixels,
        question.target,
        inverted=inverted,
        progress=question.progress,
    )
    scale = float(np.abs(slid.values).max())
    change = "the largest rise over a grey film's" if inverted else "the largest drop or rise"
    return Answer(
        slid.values,
        scale,
        f"A patch of {slid.patch} of {len(question.pixels)} pixels; {change} probability "
        f"({slid.reference:.2g}) is {scale:.2g}",
    )


METHOD = Method(
    name="occlusion",
    title="Occlusion",
    about="how far the probability falls where a grey patch hides the film",
    needs="scores",
    signed=True,
    explain=_explain,
)

INVERTED = Method(
    name="inverted-occlusion",
    title="Inverted occlusion",
    about="what probability is left where a patch alone is shown",
    needs="scores",
    signed=True,
    explain=partial(_explain, inverted=True),
)
