"""One face for every model that was saved: a run folder, or a bundle exported from one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from cxrlens.collections.collection import LABELS
from cxrlens.errors import CxrlensError
from cxrlens.quality.chain import Chain
from cxrlens.recipes.recipe import Recipe

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
        """Patients of the films of training and validation, where they are known."""

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
