"""Occlusion: what happens to a class when a patch is hidden, or when all but the patch is."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.explanation.method import Answer, Method, Probabilities, Question
from cxrlens.progress import Progress

GREY = 128
"""What stands where the film is hidden."""

PATCHES = 7
"""The patch's side is the film's, divided by this: 32 pixels of 224."""


@dataclass(frozen=True)
class Occlusion:
    """What `occlusion` found.

    Attributes
    ----------
    scores
        (P, P) float64, the class's probability for each place of the patch, top left first.
    reference
        Its probability for the film as it is; inverted: for a film that is grey all over.
    places
        (P,) int64, the patch's first row, or column, at each place.
    patch
        Pixels of its side.
    side
        Pixels of the film's side.
    inverted
        Whether all but the patch was hidden.
    """

    scores: NDArray[np.float64]
    reference: float
    places: NDArray[np.int64]
    patch: int
    side: int
    inverted: bool

    def map(self) -> NDArray[np.float32]:
        """By how much each pixel speaks for the class, (S, S) float32; below 0 against it.

        The drop of the probability where the patch hides the film, or, inverted, its rise over a grey
        film's where the patch shows it: the mean over all patches that cover the pixel.
        """
        gain = self.scores - self.reference if self.inverted else self.reference - self.scores
        covers = np.zeros((len(self.places), self.side))
        for row, place in zip(covers, self.places, strict=True):
            row[place : place + self.patch] = 1
        times = covers.sum(axis=0)
        return (covers.T @ gain @ covers / np.outer(times, times)).astype(np.float32)


def occlusion(
    probabilities: Probabilities,
    film: NDArray[np.uint8],
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
    corners = [(y, x) for y in places for x in places]
    scores = np.empty(len(corners))
    for start in range(0, len(corners), batch):
        part = corners[start : start + batch]
        films = np.repeat(below[None], len(part), axis=0)
        for one, (y, x) in zip(films, part, strict=True):
            one[y : y + patch, x : x + patch] = above[y : y + patch, x : x + patch]
        scores[start : start + batch] = probabilities(films)[:, target]
        if progress:
            progress(start + len(part), len(corners))
    reference = float(probabilities(below[None])[0, target])
    shape = (len(places), len(places))
    return Occlusion(scores.reshape(shape), reference, places, patch, side, inverted)


def _explain(question: Question, inverted: bool = False) -> Answer:
    slid = occlusion(
        question.probabilities,
        question.pixels,
        question.target,
        inverted=inverted,
        progress=question.progress,
    )
    values = slid.map()
    scale = float(np.abs(values).max())
    change = "the largest rise over a grey film's" if inverted else "the largest drop or rise"
    return Answer(
        values,
        scale,
        f"A patch of {slid.patch} of {slid.side} pixels; {change} probability ({slid.reference:.2g}) "
        f"is {scale:.2g}",
    )


METHOD = Method(
    name="occlusion",
    title="Occlusion",
    about="how far the probability falls where a grey patch hides the film",
    needs="scores",
    quick=False,
    signed=True,
    explain=_explain,
)

INVERTED = Method(
    name="inverted-occlusion",
    title="Inverted occlusion",
    about="what probability is left where a patch alone is shown",
    needs="scores",
    quick=False,
    signed=True,
    explain=partial(_explain, inverted=True),
)
