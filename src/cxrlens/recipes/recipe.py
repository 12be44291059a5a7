"""A recipe: everything that decides how a model comes out, in one typed, validated file.

The shipped recipes lie beside this module, one YAML a row of the report's Table 1, and ours.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cxrlens.collections.collection import LABELS
from cxrlens.errors import RecipeError
from cxrlens.own_files import own_text
from cxrlens.quality.chain import CHAINS
from cxrlens.recipes.parts import (
    EACH,
    Augmentation,
    Baseline,
    LeaveOut,
    Loss,
    MapTeaching,
    Model,
    Part,
    Training,
)
from cxrlens.recipes.plain_yaml import LARGEST, PlainYAMLError, plain_yaml

_SHIPPED = Path(__file__).parent

_TOLD = 8
"""Faults of a recipe that are told; the rest are counted."""

_OF_NETWORKS = {"loss", "training", "augmentation", "folds", "one_vs_all", "target", "map"}
"""Keys that say nothing to a baseline."""


class Recipe(Part):
    """One whole run: of a network (`model`), or of a `baseline`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    about: str = Field("", max_length=10_000)
    seed: int = Field(0, ge=0, lt=2**32)
    side: int = Field(224, ge=32, le=1024)
    """Pixels of the square that films are resized to."""
    quality: str = Field("none", max_length=100)
    """The quality chain that films go through: see `cxrlens.quality.chain.CHAINS`."""
    lungs: Literal["none", "crop", "mask"] = "none"
    """``crop`` cuts the lungs' box out of each film before the resize, ``mask`` fills what lies outside."""
    model: Model | None = None
    baseline: Baseline | None = None
    loss: Loss = Loss()
    map: MapTeaching | None = None
    """What teaches an evidence map beside the labels."""
    training: Training = Training()
    augmentation: Augmentation | None = None
    leave_out: LeaveOut = LeaveOut()
    folds: int = Field(0, ge=0, le=20)
    """Train this many members, each validated on its own fold, and let them vote; 0 trains one."""
    one_vs_all: bool = False
    """Train one network a class, each against the rest."""
    target: Literal["normal", "pneumonia", "tuberculosis"] | None = None
    """Tell this class from the rest: what a member of a one-vs-all run does."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.quality not in CHAINS:
            raise ValueError(f"quality: {self.quality!r} is none of {', '.join(CHAINS)}")
        if (self.model is None) == (self.baseline is None):
            raise ValueError("a recipe has either the key model or the key baseline")
        if self.baseline and (foreign := sorted(self.model_fields_set & _OF_NETWORKS)):
            raise ValueError(f"a baseline has no {', '.join(foreign)}: leave the key out")
        if self.folds == 1:
            raise ValueError("folds: one fold leaves nothing to train on; say 0 or 2 and more")
        binary = self.one_vs_all or self.target is not None
        if self.one_vs_all and self.target:
            raise ValueError("one_vs_all trains every class, target one of them: say one of both")
        if binary != (self.loss.name == "binary-focal"):
            raise ValueError(
                "loss.name: binary-focal goes with one_vs_all, and nothing else does "
                f"(it is {self.loss.name})"
            )
        if self.loss.margin and self.network.head != "svm":
            raise ValueError("loss.margin is of the svm head; set model.head=svm or leave it out")
        evidence = self.model is not None and self.model.head == "evidence-map"
        if self.map and not evidence:
            raise ValueError(
                "the key map teaches an evidence map; set model.head=evidence-map or leave it out"
            )
        if binary and (evidence or self.training.source_prior):
            raise ValueError(
                "an evidence map and source_prior are of networks that score all three classes: "
                "leave out one_vs_all and target"
            )
        if self.training.source_prior and self.loss.name not in ("cross-entropy", "focal"):
            raise ValueError(
                f"training.source_prior adds to log probabilities, which {self.loss.name} has not: "
                "set loss.name=cross-entropy or focal"
            )
        return self

    @property
    def network(self) -> Model:
        """The key `model`, where a network is needed.

        Raises
        ------
        RecipeError
            If the recipe is a baseline.
        """
        if self.model is None:
            raise RecipeError(
                f"{self.name} is a baseline, a linear model without a network: only recipes with the "
                "key model can do this"
            )
        return self.model

    @property
    def backbone(self) -> str:
        """What scores the films, in a word: the backbone's name, or the baseline's kind."""
        return self.baseline.kind if self.baseline else self.network.backbone

    @property
    def outputs(self) -> int:
        """Scores of one network: one a class, or a single one for the target."""
        return 1 if self.target else 3

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the runs that this one is made of; empty for a single network."""
        if self.folds:
            return tuple(f"fold-{fold}" for fold in range(self.folds))
        return LABELS if self.one_vs_all else ()

    @property
    def outside(self) -> dict[str, tuple[str, ...]]:
        """Names of the runs that judge this one at places new to them, and the sources each leaves out."""
        if self.leave_out.in_turn == EACH:
            return {}  # which those are a collection says
        found: dict[str, tuple[str, ...]] = {}
        for group in self.leave_out.in_turn:
            name = re.sub(r"[^\w.-]+", "-", "-".join(group)).strip(".-").lower() or "source"
            while name in found:
                name += "-2"
            found[name] = group
        return found

    def to_yaml(self) -> str:
        """Write every setting, defaults too, as YAML."""
        foreign = {"model", *_OF_NETWORKS} if self.baseline else {"baseline"}
        content = self.model_dump(mode="json", exclude=foreign)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with cxrlens."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def read_recipe(name: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe and change single settings of it.

    Parameters
    ----------
    name
        A shipped recipe's name, or the path of a YAML file.
    settings
        ``key=value`` with dotted keys, for example ``training.batch=16``; values are read as YAML.

    Raises
    ------
    RecipeError
        If there is no such recipe, a key is unknown, or a value is wrong; the sentence names the key
        and the nearest valid name.
    """
    path = _SHIPPED / f"{name}.yaml"
    if not os.path.isfile(path):  # not the path's own method, which raises at odd names
        path = Path(name)
        if not os.path.isfile(path):
            near = difflib.get_close_matches(str(name), shipped_recipes(), n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else "give a YAML file, or one of them"
            raise RecipeError(
                f"there is no recipe {str(name)!r}; shipped are {', '.join(shipped_recipes())}; {hint}"
            )
    content = recipe_content(path)
    for setting in settings:
        _set(content, setting)
    return parse_recipe(content, str(name))


def recipe_content(path: Path) -> dict[str, Any]:
    """Read a recipe's file as plain values, not validated yet.

    Raises
    ------
    RecipeError
        If it cannot be read, is no plain YAML (`cxrlens.recipes.plain_yaml`), or no mapping.
    """
    text = own_text(path, RecipeError, "mend it, or take a shipped recipe", 4 * LARGEST)
    try:
        content = plain_yaml(text)
    except PlainYAMLError as error:
        raise RecipeError(f"{path} is no YAML file that can be read: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no recipe: it must be a mapping that begins with 'name:'")
    return content


def parse_recipe(content: Mapping[str, Any], origin: str) -> Recipe:
    """Validate a recipe's content; `origin` names it in messages."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False)
        sentences = [_sentence(detail) for detail in found[:_TOLD]]
        if len(found) > _TOLD:
            sentences.append(f"and {len(found) - _TOLD} faults more")
        raise RecipeError(f"recipe {origin}: {'; '.join(sentences)}") from error


