"""Where a model looked: the registry of explaining methods, which command line, API and page know."""

from cxrlens.errors import CxrlensError
from cxrlens.explanation import lime, network_maps, occlusion
from cxrlens.explanation.method import Method

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        network_maps.EVIDENCE,
        network_maps.GRADCAM,
        network_maps.HIRESCAM,
        network_maps.LAYERCAM,
        occlusion.METHOD,
        occlusion.INVERTED,
        lime.METHOD,
    )
}
"""By name. A model's default is the first whose needs it meets."""


def method_named(name: str) -> Method:
    """Look a method up.

    Raises
    ------
    CxrlensError
        If there is none of that name.

    Examples
    --------
    >>> method_named("occlusion").about
    'how far the probability falls where a grey patch hides the film'
    """
    if name not in METHODS:
        raise CxrlensError(f"unknown method {name!r}: known are {', '.join(METHODS)}")
    return METHODS[name]


def methods_for(gives: frozenset[str]) -> list[Method]:
    """List the methods that suit a network which gives scores and, beside them, `gives`."""
    return [method for method in METHODS.values() if method.needs in gives | {"scores"}]
