"""One run folder: recipe, collection, weights, history, predictions, metrics, versions.

``recipe.yaml``
    every setting; ``collection.csv`` the films with their split, ``boxes.csv`` and ``lungs.csv`` what was
    drawn on them, where that taught training; ``versions.json`` what ran, on what.
``weights.safetensors``
    the best epoch's, or the last one's; ``progress/`` what ``--resume`` needs while training is not finished.
``history.csv``
    one row an epoch; ``predictions-SPLIT.csv`` one row a film; ``metrics.json``, ``report.html``.
    Tables of films name patients: they are readable by their owner only.
``members/NAME/``
    one-vs-all and voting: each member is such a folder, and its parent has no weights of its own.
``outside/NAME/``
    where sources are left out in turn: such a folder each, of a model that did not see them.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlens.collections.collection import OUTSIDE, Collection, read_collection
from cxrlens.collections.tables import persons, read_own_table
from cxrlens.errors import OutputError, RecipeError, RunError
from cxrlens.files import (
    file_digest,
    moved_into_place,
    own_json,
    put_aside,
    refuse_filled,
    try_lock,
    write_text,
)
from cxrlens.recipes.recipe import Recipe, parse_recipe, recipe_content
from cxrlens.runs.saved import COURSE, LOSSES, Metrics, SavedModel, Versions, check_layout

FORMAT = 1
"""Layout of run folders; a folder with a higher one was written by a later cxrlens."""

VERSIONS = "versions.json"
"""The file that makes a folder a run."""

PREDICTED = ("validation", OUTSIDE, "test")
"""The splits that a finished run has predictions of, where it was not told otherwise and they have films."""

_AGAIN = "copy the run again, or train again"
_PACKAGES = ("cxrlens", "torch", "timm", "lightning", "numpy", "opencv-python-headless", "pandas")


@dataclass(frozen=True, repr=False)
class Run(SavedModel):
    """A run folder that exists, finished or not.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    RunError
        If it is no run folder, or one of a later version.
    """

    kind = "run"
    fault = RunError
    card = None
    """A run's card is made from what it holds."""
    cannot_recognise = ""

    def __post_init__(self) -> None:
        if not is_run(self.path):
            raise RunError(
                f"{self.path} is no run folder (it has no {VERSIONS}), "
                "nor a whole bundle (it has no bundle.json)"
            )
        check_layout(self.path / VERSIONS, FORMAT, RunError, _AGAIN, "train again")

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, collection: Collection, facts: Mapping[str, Any]
    ) -> "Run":
        """Make the folder with its recipe, collection and versions.

        Parameters
        ----------
        path
            An empty or new folder.
        recipe, collection
            What the run is made from; ``collection`` has a split.
        facts
            What else to keep in ``versions.json``: the device, the precision and how it was chosen.
        """
        write_text(path / "recipe.yaml", recipe.to_yaml())
        collection.write(path / "collection.csv", force=True, private=True)
        versions = {"format": FORMAT, "python": platform.python_version()}
        versions |= {name: _version(name) for name in _PACKAGES}
        write_text(path / VERSIONS, json.dumps({**versions, **facts}, indent=2) + "\n")
        return cls(path)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Keep more facts of the training in ``versions.json``."""
        write_text(self.path / VERSIONS, json.dumps({**self.versions(), **facts}, indent=2) + "\n")

    def members(self) -> dict[str, "Run"]:
        """Open the runs in ``members/``, by name; none where nobody votes.

        Raises
        ------
        RunError
            If training has not come to a member yet.
        """
        return self._open_members("members", self.recipe.members, "lacks its member {}")

    def outside(self) -> dict[str, "Run"]:
        """Open the runs in ``outside/``, by name; each was trained like this one, without some sources.

        Raises
        ------
        RunError
            If training has not come to one of them yet.
        """
        return self._open_members(OUTSIDE, self.recipe.outside, "was not trained without {} yet")

    def _open_members(self, folder: str, names: Iterable[str], lacking: str) -> dict[str, "Run"]:
        places = {name: self.path / folder / name for name in names}
        for name, place in places.items():
            if not is_run(place):
                raise RunError(
                    f"{self.path} {lacking.format(name)}: cxrlens train --resume -o {self.path}"
                )
        return {name: Run(place) for name, place in places.items()}

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe as it ran."""
        path = self.path / "recipe.yaml"
        try:
            return parse_recipe(recipe_content(path), str(path))
        except RecipeError as error:
            raise RunError(f"{error}; {_AGAIN}") from error

    @property
    def predicted(self) -> tuple[str, ...]:
        """The splits that it has predictions of when it is finished, the last one last."""
        return tuple(self.versions().get("predicted", PREDICTED))

    @property
    def precision(self) -> str:
        """The precision in which its network learns.

        Raises
        ------
        RunError
            If the run does not say.
        """
        told = self.versions().get("precision")
        if not isinstance(told, dict):
            raise RunError(f"{self.path / VERSIONS} is damaged, it says no precision: {_AGAIN}")
        return str(told["chosen"])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training this run while the block runs.

        Raises
        ------
        RunError
            If another one does.
        """
        with _alone(self.path):
            yield

    def need_finished(self) -> None:
        """Refuse a run whose training has not come to its end.

        The weights of an unfinished run are the best so far: they answer, but not as the run will.

        Raises
        ------
        RunError
            With the way to finish it.
        """
        if not (self.path / f"predictions-{self.predicted[-1]}.csv").is_file():
            raise RunError(
                f"{self.path} is not finished: cxrlens train --resume -o {self.path} goes on with it"
            )

    @property
    def written(self) -> tuple[str, str]:
        """Versions of the quality chain that made its films, and of the cxrlens that wrote it."""
        versions = self.versions()
        return str(versions.get("chain")), str(versions["cxrlens"])

    def films_learnt(self) -> pd.DataFrame:
        """Read the films that it learnt from, split ``train``, or that chose its epoch, ``validation``."""
        films = self.films()
        return films[films["split"].isin(["train", "validation"])]

    def _splits(self) -> dict[str, str]:
        used = self.films_learnt()
        return dict(zip(map(self._key, used["image"]), used["split"], strict=True))

    def _key(self, image: str | Path) -> str:
        return os.path.realpath(image)

    def learnt(self, images: Iterable[str | Path]) -> list[tuple[str, str]]:
        """Find films that it learnt from or that chose its epoch, by their place or their file's content."""
        asked = [str(image) for image in images]
        found = dict(super().learnt(asked))
        by_size: dict[int, list[tuple[str, str]]] = {}
        for place, split in self._splits().items():
            with contextlib.suppress(OSError):
                by_size.setdefault(os.stat(place).st_size, []).append((place, split))
        for image in asked:
            with contextlib.suppress(OSError):
                # Only files of one size can be the same: few have to be read.
                alike = [] if image in found else by_size.get(os.stat(image).st_size, [])
                digest = file_digest(Path(image)) if alike else ""
                for place, split in alike:
                    if file_digest(Path(place)) == digest:
                        found[image] = split
        return list(found.items())

    @property
    def patients_learnt(self) -> frozenset[str]:
        """Patients of the films of training and validation, where they are known, as `persons` names them."""
        used = self.films_learnt()
        return frozenset(persons(used["patient"]).dropna() if "patient" in used else ())

    @property
    def weights(self) -> Path:
        """The best epoch's weights.

        Raises
        ------
        RunError
            If training has not come that far.
        """
        path = self.path / "weights.safetensors"
        if not path.is_file():
            raise RunError(f"{self.path} has no weights yet: cxrlens train --resume finishes it")
        return path

    @property
    def boxes(self) -> Path:
        """The table of boxes that taught the model; not there where none did."""
        return self.path / "boxes.csv"

    @property
    def lungs(self) -> Path:
        """The table of lung masks that taught the model; not there where none did."""
        return self.path / "lungs.csv"

    def collection(self) -> Collection:
        """Read the films with their split, those too that are gone since."""
        path = self.path / "collection.csv"
        found = read_collection(path, missing_too=True)
        for name in ("label", "split"):
            if name not in found.films or found.films[name].isna().any():
                raise RunError(f"{path} is damaged, not every film has a {name}: {_AGAIN}")
        return found

    def films(self) -> pd.DataFrame:
        """Read the table of films even where some have gone since; their paths come out absolute."""
        return self.collection().films

    def history(self) -> pd.DataFrame:
        """Read one row an epoch: rates, losses, accuracies, seconds; empty before the first."""
        path = self.path / "history.csv"
        if not path.is_file():
            return pd.DataFrame()
        table = read_own_table(path, RunError, _AGAIN, numbers=COURSE)
        for name in LOSSES:
            if name not in table:
                raise RunError(f"{path} is damaged, it has no column {name!r}: {_AGAIN}")
            table[name] = pd.to_numeric(table[name], errors="coerce")
        return table

    def kept(self, history: pd.DataFrame) -> pd.Series:
        """Return the row of the epoch whose weights were kept: the first of the best, or the last.

        Parameters
        ----------
        history
            Of the run, or of one of its members; not empty.
        """
        best = int(history["validation_accuracy"].argmax())
        return history.iloc[best if self.recipe.training.keep == "best" else -1]

    def write_history(self, history: pd.DataFrame) -> None:
        """Write all epochs so far."""
        with moved_into_place(self.path / "history.csv") as draft:
            history.to_csv(draft, index=False)

    def predictions(self, split: str) -> pd.DataFrame:
        """Read the predictions of a split.

        Raises
        ------
        RunError
            If they were not made yet.
        """
        path = self.path / f"predictions-{split}.csv"
        if not path.is_file():
            raise RunError(f"{self.path} has no predictions for {split}: cxrlens train --resume")
        return read_predictions(path, self.classes)

    def write_predictions(self, split: str, predictions: pd.DataFrame) -> None:
        """Write the predictions of a split; a new prediction takes the old one's place."""
        write_predictions(self.path / f"predictions-{split}.csv", predictions)

    def skipped(self) -> dict[str, str]:
        """Read image and reason of each film of the collection that could not be read."""
        path = self.path / "skipped.csv"
        if not path.is_file():
            return {}
        table = read_own_table(path, RunError, _AGAIN, words=("image", "reason"))
        return dict(zip(table["image"], table["reason"], strict=True))

    def write_skipped(self, failures: Mapping[str, str]) -> None:
        """Keep which films could not be read; no film, no file."""
        if failures:
            table = pd.DataFrame(failures.items(), columns=["image", "reason"])
            with moved_into_place(self.path / "skipped.csv", private=True) as draft:
                table.to_csv(draft, index=False)

    def metrics(self) -> dict[str, Any]:
        """Read the metrics by split; empty before evaluation."""
        path = self.path / "metrics.json"
        if not path.is_file():
            return {}
        found = own_json(path, Metrics, RunError, "cxrlens evaluate writes it again")
        return dict(found.model_dump(exclude_unset=True))

    def versions(self) -> dict[str, Any]:
        """Read what ran: package versions, device, precision, origin of the weights."""
        found = own_json(self.path / VERSIONS, Versions, RunError, _AGAIN)
        return found.model_dump(exclude_unset=True)

    @cached_property
    def digest(self) -> str:
        """The digest of the weights and the recipe, by which answers are told to be of one model.

        12 hexadecimal digits of a SHA-256 over the path within the folder, a zero byte and the SHA-256 of
        each ``recipe.yaml`` and ``weights.safetensors``, members' too and those in ``outside/`` not, in the
        order of their paths. A bundle keeps its run's; tables, pages, API, DICOM all bear this one.
        """
        found = hashlib.sha256()
        for file in sorted(
            {*self.path.rglob("recipe.yaml"), *self.path.rglob("weights.safetensors")}
        ):
            place = file.relative_to(self.path)
            if place.parts[0] == OUTSIDE:
                continue
            try:
                found.update(place.as_posix().encode() + b"\0" + bytes.fromhex(file_digest(file)))
            except OSError as error:
                raise RunError(f"{file} cannot be read: {error.strerror}") from error
        return found.hexdigest()[:12]


