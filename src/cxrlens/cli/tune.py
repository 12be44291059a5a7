"""The verb tune: search a recipe's settings on the validation films."""

from pathlib import Path
from typing import Annotated

import typer

from cxrlens.cli.arguments import Cache, Device, Table
from cxrlens.cli.say import done, end_with, out, stages
from cxrlens.errors import need


def tune(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped recipe, or a YAML file.")
    ],
    films: Table,
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="STUDY", help="The study's folder, new or begun.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Trials that the study shall have in all.")
    ] = 20,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change what is not searched."),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Search learning rates, layer width, dropout and depth of freezing; leave the best as a recipe.

    The same command goes on with a study that was interrupted. Several processes may run it on one
    folder at once. No trial meets the test films.
    """
    need("train", "tune", what="tuning")
    from cxrlens.collections.collection import read_collection
    from cxrlens.recipes.recipe import read_recipe
    from cxrlens.training.tuning import tune

    collection = read_collection(films)
    with stages() as bars:
        found = tune(
            read_recipe(recipe, settings or ()),
            collection,
            folder,
            trials=trials,
            device=device,
            cache=cache,
            progress=bars,
        )
    complete = [trial for trial in found.trials if trial.value is not None]
    out.print(
        f"{len(found.trials)} trials, {len(complete)} finished"
        + (
            f", best validation macro F1 {max(t.value or 0 for t in complete):.4f}"
            if complete
            else ""
        )
    )
    then = f"cxrlens train {found.best} {films} -o runs/NAME" if found.best else ""
    done(f"{folder}: open {found.page}", then)
    end_with(collection.missing)
