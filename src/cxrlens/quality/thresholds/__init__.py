"""Settings of the chains as data: one JSON a chain, with what it was calibrated on and how well.

``settings`` holds one object a defect, whose keys are the fields of its step; ``provenance`` says
which script wrote it, when, on which films, and the figures measured there. ``former`` holds what a step
had before it was replaced, as far as a chain's version was made of it.
"""

import functools
import json
from importlib.resources import files
from typing import Any


@functools.cache
def _document(chain: str) -> dict[str, Any]:
    text = files(__package__).joinpath(f"{chain}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def settings(chain: str) -> dict[str, dict[str, Any]]:
    """Give the settings of a chain: defect -> field -> value."""
    chosen: dict[str, dict[str, Any]] = _document(chain)["settings"]
    return chosen


def former(chain: str) -> dict[str, dict[str, Any]]:
    """Give what replaced steps of a chain had that its version was made of: defect -> field -> value."""
    kept: dict[str, dict[str, Any]] = _document(chain).get("former", {})
    return kept


def provenance(chain: str) -> dict[str, Any]:
    """Say what the settings of a chain were calibrated on, when, and how well they did there."""
    origin: dict[str, Any] = _document(chain)["provenance"]
    return origin
