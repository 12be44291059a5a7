"""Models in files: run folders, as training leaves them, and bundles, behind one `SavedModel`."""

from pathlib import Path

from cxrlens.runs.bundle import Bundle, is_bundle, model_at, open_bundle
from cxrlens.runs.run import Run, is_run
from cxrlens.runs.saved import SavedModel

__all__ = ["Bundle", "Run", "SavedModel", "is_model", "open_model"]


def is_model(path: Path) -> bool:
    """Check whether a folder is meant to be a run or a bundle."""
    return is_bundle(path) or is_run(path)


def open_model(named: str | Path | None = None) -> SavedModel:
    """Open a model that is to answer.

    Parameters
    ----------
    named
        A run folder, an exported bundle, or the name of an installed model; None stands for the model in the
        box, the only one that is installed.

    Raises
    ------
    ModelError
        If there is no such model.
    RunError
        If it is neither, or a run that is not finished.
    BundleError
        If it is a bundle of which a file is missing or changed, or of a later version.

    Examples
    --------
    >>> open_model("bundles/first").classes == open_model("runs/first").classes
    True
    """
    path = model_at(named)
    if is_bundle(path):
        return open_bundle(path)
    run = Run(path)
    run.need_finished()
    return run
