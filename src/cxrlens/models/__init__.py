"""Networks that turn a batch of films into scores: backbones, heads, and the map of evidence.

Importing this package makes torchvision importable first (see `bridge_torchvision`), because timm,
torchmetrics and lightning all import it.
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


bridge_torchvision()
