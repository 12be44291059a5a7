"""Bundles: an exported network with its digest and card; and those that were installed beside cxrlens.

Installed ones are wheels of their own, since weights have terms of their own. A model's wheel names its
bundle under the entry-point group `GROUP`: an object that is the folder. Nothing is ever downloaded.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cxrlens.errors import BundleError, ModelError
from cxrlens.files import file_digest, of_shape, own_bytes, own_json
from cxrlens.recipes.recipe import Recipe, parse_recipe
from cxrlens.runs.saved import Metrics, SavedModel, check_layout

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


class Leaf(BaseModel):
    """One network of the graph.

    Attributes
    ----------
    scores, maps
        Names of the graph's outputs; without `maps` there is no Grad-CAM.
    layers
        The layers that turn pooled maps into scores, as `cxrlens.prediction.networks` writes them.
    evidence
        Name of the output with its own map of evidence; None where it brings none.
    features
        Name of the output with its pooled features; None in bundles of earlier versions.
    """

    scores: str
    maps: str | None
    layers: list[dict[str, str | float]]
    evidence: str | None = None
    features: str | None = None


class _Chain(BaseModel):
    name: str = Field(max_length=100)
    version: str = Field(max_length=200)


class Manifest(BaseModel):
    """The bundle.json of this version, and whatever else was noted."""

    model_config = ConfigDict(extra="allow")

    format: int
    cxrlens: str = Field(max_length=100)
    classes: list[str] = Field(min_length=2, max_length=100)
    side: int = Field(ge=32, le=1024)
    decision: dict[str, Any]
    """See `cxrlens.prediction.decision`."""
    chain: _Chain
    recipe: dict[str, Any]
    leaves: list[Leaf] = Field(min_length=1)
    learnt_unknown: int = Field(0, ge=0)
    files: dict[str, Annotated[str, Field(pattern=_SHA256)]]
    digest: str = Field(pattern=_SHA256)


class _Named(BaseModel):
    """The part of a card that tells the model."""

    digest: str = Field(min_length=1, max_length=64)


class _Learnt(BaseModel):
    train: list[str]
    validation: list[str]


@dataclass(frozen=True, repr=False)
class Bundle(SavedModel):
    """A bundle whose files are all there and unchanged; `open_bundle` makes it."""

    manifest: Manifest
    kind = "bundle"
    fault = BundleError
    patients_learnt = frozenset()
    """None: a bundle carries no patients."""

    @cached_property
    def digest(self) -> str:
        """The digest of the run that was exported; see `cxrlens.runs.run.Run.digest`."""
        return own_json(self.card, _Named, BundleError, _AGAIN).digest

    @property
    def side(self) -> int:
        """Pixels of the square films that the graph takes."""
        return self.manifest.side

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return parse_recipe(self.manifest.recipe, str(self.path / MANIFEST))

    def metrics(self) -> dict[str, Any]:
        """Read by split how well the run did that was exported."""
        kept = (self.manifest.model_extra or {}).get("metrics", {})
        found = of_shape(kept, Metrics, str(self.path / MANIFEST), BundleError, _AGAIN)
        return dict(found.model_dump(exclude_unset=True))

    @property
    def written(self) -> tuple[str, str]:
        """Versions of the quality chain that made its films, and of the cxrlens that wrote it."""
        return self.manifest.chain.version, self.manifest.cxrlens

    def _splits(self) -> dict[str, str]:
        # By content alone: a copy in another format is not recognised, nor is another film of the patient.
        kept = own_json(self.path / LEARNT, _Learnt, BundleError, _AGAIN)
        return dict.fromkeys(kept.validation, "validation") | dict.fromkeys(kept.train, "train")

    def _key(self, image: str | Path) -> str:
        return film_digest(Path(image))

    @property
    def cannot_recognise(self) -> str:
        """Sentences about films of its training that `learnt` would miss."""
        unknown = self.manifest.learnt_unknown
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
    """Check whether a folder is meant to be a bundle."""
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
    check_layout(manifest, FORMAT, BundleError, _AGAIN, "export the run again")
    content = json.loads(own_bytes(manifest, BundleError, _AGAIN))
    if content.get("digest") != manifest_digest(content):
        raise BundleError(f"{manifest} was changed since it was exported: export the run again")
    told = of_shape(content, Manifest, str(manifest), BundleError, _AGAIN)
    files = told.files
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
    return Bundle(path, told)


def manifest_digest(content: Mapping[str, Any]) -> str:
    """Digest the content of ``bundle.json`` but its own digest; SHA-256 in hexadecimal."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def film_digest(path: Path) -> str:
    """Digest a film's file to tell it by its content; see `DIGITS`."""
    return file_digest(path)[:DIGITS]


