"""Sources that training does not see: which go out together, and what is left.

A random split rewards a model for telling places apart. A source that was left out whole, with every source
that shares its hospital or patients, cannot be recognised: what is found there was learnt elsewhere.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from cxrlens.collections.collection import LABELS, OUTSIDE, Collection
from cxrlens.collections.same_films import Same, people
from cxrlens.errors import CollectionError
from cxrlens.recipes.recipe import EACH, Recipe, nearest

INSIDE = ("train", "validation", "test")
"""The splits that need films of every class."""


def leave_out(
    recipe: Recipe, collection: Collection, same: Same | None = None
) -> tuple[Recipe, Collection]:
    """Name the sources that a recipe leaves out, and take their films out of the splits.

    Parameters
    ----------
    recipe
        Its ``leave_out.in_turn`` may be ``each``.
    collection
        With labels and a split.
    same
        Which films are copies of each other: sources that share one go together.

    Returns
    -------
    tuple of Recipe and Collection
        The recipe with every source that really goes out by name, those that go together included; the
        collection with the split ``outside`` for all films of ``leave_out.sources``, and for films without a
        source of patients who go out with them.

    Raises
    ------
    CollectionError
        If there are no sources, one is unknown, or leaving one out leaves no film of a class.

    Examples
    --------
    As if the last digit of a patient's number were a place:

    >>> from cxrlens import read_collection, split
    >>> from cxrlens.recipes.recipe import read_recipe
    >>> films = split(read_collection("films.csv"), seed=1)
    >>> films = films.of(films.films.assign(source=films.films["patient"].str[-1]))
    >>> recipe, left = leave_out(read_recipe("resnet-focal", ["leave_out.sources=['4']"]), films)
    >>> left.films.loc[left.films["split"] == "outside", "source"].unique().tolist()
    ['4']
    """
    asked = recipe.leave_out
    if not asked.sources and not asked.in_turn:
        return recipe, collection
    known = _sources(collection)
    whose = _whose(collection, same)
    bound = _bound(collection, asked.together, whose)
    sources = _with_bound(asked.sources, known, bound)
    films = collection.films
    left = collection.of(
        films.assign(split=films["split"].mask(_going(films, whose, sources), OUTSIDE))
    )
    if lost := _lost(recipe, collection, sources, whose):
        raise CollectionError(_why_not_left_out(sources, lost))
    rest = [name for name in known if name not in sources]
    in_turn = _in_turn(recipe, left, rest, bound, whose)
    return _leaving(recipe, sources, in_turn), left


def _leaving(
    recipe: Recipe, sources: Sequence[str], in_turn: Sequence[Sequence[str]] = ()
) -> Recipe:
    named = recipe.leave_out.model_copy(update={"sources": sources, "in_turn": in_turn})
    return recipe.model_copy(update={"leave_out": named})


def without(recipe: Recipe, group: Sequence[str]) -> Recipe:
    """Make the recipe of a run that leaves one more group of sources out, and nothing in turn."""
    return _leaving(recipe, tuple(dict.fromkeys([*recipe.leave_out.sources, *group])))


def refuse_missing_classes(collection: Collection, recipe: Recipe) -> None:
    """Raise `CollectionError` unless every split but ``outside`` has films of every class of the recipe."""
    films = collection.films
    for name in INSIDE:
        present = set(films.loc[films["split"] == name, "label"])
        if missing := _wanting(recipe, present):
            needed = (
                f"{recipe.target} and of the rest" if recipe.target else "each of three classes"
            )
            raise CollectionError(
                f"the {name} split has no film of {' and '.join(missing)}; this recipe needs films of "
                f"{needed} in every split (there are {len(present)} classes in it)"
            )


def _wanting(recipe: Recipe, present: set[str]) -> list[str]:
    """List the classes of the recipe that are not among those present."""
    if recipe.target in present and len(present) > 1:
        return []  # a class against the rest, whatever the rest is
    return [label for label in LABELS if label not in present]


def staying(recipe: Recipe, collection: Collection) -> dict[str, str]:
    """Explain of the sources that are in every training why none leaves them out.

    Parameters
    ----------
    recipe
        As a run keeps it, with sources in turn.
    collection
        The run's.

    Returns
    -------
    dict of str to str
        A sentence by source; empty where nothing was left out in turn.
    """
    if not recipe.outside:
        return {}
    gone = {name for group in recipe.outside.values() for name in group}
    whose = _whose(collection)
    bound = _bound(collection, recipe.leave_out.together, whose)
    said = {}
    for name in _sources(collection):
        if name in gone or name in recipe.leave_out.sources:
            continue
        lost = _lost(recipe, collection, _with_bound([name], _sources(collection), bound), whose)
        why = f"without it there is {lost}" if lost else "the recipe does not ask to leave it out"
        said[name] = f"{name} is in every training: {why}."
    return said


def _in_turn(
    recipe: Recipe,
    collection: Collection,
    known: Sequence[str],
    bound: Sequence[set[str]],
    whose: pd.Series,
) -> tuple[tuple[str, ...], ...]:
    asked = recipe.leave_out.in_turn
    each = asked == EACH
    wanted = [(name,) for name in known] if each else asked
    if each and not wanted:
        raise CollectionError("no source is left to be left out in turn")
    groups = [_with_bound(group, known, bound) for group in wanted]
    lost = {group: _lost(recipe, collection, group, whose) for group in groups}
    possible = tuple(group for group in lost if not lost[group])
    impossible = [group for group in lost if lost[group]]
    if impossible and not (each and possible):
        sentence = _why_not_left_out(impossible[0], lost[impossible[0]])
        raise CollectionError(f"no source can be left out: {sentence}" if each else sentence)
    return possible


def _sources(collection: Collection) -> list[str]:
    if "source" not in collection.films or collection.films["source"].isna().all():
        raise CollectionError(
            "the collection has no sources, so none can be left out: add a column 'source' that says where "
            "each film is from"
        )
    return sorted(collection.films["source"].dropna().unique())


def _whose(collection: Collection, same: Same | None = None) -> pd.Series:
    """Return whose each film is; who shares a film, or a name however it is written, is one person."""
    films = collection.films
    return people(films, np.arange(len(films)) if same is None else same)


def _going(films: pd.DataFrame, whose: pd.Series, sources: Sequence[str]) -> pd.Series:
    """Tell which films leave with sources: theirs, and those of their patients that have no source."""
    theirs = films["source"].isin(sources)
    return theirs | (films["source"].isna() & whose.isin(whose[theirs]))


def _bound(
    collection: Collection, together: Iterable[Sequence[str]], whose: pd.Series
) -> list[set[str]]:
    """Join sources that are declared to go together, or have a patient or a film in common, into sets."""
    known = set(_sources(collection))
    pairs = [set(group) & known for group in together]
    pairs += _sharing(collection.films["source"], whose)
    sets: list[set[str]] = []
    for pair in pairs:
        meeting = [one for one in sets if one & pair]
        sets = [one for one in sets if not one & pair] + [pair.union(*meeting)]
    return sets


def _sharing(source: pd.Series, of: pd.Series) -> list[set[str]]:
    """Find the sets of sources in which one patient stands."""
    places = pd.DataFrame({"source": source, "of": of}).dropna().drop_duplicates()
    several = places[places["of"].duplicated(keep=False)]
    return [set(names) for _, names in several.groupby("of")["source"]]


def _with_bound(
    names: Sequence[str], known: Sequence[str], bound: Sequence[set[str]]
) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"there are {', '.join(known)}"
            raise CollectionError(f"no film is from the source {name!r}; {hint}")
    gone = set(names).union(*(one for one in bound if one & set(names)))
    return tuple(name for name in known if name in gone)


def _lost(recipe: Recipe, collection: Collection, sources: Sequence[str], whose: pd.Series) -> str:
    """Name a class of which no film would be left, in training or in a split; empty where all are left."""
    films = collection.films
    going = _going(films, whose, sources)
    for split in INSIDE:
        inside = films["split"] == split
        before = set(films.loc[inside, "label"])
        after = set(films.loc[inside & ~going, "label"])
        lost = [label for label in _wanting(recipe, after) if label in before]
        if lost:
            stays = ~going & (films["split"] != OUTSIDE)
            if gone := [label for label in lost if label not in set(films.loc[stays, "label"])]:
                return f"no film of {' and '.join(gone)}"
            return f"no film of {' and '.join(lost)} in the {split} split"
    return ""


def _why_not_left_out(sources: Sequence[str], lost: str) -> str:
    return (
        f"leaving out {' and '.join(sources)} leaves {lost}: leave another source out, or add films of that "
        "class from elsewhere"
    )
