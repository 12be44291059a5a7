"""The model evidence-lungs-free: a bundle of cxrlens, found by its entry point."""

from pathlib import Path

BUNDLE = Path(__file__).parent / "evidence-lungs-free"
"""The folder of the bundle."""
