"""Models in files: run folders, as training leaves them, and bundles, behind one `SavedModel`."""

from pathlib import Path

from cxrlens.errors import RunError
from cxrlens.runs.bundle import Bundle, is_bundle, open_bundle
from cxrlens.runs.run import Run, is_run
from cxrlens.runs.saved import SavedModel

__all__ = ["Bundle", "Run", "SavedModel", "is_model", "open_model"]


def is_model(path: Path) -> bool:
    """Check whether a folder is meant to be a run or a bundle."""
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
