"""cxrlens: normal, pneumonia or tuberculosis on a chest radiograph, and what the answer is worth.

Decision support for research, not a medical device.

>>> import cxrlens
>>> films = cxrlens.read_collection("films.csv")
>>> run = cxrlens.train("lite0-ffn", films, "runs/lite0")  # doctest: +SKIP
>>> cxrlens.load("runs/first").predict("images/P00001_1.png").predicted
'pneumonia'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrlens.collections.collection import read_collection as read_collection
    from cxrlens.collections.combine import fold as fold
    from cxrlens.collections.combine import split as split
    from cxrlens.collections.pairs import reduce_pairs as reduce_pairs
    from cxrlens.collections.readers import collect as collect
    from cxrlens.main_job import demo as demo
    from cxrlens.main_job import train as train
    from cxrlens.prediction.predictor import load as load
    from cxrlens.radiographs.read import read_radiograph as read_radiograph

__version__ = "0.1.0"

_HOMES = {
    "collect": "cxrlens.collections.readers",
    "demo": "cxrlens.main_job",
    "fold": "cxrlens.collections.combine",
    "load": "cxrlens.prediction.predictor",
    "read_collection": "cxrlens.collections.collection",
    "read_radiograph": "cxrlens.radiographs.read",
    "reduce_pairs": "cxrlens.collections.pairs",
    "split": "cxrlens.collections.combine",
    "train": "cxrlens.main_job",
}
"""Public names and the modules that hold them, imported when first asked for."""

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cxrlens' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