def is_run(path: Path) -> bool:
    """Check whether a folder is meant to be a run."""
    return (path / VERSIONS).is_file()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    place = path / ".lock"
    held = try_lock(place)
    if held is None:
        raise RunError(f"{path} is being trained by another process: wait for its end")
    with held:
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def refuse_taken(out: Path, force: bool) -> None:
    """Refuse a place where no new run can be made, before anything is read; what is there stays.

    Raises
    ------
    OutputError
        If something is there and `force` is not set, or it is no run folder, but a file or a link.
    RunError
        If another process trains what is there.
    """
    refuse_filled(out, force)
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.is_symlink():
        raise OutputError(
            f"{out} is a link to {os.readlink(out)}, so no run can take its place: name that folder, "
            "or choose another"
        )
    if not out.exists():
        return
    if not is_run(out):
        raise OutputError(f"{out} is no run folder, so --force does not empty it: choose another")
    with _alone(out):
        pass


@contextlib.contextmanager
def make_room(out: Path, force: bool) -> Iterator[None]:
    """Let the block make a new run folder; an old one that may be replaced goes when the new one is made.

    If the block raises, the old one stands there again. See `refuse_taken` for what is raised.
    """
    refuse_taken(out, force)
    with put_aside(out):
        yield


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read a run's table of predictions, a probability each of `classes`; image paths come out absolute.

    Raises
    ------
    RunError
        If it is damaged.
    """
    shares = dict.fromkeys(classes, (0.0, 1.0))
    table = read_own_table(path, RunError, _AGAIN, words=("image", "predicted"), numbers=shares)
    folder = path.resolve().parent
    table["image"] = [os.path.normpath(folder / image) for image in table["image"]]
    return table


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a table of predictions, with image paths relative to its folder."""
    folder = path.resolve().parent
    images = [os.path.relpath(image, folder) for image in predictions["image"]]
    with moved_into_place(path, private=True) as draft:
        predictions.assign(image=images).to_csv(draft, index=False)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
