"""The ledger of looks: each time that a benchmark asks a source which training did not see, it is written down here.

A source that was looked at often enough chooses the configuration, and its figure is then too good: whoever reads
one should see how often it was asked before. `results/looks.json` holds a row a look, the file only grows.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxrlens.files import write_text
from record import RESULTS, markdown

LEDGER = RESULTS / "looks.json"


def looks() -> list[dict[str, Any]]:
    """Read all looks, the oldest first."""
    found: list[dict[str, Any]] = json.loads(LEDGER.read_text()) if LEDGER.exists() else []
    return found


def looked(
    configuration: str, sources: Sequence[str], purpose: str, seen: Mapping[str, float]
) -> None:
    """Append a look.

    Parameters
    ----------
    configuration
        What was trained, as the row's file is called.
    sources
        Those asked that training did not see.
    purpose
        What the figures were wanted for.
    seen
        What was read off, by source.
    """
    row = {
        "date": datetime.date.today().isoformat(),
        "configuration": configuration,
        "sources": sorted(sources),
        "for": purpose,
        "seen": dict(seen),
    }
    rows = [json.dumps(of) for of in [*looks(), row]]
    write_text(LEDGER, "[\n" + ",\n".join(rows) + "\n]\n")
    write_text(LEDGER.with_suffix(".md"), counted())


def counted() -> str:
    """Count the looks at each source, by what they were for."""
    found = Counter((source, row["for"]) for row in looks() for source in row["sources"])
    rows = [
        {"source": source, "for": purpose, "looks": count}
        for (source, purpose), count in sorted(found.items())
    ]
    return (
        "Written by `benchmarks/looks.py`: how often each source was asked without having been trained on "
        "(a look is one configuration after one epoch). Choices made by these looks make these figures too good.\n\n"
        f"{markdown(pd.DataFrame(rows))}\n"
    )
