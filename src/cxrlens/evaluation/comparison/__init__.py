"""Runs beside each other: who was trained how, how good each is, and which differences are chance.

`compare` reads finished runs and measures them; `write_comparison` leaves the tables as CSV and
Markdown and one page.
"""

from cxrlens.evaluation.comparison.compare import Comparison, compare
from cxrlens.evaluation.comparison.write import write_comparison

__all__ = ["Comparison", "compare", "write_comparison"]
