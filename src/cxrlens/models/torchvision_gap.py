"""Makes torchvision importable where its compiled operators do not load.

timm, torchmetrics and lightning import torchvision. PyPI's torchvision is built against the CUDA
build of PyTorch; beside a CPU build its compiled operators cannot be loaded, and the import stops
at the first operator that it wants to describe ("operator torchvision::nms does not exist"). Nothing of
ours calls those operators, so it is enough that their schemas exist: after such a failed import
they are declared, and the import is done again. torchvision's own input/output and its non-maximum
suppression stay unusable then.

Where torchvision works, or is not installed, nothing is changed.
"""

import importlib
import sys
from typing import Any

_SCHEMAS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)

_declared: list[Any] = []
"""Keeps the operator library alive: its schemas vanish with it."""


def bridge_torchvision() -> bool:
    """Import torchvision, declaring its missing operators first if that is what it fails on.

    Returns
    -------
    bool
        True if operators had to be declared, now or by an earlier call.

    Raises
    ------
    RuntimeError
        If torchvision fails on anything else than its missing operators.
    """
    if _declared:
        return True
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return False
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return False

    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    importlib.import_module("torchvision")
    return True
