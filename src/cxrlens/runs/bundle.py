"""Exported bundles: a trained model that runs on onnxruntime and NumPy alone."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxrlens.errors import BundleError
from cxrlens.files import file_digest, of_shape, own_bytes, own_json
from cxrlens.quality.chain import Chain
from cxrlens.runs.stored import Layout

if TYPE_CHECKING:
    import pandas as pd

    from cxrlens.recipes.recipe import Recipe


_DEEPEST = 32
"""Graphs within graphs (the branches of a condition); the exporter writes none."""

# Numbers of fields, by message: what each leads to.
_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor: the other file's name and place in it; and whether they count."""


class GraphFileError(ValueError):
    """What is no ONNX graph; its text says where."""


def names_other_files(path: Path) -> bool:
    """Tell whether a tensor of the graph lies in another file.

    Raises
    ------
    GraphFileError
        If the file is no message.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise GraphFileError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _elsewhere(data, 0, len(data), "model", 0)


def _elsewhere(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise GraphFileError(f"its graphs are nested more than {_DEEPEST} deep")
    for field, start, stop in _fields(data, at, end):
        if message == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and stop == start):
                return True
            continue
        inner = _LEADS[message].get(field)
        if inner and _elsewhere(data, start, stop, inner, depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give number, start and end of each field; of a number that is not 0 the end twice."""
    while at < end:
        key, at = _number(data, at, end)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _number(data, at, end)
            yield field, at if value else -1, at
            continue
        if wire == 2:
            length, at = _number(data, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise GraphFileError(f"byte {at} begins no field")
        if length > end - at:
            raise GraphFileError(f"a field at byte {at} is longer than what holds it")
        yield field, at, at + length
        at += length


def _number(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise GraphFileError(f"the number at byte {at} does not end")


FORMAT = 1
"""Layout of bundles; a folder with a higher one was written by a later cxrlens."""

MANIFEST = "bundle.json"
GRAPH = "model.onnx"
HEADS = "heads.safetensors"
CARD = "card.json"
LEARNT = "learnt.json"

INPUT = "films"
"""The graph's one input."""

DIGITS = 16
"""Of a training film's SHA-256, in hexadecimal, that a bundle keeps."""


_AGAIN = "copy the whole bundle again, or export the run again"

_SHA256 = r"^[0-9a-f]{64}$"


class _Single(BaseModel):
    kind: Literal["single"]
    leaf: int = Field(ge=0)
    outputs: int = Field(ge=1, le=100)


class _OneVsAll(BaseModel):
    kind: Literal["one-vs-all"]
    leaves: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


class _Voting(BaseModel):
    kind: Literal["voting"]
    members: list["_Decision"] = Field(min_length=1, max_length=100)


_Decision = Annotated[_Single | _OneVsAll | _Voting, Field(discriminator="kind")]


class _Leaf(BaseModel):
    scores: str
    maps: str | None
    layers: list[dict[str, str | float]]
    evidence: str | None = None


class _Chain(BaseModel):
    name: str = Field(max_length=100)
    version: str = Field(max_length=200)


class _Manifest(BaseModel):
    """What bundle.json of this version says, and whatever else was noted."""

    model_config = ConfigDict(extra="allow")

    format: int
    cxrlens: str = Field(max_length=100)
    classes: list[str] = Field(min_length=2, max_length=100)
    side: int = Field(ge=32, le=1024)
    decision: _Decision
    chain: _Chain
    recipe: dict[str, Any]
    leaves: list[_Leaf] = Field(min_length=1)
    learnt_unknown: int = Field(0, ge=0)
    files: dict[str, Annotated[str, Field(pattern=_SHA256)]]
    digest: str = Field(pattern=_SHA256)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not _fits(self.decision, len(self.leaves), len(self.classes)):
            raise ValueError("the decision does not fit the leaves and the classes")
        return self


def _fits(decision: _Single | _OneVsAll | _Voting, leaves: int, classes: int) -> bool:
    match decision:
        case _Single(leaf=leaf, outputs=outputs):
            return leaf < leaves and outputs in ((1, 2) if classes == 2 else (classes,))
        case _OneVsAll(leaves=named):
            return len(named) == classes and max(named) < leaves
        case _Voting(members=members):
            return all(_fits(member, leaves, classes) for member in members)


class _Named(BaseModel):
    """What is read of a card to tell the model by."""

    digest: str = Field(min_length=1, max_length=64)


class _Learnt(BaseModel):
    train: list[str]
    validation: list[str]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all there and unchanged; `open_bundle` makes it.

    One of the two kinds of `cxrlens.runs.saved.SavedModel`, which says what each attribute means.

    Attributes
    ----------
    path
        The folder.
    content
        What ``bundle.json`` holds.
    """

    path: Path
    content: Mapping[str, Any]

    kind = "bundle"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their probabilities."""
        return tuple(self.content["classes"])

    @cached_property
    def digest(self) -> str:
        """The digest of the run that was exported; see `cxrlens.runs.run.Run.digest`."""
        return own_json(self.path / CARD, _Named, BundleError, _AGAIN).digest

    @property
    def side(self) -> int:
        """Pixels of the square films that the graph takes."""
        return int(self.content["side"])

    @cached_property
    def recipe(self) -> "Recipe":
        """The recipe of the run."""
        from cxrlens.recipes.recipe import parse_recipe

        return parse_recipe(self.content["recipe"], str(self.path / MANIFEST))

    def chain(self) -> Chain:
        """Make the quality chain of the training.

        Raises
        ------
        BundleError
            If the installed version's chain has other steps or thresholds.
        """
        told = self.content["chain"]
        chain = Chain.named(told["name"], self.side, lungs=self.recipe.lungs)
        if chain.version != told["version"]:
            raise BundleError(
                f"{self.path} was exported with the quality chain {told['version']}, this version has "
                f"{chain.version}: use cxrlens {self.content['cxrlens']}, or train and export again"
            )
        return chain

    def labels(self, of: "pd.Series") -> "pd.Series":
        """Say labels in the model's own classes, as `cxrlens.runs.run.Run.labels` does."""
        first, second = self.classes[0], self.classes[1]
        return of.where(of == first, second) if self.recipe.target else of

    def learnt(self, images: Iterable[str | Path]) -> list[tuple[str, str]]:
        """Find films that the model learnt from or that chose its epoch, by their files' content.

        Parameters
        ----------
        images
            Files. One that cannot be read is passed over.

        Returns
        -------
        list of tuple of str
            Image and split, ``train`` or ``validation``. A copy in another format is not recognised,
            nor is another film of the same patient.
        """
        kept = own_json(self.path / LEARNT, _Learnt, BundleError, _AGAIN)
        known = dict.fromkeys(kept.validation, "validation") | dict.fromkeys(kept.train, "train")
        found = []
        for image in images:
            try:
                split = known.get(film_digest(Path(image)))
            except OSError:
                continue
            if split:
                found.append((str(image), split))
        return found

    @property
    def patients_learnt(self) -> frozenset[str]:
        """None: a bundle carries no patients."""
        return frozenset()

    @property
    def cannot_recognise(self) -> str:
        """Which of its films it would not know again, in sentences."""
        unknown = int(self.content["learnt_unknown"])
        gone = (
            f" {unknown:,} films of its training were gone when it was exported and are not "
            "recognised at all."
            if unknown
            else ""
        )
        return (
            "An exported bundle recognises the films that it learnt from only by their files' exact "
            f"content: copies in another format, and other films of the same patients, are not found.{gone}"
        )

    @property
    def card(self) -> Path:
        """The card that it brings ready-made."""
        return self.path / CARD


def is_bundle(path: Path) -> bool:
    """Tell whether a folder is meant to be a bundle."""
    return (path / MANIFEST).is_file()


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and check that its files are those that were exported, no more and no fewer.

    Raises
    ------
    BundleError
        If it is no bundle, of a later version, a file is missing, changed or not of it, or the graph names
        files elsewhere.
    """
    path = Path(path)
    manifest = path / MANIFEST
    found = own_json(manifest, Layout, BundleError, _AGAIN)
    if not 0 < found.format <= FORMAT:
        raise BundleError(
            f"{path} was written by cxrlens {found.cxrlens} in a layout ({found.format}) that this version "
            "does not know: use that version, or export the run again"
        )
    content = json.loads(own_bytes(manifest, BundleError, _AGAIN))
    if content.get("digest") != manifest_digest(content):
        raise BundleError(f"{manifest} was changed since it was exported: export the run again")
    files = of_shape(content, _Manifest, str(manifest), BundleError, _AGAIN).files
    for name in (GRAPH, HEADS, CARD, LEARNT, *files):
        if name not in files or Path(name).name != name:
            raise BundleError(f"{manifest} does not fit its folder at {name}: export the run again")
    strangers = sorted(name for name in os.listdir(path) if name not in (MANIFEST, *files))
    if strangers:
        raise BundleError(
            f"{path} holds {strangers[0]}, which was not exported with it: take it out of the bundle"
        )
    for name, digest in files.items():
        try:
            same = file_digest(path / name) == digest
        except FileNotFoundError as error:
            raise BundleError(f"{path} lacks {name}: copy the whole bundle again") from error
        except OSError as error:
            raise BundleError(f"{path / name} cannot be read: {error.strerror}") from error
        if not same:
            raise BundleError(
                f"{path / name} is not the file that was exported (its digest differs): "
                "copy the bundle again, or export the run again"
            )
    try:
        if names_other_files(path / GRAPH):
            raise BundleError(
                f"{path / GRAPH} keeps weights in another file, as no exported graph does: "
                "export the run again"
            )
    except GraphFileError as error:
        raise BundleError(f"{path / GRAPH} is no graph ({error}): export the run again") from error
    return Bundle(path, content)


def manifest_digest(content: Mapping[str, Any]) -> str:
    """Digest what ``bundle.json`` holds, its own digest left out; SHA-256 in hexadecimal."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def film_digest(path: Path) -> str:
    """Tell a film's file by its content; see `DIGITS`."""
    return file_digest(path)[:DIGITS]