_DEEPEST = 32
"""Graphs within graphs (the branches of a condition); the exporter writes none."""

_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Fields of ONNX's messages by number, and the message that each holds."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor: the other file's name and place in it; and whether they count."""


class GraphFileError(ValueError):
    """A file that is no ONNX graph; the text says where."""


def names_other_files(path: Path) -> bool:
    """Check whether a tensor of the graph lies in another file.

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
            return _has_external_data(data, 0, len(data), "model", 0)


def _has_external_data(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise GraphFileError(f"its graphs are nested more than {_DEEPEST} deep")
    for field, start, stop in _fields(data, at, end):
        if message == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and stop == start):
                return True
            continue
        inner = _LEADS[message].get(field)
        if inner and _has_external_data(data, start, stop, inner, depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field; of a number that is not 0 the end twice."""
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


GROUP = "cxrlens.models"
"""Group of entry points, name of the model to the folder of its bundle."""

DEFAULT = "CXRLENS_MODEL"
"""Environment variable: the model that answers where none is named and several are installed."""

INSTALL = "python -m pip install ./models/evidence-lungs"
"""What installs ours, from a clone of the repository."""


@dataclass(frozen=True)
class Installed:
    """A model that is installed.

    Attributes
    ----------
    name
        What `--model` calls it.
    path
        The folder of its bundle.
    distribution, version
        The wheel that brought it.
    terms
        The file with the terms of its weights, in the wheel; None where it has none.
    """

    name: str
    path: Path
    distribution: str
    version: str
    terms: Path | None = None


def installed_models() -> dict[str, Installed]:
    """List the installed models by name, in the order of their names.

    Raises
    ------
    ModelError
        If two wheels bring one name, or one names no folder.
    """
    found: dict[str, Installed] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        model = _opened(entry)
        if entry.name in found and found[entry.name].path != model.path:
            raise ModelError(
                f"{model.distribution} and {found[entry.name].distribution} both bring a model called "
                f"{entry.name}: uninstall one of them"
            )
        found[entry.name] = model
    return found


def model_at(named: str | Path | None) -> Path:
    """Find the folder of a model: a path, the name of an installed one, or the one that answers unnamed.

    Parameters
    ----------
    named
        A run folder, a bundle, or a name; None stands for what `DEFAULT` names, else the only one installed.

    Raises
    ------
    ModelError
        If there is none, or nothing is named and several are installed.
    """
    named = named or os.environ.get(DEFAULT) or None
    if named is not None and Path(named).exists():
        return Path(named)
    models = installed_models()
    there = f"installed: {', '.join(models)}" if models else f"none is installed ({INSTALL})"
    if named is not None:
        if str(named) in models:
            return models[str(named)].path
        raise ModelError(
            f"{named} does not exist: name a run folder, a bundle or an installed model; {there}"
        )
    if len(models) == 1:
        return next(iter(models.values())).path
    if models:
        raise ModelError(
            f"several models are installed: choose one, --model {' or '.join(models)}, or name it in the "
            f"variable {DEFAULT} for good"
        )
    raise ModelError(
        f"no model is installed: {INSTALL}, or name a run or a bundle, --model runs/NAME"
    )


def _opened(entry: EntryPoint) -> Installed:
    wheel = entry.dist.name if entry.dist else entry.value
    try:
        path = Path(entry.load())
    except (ImportError, AttributeError, TypeError) as error:
        raise ModelError(
            f"the installed model {entry.name} cannot be found ({error}): install {wheel} again"
        ) from None
    if not path.is_dir():
        raise ModelError(f"the installed model {entry.name} lacks {path}: install {wheel} again")
    if not entry.dist:
        return Installed(entry.name, path, wheel, "")
    terms = [file for file in entry.dist.files or () if file.name == "TERMS.md"]
    held = Path(str(terms[0].locate())) if terms else None
    return Installed(entry.name, path, wheel, entry.dist.version, held)
