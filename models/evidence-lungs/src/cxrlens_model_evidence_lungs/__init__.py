"""The model in the box: a bundle of cxrlens, found by its entry point."""

from pathlib import Path

BUNDLE = Path(__file__).parent / "evidence-lungs"
"""The folder of the bundle."""
