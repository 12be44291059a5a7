"""What a study may change in a recipe, and the recipe that a draw gives.

Four things of SYSTEM §7: the bounds of the learning rate, the width of the head's hidden layer,
dropout, and how many of the first layers stay frozen. Each is left out where the recipe has no use
for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cxrlens.errors import RecipeError
from cxrlens.models.backbones import build_backbone
from cxrlens.recipes.recipe import Recipe

Value = float | int | str
"""A drawn setting."""

RATE_HIGH = (3e-5, 3e-3)
"""Bounds of the highest learning rate, drawn evenly in its logarithm."""

RATE_RATIO = (2.0, 100.0)
"""Bounds of the highest rate over the lowest, drawn evenly in its logarithm."""

WIDTHS = (64, 128, 256, 512, 1024)
"""Units of the head's hidden layer."""

DROPOUT = (0.0, 0.5, 0.05)
"""Bounds of the dropout, and its step."""


class Draw(Protocol):
    """What draws settings; Optuna's trials do."""

    def suggest_float(  # noqa: D102
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Space:
    """What is drawn for a recipe.

    Attributes
    ----------
    width, dropout
        Whether they are drawn.
    depths
        Values of ``model.frozen`` to choose from, the shallowest first; empty if it stays as it is.
    """

    width: bool
    dropout: bool
    depths: tuple[str, ...]

    def draw(self, trial: Draw) -> dict[str, Value]:
        """Draw one value of everything, by the names that `apply` reads."""
        drawn: dict[str, Value] = {
            "learning_rate_high": trial.suggest_float("learning_rate_high", *RATE_HIGH, log=True),
            "learning_rate_ratio": trial.suggest_float(
                "learning_rate_ratio", *RATE_RATIO, log=True
            ),
        }
        if self.width:
            drawn["width"] = trial.suggest_categorical("width", WIDTHS)
        if self.dropout:
            low, high, step = DROPOUT
            drawn["dropout"] = trial.suggest_float("dropout", low, high, step=step)
        if self.depths:
            drawn["frozen"] = trial.suggest_categorical("frozen", self.depths)
        return drawn


def space_of(recipe: Recipe) -> Space:
    """Say what can be drawn for a recipe.

    Parameters
    ----------
    recipe
        Of a single network.

    Raises
    ------
    RecipeError
        If it trains several networks, or none with a learning rate.
    CxrlensError
        If its backbone does not exist.
    """
    if recipe.members:
        raise RecipeError(
            f"the recipe {recipe.name} trains {len(recipe.members)} members: tune one network, for "
            "example with --set folds=0, or --set one_vs_all=false --set target=tuberculosis"
        )
    if recipe.leave_out.in_turn:
        raise RecipeError(
            f"the recipe {recipe.name} trains once more without each of several sources: tune one "
            "network, with --set leave_out.in_turn=[]"
        )
    if recipe.baseline:
        raise RecipeError(
            f"the recipe {recipe.name} is a baseline, which chooses its one setting on the validation "
            "films by itself: cxrlens train"
        )
    scratch = recipe.network.backbone == "resnet"
    hidden = recipe.network.head == "feed-forward"
    depths = () if recipe.network.weights == "none" else freezing_depths(recipe)
    return Space(width=hidden, dropout=hidden or scratch, depths=depths)


def freezing_depths(recipe: Recipe) -> tuple[str, ...]:
    """Name the layers up to which a backbone may be frozen: none, each stage, the recipe's own.

    Stages are those at whose end the film's side is halved. The last one is never frozen.
    """
    backbone = build_backbone(recipe.network.backbone, "none")
    stages = getattr(backbone.network, "feature_info", [])
    modules = [name for name, _ in backbone.network.named_modules()]
    named = {str(stage["module"]) for stage in stages[:-1]} | {recipe.network.frozen}

    def end(name: str) -> int:
        within = [i for i, other in enumerate(modules) if f"{other}.".startswith(f"{name}.")]
        return within[-1]

    return ("", *sorted(named & set(modules) - {""}, key=end))


def apply(recipe: Recipe, drawn: Mapping[str, Value], name: str = "", about: str = "") -> Recipe:
    """Put drawn settings into a recipe.

    Parameters
    ----------
    recipe
        What is not drawn stays as it is here.
    drawn
        As `Space.draw` gives it.
    name, about
        Replace the recipe's own where they are given.
    """
    content = recipe.model_dump(mode="json")
    high = float(drawn["learning_rate_high"])
    content["training"]["learning_rate_high"] = high
    content["training"]["learning_rate_low"] = high / float(drawn["learning_rate_ratio"])
    for key in ("width", "dropout", "frozen"):
        if key in drawn:
            content["model"][key] = drawn[key]
    if "dropout" in drawn:
        content["model"]["dropout"] = round(float(drawn["dropout"]), 6)
    content["name"] = name or recipe.name
    content["about"] = about or recipe.about
    return Recipe.model_validate(content)
