"""Figures with their 95 % limits, and tables as Markdown, for the quality benchmarks."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlens.files import write_text
from cxrlens.prediction import calibration

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs/quality.md"
Z = 1.959964


def wilson(hits: int, trials: int) -> tuple[float, float, float]:
    """Give a share with its 95 % limits (Wilson 1927)."""
    if trials == 0:
        return (float("nan"),) * 3
    return calibration.wilson(hits / trials, trials)


def auc(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> tuple[float, float, float]:
    """Give the area under the ROC curve with its 95 % limits (DeLong et al. 1988)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    of_positive = (below[0] + below[1]) / 2 / len(negative)
    ordered = np.sort(positive)
    upto = np.searchsorted(ordered, negative, "left"), np.searchsorted(ordered, negative, "right")
    of_negative = 1 - (upto[0] + upto[1]) / 2 / len(positive)
    area = float(of_positive.mean())
    spread = of_positive.var(ddof=1) / len(positive) + of_negative.var(ddof=1) / len(negative)
    reach = Z * float(np.sqrt(spread))
    return area, max(0.0, area - reach), min(1.0, area + reach)


def mean_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """Give a mean with its 95 % limits by the bootstrap, 2,000 resamples."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def percent(figure: Sequence[float], digits: int = 2) -> str:
    """Write a share and its limits as per cent."""
    share, low, high = (f"{100 * value:.{digits}f}" for value in figure)
    return f"{share} ({low}–{high})"


def plain(figure: Sequence[float], digits: int = 4) -> str:
    """Write a figure and its limits."""
    value, low, high = (f"{value:.{digits}f}" for value in figure)
    return f"{value} ({low}–{high})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Draw a table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def surroundings() -> dict[str, Any]:
    """Say when and on what a benchmark ran."""
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "machine": f"{platform.machine()}, one process, one thread",
    }


def write_results(
    name: str, figures: dict[str, Any], tables: str, quoted: str, docs: Path = DOCS
) -> None:
    """Write results/NAME.json and NAME.md, and quote a part of the tables in a page of docs."""
    document = {"run": surroundings(), **figures}
    write_text(RESULTS / f"{name}.json", json.dumps(document, indent=1) + "\n")
    run = document["run"]
    told = (
        f"Measured {run['date']}: {run['machine']}; OpenCV {run['opencv']}, NumPy {run['numpy']}."
    )
    write_text(RESULTS / f"{name}.md", f"{told}\n\n{tables}")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = docs.read_text(encoding="utf-8")
    before, after = page.partition(begin)[0], page.partition(end)[2]
    write_text(docs, f"{before}{begin}\n{told}\n\n{quoted.strip()}\n{end}{after}")
    print(tables)