def _set(content: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting}: write it as key=value, for example training.batch=16")
    *parents, leaf = key.strip().split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {setting}: {parent} holds a value, it has no parts")
    try:
        place[leaf] = plain_yaml(value)
    except PlainYAMLError as error:
        raise RecipeError(f"--set {_shown(setting)}: the value cannot be read, {error}") from error


def _sentence(detail: ErrorDetails) -> str:
    key = ".".join(_shown(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        *parents, leaf = (_shown(part) for part in detail["loc"])
        valid = _keys(parents)
        near = difflib.get_close_matches(leaf, valid, n=1, cutoff=0.5)
        hint = (
            f"did you mean {'.'.join([*parents, near[0]])}?"
            if near
            else "valid: " + ", ".join(valid)
        )
        return f"unknown key {key}; {hint}"
    if detail["type"] == "missing":
        return f"the key {key} is missing"
    if detail["type"] == "literal_error":
        valid = _choices(detail)
        near = difflib.get_close_matches(_shown(detail["input"]), valid, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key} is {_shown(detail['input'], repr)}, allowed are {', '.join(valid)}{hint}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key}: {message} (it is {_shown(detail['input'], repr)})" if key else message


def _shown(value: object, write: Callable[[object], str] = str) -> str:
    """Write a value of the user's in at most 80 letters."""
    try:
        text = write(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys(parents: list[str]) -> list[str]:
    part: type[BaseModel] = Recipe
    for parent in parents:
        annotation = _inner(part.model_fields[parent].annotation)
        assert isinstance(annotation, type)
        part = annotation
    return list(part.model_fields)


def _inner(annotation: Any) -> Any:
    """Take what an optional part holds: its annotation is a union with None."""
    if type(None) in get_args(annotation):
        return next(of for of in get_args(annotation) if of is not type(None))
    return annotation


def _choices(detail: ErrorDetails) -> list[str]:
    part: Any = Recipe
    for name in detail["loc"]:
        part = _inner(part.model_fields[str(name)].annotation)
    return [str(choice) for choice in get_args(part)]
