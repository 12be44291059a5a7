"""Runs beside each other: who was trained how, how good each is, and which differences are chance.

`compare` reads finished runs and measures them; `write_comparison` leaves the tables as CSV and
Markdown and one page. `compare_scores` and `write_scored` do so for tables of scores of anybody's models.
"""

from cxrlens.evaluation.comparison.compare import Comparison, compare
from cxrlens.evaluation.comparison.scored import Scored, compare_scores, write_scored
from cxrlens.evaluation.comparison.write import write_comparison

__all__ = [
    "Comparison",
    "Scored",
    "compare",
    "compare_scores",
    "write_comparison",
    "write_scored",
]
