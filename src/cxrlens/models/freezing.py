"""Partial freezing: the first layers keep the weights they came with (SYSTEM §5)."""

import difflib

from cxrlens.errors import CxrlensError
from cxrlens.models.backbones import Backbone


def freeze(backbone: Backbone, last: str) -> None:
    """Freeze every layer from the film up to and including one.

    Frozen weights get no gradient, and frozen layers stay in inference mode: a batch norm keeps its
    ImageNet statistics, as Keras does with layers that are not trainable.

    Parameters
    ----------
    backbone
        Changed in place.
    last
        The dotted name of a module of its network, e.g. ``blocks.3.1`` or
        ``stages.2.blocks.3.mlp.fc1``. Modules count in the order in which the network names them,
        which in timm's networks is the order in which a film meets them.

    Raises
    ------
    CxrlensError
        If the network has no module of that name.
    """
    modules = dict(backbone.network.named_modules())
    if not last or last not in modules:
        near = difflib.get_close_matches(last, [name for name in modules if name], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CxrlensError(f"model.frozen: {backbone.name} has no layer {last!r}{hint}")
    names = list(modules)
    boundary = max(place for place, name in enumerate(names) if _within(name, last))
    frozen = [
        name
        for name in names
        if name and max(p for p, other in enumerate(names) if _within(other, name)) <= boundary
    ]
    for name in frozen:
        for parameter in modules[name].parameters(recurse=False):
            parameter.requires_grad_(False)
    backbone.hold_still([modules[name] for name in frozen])


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")
