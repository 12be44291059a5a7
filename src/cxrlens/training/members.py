"""The members of a one-vs-all or voting run: what each is trained from."""

from cxrlens.collections.collection import LABELS, Collection
from cxrlens.collections.same_films import Same
from cxrlens.collections.splits import fold
from cxrlens.errors import CollectionError
from cxrlens.recipes.recipe import Recipe

INNER = ("train", "validation")
"""The splits that folds are dealt out over."""

Member = tuple[Recipe, Collection]


def members_of(
    recipe: Recipe, collection: Collection, same: Same | None = None
) -> dict[str, Member]:
    """Derive each member's recipe and collection.

    Parameters
    ----------
    recipe
        With folds or one-vs-all; a recipe with both gives fold members that are one-vs-all themselves.
    collection
        With a split. Folds are dealt out over its training and validation films, by patient, unless
        it has a column ``fold`` already; its test films stay.
    same
        Which films are the same; see `cxrlens.collections.splits.fold`.

    Returns
    -------
    dict
        By the member's name; empty for a recipe of a single network.

    Raises
    ------
    CollectionError
        If a class has fewer patients than folds, or the column ``fold`` does not fit.
    """
    # What judges the whole is trained once, not for each member.
    leave_out = recipe.leave_out.model_copy(update={"in_turn": ()})
    recipe = recipe.model_copy(update={"leave_out": leave_out})
    if recipe.folds:
        dealt = _dealt(recipe, collection, same)
        single = recipe.model_copy(update={"folds": 0})
        return {
            name: (single, _held_out(dealt, number)) for number, name in enumerate(recipe.members)
        }
    if recipe.one_vs_all:
        return {
            label: (recipe.model_copy(update={"one_vs_all": False, "target": label}), collection)
            for label in LABELS
        }
    return {}


def _dealt(recipe: Recipe, collection: Collection, same: Same | None) -> Collection:
    films = collection.films
    if "fold" not in films:
        return fold(collection, recipe.folds, recipe.seed, same)
    inner = films[films["split"].isin(INNER)]
    found = sorted(inner["fold"].dropna().astype(int).unique().tolist())
    if inner["fold"].isna().any() or found != list(range(recipe.folds)):
        raise CollectionError(
            f"the column fold holds {found}, the recipe wants 0 to {recipe.folds - 1} for every film outside "
            "the test split: make it with cxrlens split --folds, or leave it out"
        )
    if "patient" in films:
        shared = inner.groupby("patient")["fold"].nunique()
        if (shared > 1).any():
            raise CollectionError(
                f"patient {shared[shared > 1].index[0]} has films in several folds: fold by patient"
            )
    return collection


def _held_out(dealt: Collection, number: int) -> Collection:
    films = dealt.films
    split = films["split"].mask(films["split"].isin(INNER), "train")
    # Films of other splits have no fold, and what is missing must not count as a match.
    split = split.mask(films["fold"].eq(number).fillna(False).astype(bool), "validation")
    return Collection(films.assign(split=split).drop(columns="fold"))
