"""One face for every model that was saved, a run folder or a bundle, and the files that both are made of."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, RootModel
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cxrlens.collections.collection import LABELS
from cxrlens.collections.tables import as_html
from cxrlens.errors import CxrlensError, RunError, visible
from cxrlens.files import moved_into_place, own_json
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe

LOSSES = ("train_loss", "validation_loss")
COURSE: dict[str, tuple[float, float]] = {
    "epoch": (0, 1e6),
    "train_accuracy": (0, 1),
    "validation_accuracy": (0, 1),
    "seconds": (0, 1e9),
}
"""Columns of a history, with what each can be; a loss may be no number."""


class Layout(BaseModel):
    """The part of versions.json, or of bundle.json, that any version can read."""

    format: int
    cxrlens: str = Field("?", max_length=100)


def check_layout(
    path: Path, newest: int, fault: type[CxrlensError], copied: str, instead: str
) -> None:
    """Raise the `fault` if a file is damaged, or a later cxrlens wrote it in a layout of its own."""
    found = own_json(path, Layout, fault, copied)
    if not 0 < found.format <= newest:
        raise fault(
            f"{path.parent} was written by cxrlens {found.cxrlens} in a layout ({found.format}) that this "
            f"version does not know: use that version, or {instead}"
        )


class _Precision(BaseModel):
    model_config = ConfigDict(extra="allow")

    chosen: Literal["float32", "bfloat16", "bfloat16-split-depthwise"]


class Versions(BaseModel):
    """The versions.json of this version, and whatever else was noted."""

    model_config = ConfigDict(extra="allow")

    format: int
    python: str = "?"
    cxrlens: str = Field(max_length=100)
    device: str = Field(pattern=r"^(cpu|cuda|mps)(:\d+)?$")
    chain: str = Field("", max_length=200)
    predicted: list[Literal["train", "validation", "test", "outside"]] = Field([], min_length=1)
    precision: _Precision | str | None = None
    weights: str = "unknown"
    seconds: float = Field(0, ge=0, allow_inf_nan=False)


_Share = Annotated[float, Field(ge=0, le=1)]


class _Intervals(BaseModel):
    model_config = ConfigDict(extra="allow")

    by_name: dict[str, dict[str, int | float | None] | None] = {}


class _OfSplit(BaseModel):
    """The metrics of one split that are read again, and whatever else was measured."""

    model_config = ConfigDict(extra="allow")

    films: int = Field(ge=0)
    patients: int = Field(ge=0)
    accuracy: _Share
    macro_f1: _Share
    macro_auc: _Share | None = None
    by_class: dict[str, dict[str, int | float | None]]
    intervals: _Intervals | None = None


class Metrics(RootModel[dict[str, _OfSplit]]):
    """By split."""


Tensors = Mapping[str, NDArray[Any]]

_SEAL = "sha256"
"""The key of the digest in the file's metadata."""


