"""The parts of a recipe: each a group of keys, with their bounds and what they mean."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Part(BaseModel):
    """A group of keys; an unknown key is a fault, and nothing changes afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Model(Part):
    """The network: a backbone, and a head on its pooled features (SYSTEM §5)."""

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
    """What training lowers (SYSTEM §6)."""

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
    """Random changes to training films (SYSTEM §4); each film draws its own within these bounds."""

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

    @property
    def shades(self) -> bool:
        """Whether it changes the greys of standardised films."""
        return any((self.tone, self.gain, self.offset, self.blur, self.noise))


class MapTeaching(Part):
    """What teaches the places of an evidence map, beside the films' labels; a weight of 0 leaves it out.

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


class Training(Part):
    """How the loss is lowered (SYSTEM §7)."""

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
    """A linear model on simple features, fitted in one go, in place of a network (SYSTEM §5, §9)."""

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
"""What ``leave_out.in_turn`` is before a collection says which sources there are."""

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
