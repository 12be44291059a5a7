"""Numbers as they stand on a page: estimates with their intervals, percentages, counts in words."""

from collections.abc import Sequence

from cxrlens.evaluation.measured import Interval
from cxrlens.evaluation.metrics import Metrics
from cxrlens.pages.page import MISSING

_GAP = "\u00a0"  # a no-break space


def percent(share: float, decimals: int = 0) -> str:
    """Write a share in percent, ``0.949`` as ``94.9 %`` with one decimal."""
    return f"{share * 100:.{decimals}f}{_GAP}%"


def estimate(value: float | None, interval: Interval | None = None) -> str:
    """Write a figure with three decimals, and its interval in brackets if it has one.

    Examples
    --------
    >>> estimate(0.94871, Interval(low=0.9361, high=0.9602))
    '0.949\u00a0(0.936–0.960)'
    >>> estimate(None)
    '–'
    """
    if value is None:
        return MISSING
    text = f"{value:.3f}"
    if interval is None:
        return text
    return f"{text}{_GAP}({interval.low:.3f}–{interval.high:.3f})"


def range_in_words(interval: Interval | None, as_percent: bool = False) -> str:
    """Write an interval alone, for a line under its figure; empty without one."""
    if interval is None:
        return ""
    if as_percent:
        low, high = interval.low * 100, interval.high * 100
        return f"95{_GAP}% interval {low:.1f} to {high:.1f}{_GAP}%"
    return f"95{_GAP}% interval {interval.low:.3f} to {interval.high:.3f}"


def listed(names: Sequence[str]) -> str:
    """Join names with commas and a last ``and``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def outcomes(metrics: Metrics) -> list[str]:
    """Say for each class that has films what they were called."""
    lines = []
    for name, row in zip(metrics.classes, metrics.confusion, strict=True):
        films = sum(row)
        if not films:
            lines.append(f"There are no {name} films: how many would be found is not known.")
            continue
        calls = dict(zip(metrics.classes, row, strict=True))
        right = calls.pop(name)
        others = [f"{count:,} {other}" for other, count in calls.items() if count]
        line = (
            f"Of {films:,} {name} films, {right:,} were called {name} ({percent(right / films, 1)})"
        )
        lines.append(line + (f", {listed(others)}." if others else "."))
    return lines