def write_weights(path: Path, tensors: Tensors) -> None:
    """Write tensors with their digest, beside `path` first and then moved into place.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    # safetensors writes the memory as it lies: transposed arrays would be scrambled.
    held = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with moved_into_place(path) as draft:
        draft.write_bytes(save(held, metadata={_SEAL: _weights_digest(held)}))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read tensors and check them against their digest.

    Files of earlier versions have none: of those it is only known that their numbers are finite.

    Raises
    ------
    RunError
        If the file is broken, was changed since it was written, or holds what is no number.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        seal = (json.loads(data[8 : 8 + length]).get("__metadata__") or {}).get(_SEAL)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"{path} is broken: copy it again, or train again") from error
    if seal is not None and seal != _weights_digest(tensors):
        raise RunError(
            f"{path} was changed since it was written (its digest differs): copy it again, or train again"
        )
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise RunError(
                f"{path} holds no finite number at {name}: copy it again, or train again"
            )
    return tensors


def _weights_digest(tensors: Tensors) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()


REST = "rest"
"""Every class but the target of a one-vs-all member."""


@dataclass(frozen=True)
class SavedModel(ABC):
    """A model in files; `cxrlens.runs.open_model` opens one that is whole and finished.

    Attributes
    ----------
    path
        Its folder, whose name is the model's.
    kind
        What it is in a word: ``run`` or ``bundle``.
    fault
        What is raised where its files are at fault.
    """

    path: Path
    kind: ClassVar[str]
    fault: ClassVar[type[CxrlensError]]

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The recipe that it was trained by."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Tells it from every other model, 12 hexadecimal digits; see `cxrlens.runs.run.Run.digest`."""

    @property
    @abstractmethod
    def card(self) -> Path | None:
        """The file of the card that it brings ready-made, if it does."""

    @property
    @abstractmethod
    def patients_learnt(self) -> frozenset[str]:
        """Patients of the films of training and validation, where they are known, as `persons` names them."""

    @property
    @abstractmethod
    def cannot_recognise(self) -> str:
        """Sentences about films of its training that `learnt` would miss; empty if it misses none."""

    @property
    @abstractmethod
    def written(self) -> tuple[str, str]:
        """Versions of the quality chain that made its films, and of the cxrlens that wrote it."""

    @abstractmethod
    def _splits(self) -> Mapping[str, str]:
        """Map the key of each film of training and validation to its split."""

    @abstractmethod
    def _key(self, image: str | Path) -> str:
        """Return the key by which a film is recognised; an `OSError` means that it cannot be read."""

    @abstractmethod
    def metrics(self) -> Mapping[str, Any]:
        """Read by split how well it did."""

    def __repr__(self) -> str:
        try:
            said = f"recipe {self.recipe.name}, digest {self.digest}"
        except CxrlensError as error:
            said = str(error)
        return f"<{type(self).__name__} {visible(str(self.path))}: {said}>"

    def _repr_html_(self) -> str:
        names = ("films", "patients", "accuracy", "macro_f1", "macro_auc")
        rows = [
            {"split": split, **{name: of.get(name) for name in names}}
            for split, of in self.metrics().items()
        ]
        return as_html(repr(self), pd.DataFrame(rows).round(3))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their scores; a one-vs-all member tells its own from the rest."""
        return (self.recipe.target, REST) if self.recipe.target else LABELS

    def chain(self) -> Chain:
        """Make the quality chain of the training.

        Raises
        ------
        RunError, BundleError
            If the installed version's chain has other steps or thresholds.
        """
        chain = Chain.named(self.recipe.quality, self.recipe.side, lungs=self.recipe.lungs)
        version, author = self.written
        if version != chain.version:
            raise self.fault(
                f"{self.path} was trained on films from the quality chain {version}, this version has "
                f"{chain.version}: use the cxrlens {author} that wrote it, or train again"
            )
        return chain

    def labels(self, of: pd.Series) -> pd.Series:
        """Put labels into the model's own classes: to a one-vs-all member the others are the rest."""
        return of.where(of == self.recipe.target, REST) if self.recipe.target else of

    def learnt(self, images: Iterable[str | Path]) -> list[tuple[str, str]]:
        """Find films that it learnt from or that chose its epoch.

        Parameters
        ----------
        images
            Files. One that cannot be read is passed over.

        Returns
        -------
        list of tuple of str
            Image and split, ``train`` or ``validation``, of each that was found.
        """
        known, found = self._splits(), []
        for image in images:
            try:
                split = known.get(self._key(image))
            except OSError:
                continue
            if split:
                found.append((str(image), split))
        return found


def mean_weights(files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Average the weights in files of one network, array by array."""
    stacks = [read_weights(path) for path in files]
    return {
        # Whole numbers only count batches.
        name: np.mean([stack[name] for stack in stacks], axis=0).astype(value.dtype)
        for name, value in stacks[0].items()
    }
