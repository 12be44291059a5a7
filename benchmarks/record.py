"""What every benchmark writes down: the machine, the date, a JSON file and a table."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlens.files import write_text

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"


def machine() -> dict[str, Any]:
    """Processor, cores, Python and date, so that a figure can be judged later."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def stamp(facts: Mapping[str, Any]) -> str:
    """Put the machine into one line under a table."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, {facts['date']}"
    )


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json`` with the machine."""
    path = RESULTS / f"{name}.json"
    write_text(path, json.dumps({**content, "machine": machine()}, indent=1) + "\n")


def kept(name: str) -> dict[str, Any]:
    """Read what `keep` wrote; empty if there is nothing."""
    path = RESULTS / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown."""
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    rows += [[str(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


SPEED = {
    "speed": "Quality, cache and input",
    "predict_throughput": "Predicting a folder",
    "against_others": "Against what one would take instead",
    "training_epoch": "An epoch of training against what one would take instead",
    "growth": "With the number of films",
    "quantised": "Whole numbers in place of floats",
    "training_speed": "Training steps",
}
"""Chapters of ``docs/speed.md``, each ``results/NAME.md``."""


def keep_speed(name: str, content: Mapping[str, Any], text: str) -> None:
    """Write ``results/NAME.json`` and ``.md``, and the page on speed anew from all its tables."""
    keep(name, content)
    write_text(RESULTS / f"{name}.md", text.rstrip() + "\n")
    parts = ["# Speed"]
    for one, title in SPEED.items():
        if (path := RESULTS / f"{one}.md").exists():
            parts += [f"## {title}", path.read_text(encoding="utf-8").rstrip()]
    write_text(DOCS / "speed.md", "\n\n".join(parts) + "\n")


def shared() -> str:
    """Say how busy the machine is, under a table of times."""
    if not hasattr(os, "getloadavg"):
        return ""
    return f"load average {os.getloadavg()[1]:.1f} over the last five minutes"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, of all threads, and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def middle(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most of repeated measurements."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def said(of: Mapping[str, float], digits: int = 1) -> str:
    """Write what `middle` gave."""
    return f"{of['median']:.{digits}f} ({of['least']:.{digits}f}–{of['most']:.{digits}f})"
