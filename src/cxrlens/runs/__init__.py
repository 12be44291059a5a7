"""Run folders: everything that a training leaves, and nothing but files."""

from cxrlens.runs.run import Run

__all__ = ["Run"]
