"""One face for every model that was saved: a run folder, or a bundle exported from one."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cxrlens.errors import RunError
from cxrlens.quality.chain import Chain
from cxrlens.runs.bundle import is_bundle, open_bundle
from cxrlens.runs.run import Run, is_run

if TYPE_CHECKING:
    import pandas as pd

    from cxrlens.recipes.recipe import Recipe


class SavedModel(Protocol):
    """A model in files, whole and finished; `open_model` opens one."""

    @property
    def path(self) -> Path:
        """Its folder, whose name is the model's."""

    @property
    def kind(self) -> str:
        """What it is in a word: ``run`` or ``bundle``."""

    @property
    def recipe(self) -> "Recipe":
        """What it was trained by."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their probabilities."""

    @property
    def digest(self) -> str:
        """Tells it from every other model, 12 hexadecimal digits; see `cxrlens.runs.run.Run.digest`."""

    @property
    def card(self) -> Path | None:
        """The file of the card that it brings ready-made, if it does."""

    def chain(self) -> Chain:
        """Make the quality chain of the training.

        Raises
        ------
        RunError, BundleError
            If the installed version's chain has other steps or thresholds.
        """

    def labels(self, of: "pd.Series") -> "pd.Series":
        """Put labels into the model's own classes: to a one-vs-all member the others are the rest."""

    def learnt(self, images: Iterable[str | Path]) -> list[tuple[str, str]]:
        """Find films that it learnt from or that chose its epoch.

        Returns
        -------
        list of tuple of str
            Image and split, ``train`` or ``validation``, of each that was found.
        """

    @property
    def patients_learnt(self) -> frozenset[str]:
        """Patients of such films, where they are known."""

    @property
    def cannot_recognise(self) -> str:
        """Which such films `learnt` would miss, in sentences; empty if it misses none."""


def is_model(path: Path) -> bool:
    """Tell whether a folder is meant to be a run or a bundle."""
    return is_bundle(path) or is_run(path)


def open_model(path: str | Path) -> SavedModel:
    """Open a model that is to answer.

    Parameters
    ----------
    path
        A run folder or an exported bundle.

    Raises
    ------
    RunError
        If it is neither, or a run that is not finished.
    BundleError
        If it is a bundle of which a file is missing or changed, or of a later version.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path} does not exist: name a run folder or a bundle")
    if is_bundle(path):
        return open_bundle(path)
    run = Run(path)
    run.need_finished()
    return run
