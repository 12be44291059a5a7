"""Models that were installed beside cxrlens: wheels of their own, since weights have terms of their own.

A model's wheel names its bundle under the entry-point group `GROUP`: an object that is the folder. Nothing is
ever downloaded here.
"""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from cxrlens.errors import ModelError

GROUP = "cxrlens.models"
"""Group of entry points, name of the model to the folder of its bundle."""

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
    """

    name: str
    path: Path
    distribution: str
    version: str


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
    """Find the folder of a model: a path, the name of an installed one, or the only installed one.

    Parameters
    ----------
    named
        A run folder, a bundle, or a name; None stands for the model in the box.

    Raises
    ------
    ModelError
        If there is none, or nothing is named and several are installed.
    """
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
        raise ModelError(f"several models are installed: choose one, --model {' or '.join(models)}")
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
    return Installed(entry.name, path, wheel, entry.dist.version if entry.dist else "")
