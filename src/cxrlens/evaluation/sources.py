"""Metrics per source, and in words how far the source gives the label away.

Where each class comes mostly from a place of its own (a hospital, a country, children or adults,
one kind of machine), a model can tell the places apart instead of the diseases, and a random split
rewards it for that. Figures within one source, over the classes that it has, are the closer look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cxrlens.evaluation.wording import percent

MOSTLY = 0.8
"""Share of a class's films from one source from which we call it a class of that source."""

TELLING = 0.15
"""How much better than the commonest class a guess by source may be before we warn."""


@dataclass(frozen=True)
class Origin:
    """Where the films of a class come from.

    Attributes
    ----------
    label
        The class.
    films, sources
        Its films, and the number of sources that they come from.
    largest
        The source that gives most of them.
    share
        Share of its films from `largest`, in (0, 1].
    alone
        Whether `largest` has films of no other class.
    """

    label: str
    films: int
    sources: int
    largest: str
    share: float
    alone: bool


def origins(films: pd.DataFrame, classes: Sequence[str]) -> list[Origin]:
    """Say for each class that has films how many come from its largest source.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``: a collection or a table of predictions. Films without a
        source are left out.
    classes
        The classes, in order.

    Returns
    -------
    list of Origin
        Empty without a ``source`` column, or if no film has a source.
    """
    if "source" not in films.columns:
        return []
    known = films[films["source"].notna() & films["label"].notna()]
    counts = pd.crosstab(known["label"].astype(str), known["source"].astype(str))
    found = []
    for label in classes:
        if label not in counts.index:
            continue
        row = counts.loc[[label]].to_numpy()[0]
        largest = counts.columns[row.argmax()]
        found.append(
            Origin(
                label=label,
                films=int(row.sum()),
                sources=int((row > 0).sum()),
                largest=largest,
                share=float(row.max() / row.sum()),
                alone=int((counts[largest] > 0).sum()) == 1,
            )
        )
    return found


def guessed_by_source(films: pd.DataFrame) -> tuple[float, float] | None:
    """Say how far one gets with the source alone, without a look at any film.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``; films without either are left out.

    Returns
    -------
    tuple of float or None
        Share of films that are right if each is given the commonest label of its source, and if all
        are given the commonest label there is. None with fewer than two sources.
    """
    if "source" not in films.columns:
        return None
    known = films[films["source"].notna() & films["label"].notna()]
    counts = pd.crosstab(known["source"], known["label"])
    if len(counts) < 2:
        return None
    total = counts.to_numpy().sum()
    return float(counts.max(axis=1).sum() / total), float(counts.sum(axis=0).max() / total)


def source_warning(films: pd.DataFrame, classes: Sequence[str]) -> str | None:
    """Warn in plain language if the source gives the label away; None if it does not.

    Parameters
    ----------
    films
        Columns ``label`` and ``source``: a collection or a table of predictions.
    classes
        The classes, in order.
    """
    guess = guessed_by_source(films)
    if guess is None:
        return None
    mostly = [one for one in origins(films, classes) if one.share >= MOSTLY or one.alone]
    by_source, by_class = guess
    if not mostly and by_source - by_class < TELLING:
        return None
    parts = ["The source gives the label away.", *map(_in_words, mostly)]
    parts.append(
        "Knowing only where a film is from, one would name its class for "
        f"{percent(by_source)} of the films ({percent(by_class)} by always naming the commonest). "
        "A model can score well here by recognising the place instead of the disease: trust the "
        "figures within each source, and films from a place that the model has never seen, more "
        "than the figures over all films."
    )
    return " ".join(parts)


def _in_words(origin: Origin) -> str:
    if origin.sources == 1:
        text = f"All {origin.films:,} {origin.label} films come from {origin.largest}"
    else:
        text = (
            f"{percent(origin.share)} of the {origin.films:,} {origin.label} films "
            f"come from {origin.largest}"
        )
    return text + (", which has films of no other class." if origin.alone else ".")
