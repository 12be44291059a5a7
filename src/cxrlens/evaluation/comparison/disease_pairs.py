"""Differences of AUC of two models, disease by disease and source by source, as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from cxrlens.evaluation.comparison.tables import p_text
from cxrlens.evaluation.disease_tables import ALL
from cxrlens.evaluation.paired import DiseaseDifference, holm
from cxrlens.evaluation.wording import estimate

WORDS = ("models", "disease", "source")
"""Columns of `paired_text` that hold words."""


class Two(Protocol):
    """Two models and what parts them."""

    @property
    def first(self) -> str: ...  # noqa: D102
    @property
    def second(self) -> str: ...  # noqa: D102
    @property
    def diseases(self) -> Sequence[DiseaseDifference]: ...  # noqa: D102


def paired(pairs: Iterable[Two]) -> pd.DataFrame:
    """Tabulate every difference, a place a row.

    Returns
    -------
    DataFrame
        ``first``, ``second``, ``disease``, ``source`` (`ALL` for all films together), ``films``,
        ``normal_films``, ``patients``, ``auc_first``, ``auc_second``, ``difference`` with ``_low`` and
        ``_high``, ``p``, and ``p_holm``, adjusted for all rows.
    """
    rows = _rows(pairs)
    return pd.DataFrame(rows)


def paired_text(pairs: Iterable[Two]) -> pd.DataFrame:
    """Write `paired` for people."""
    return pd.DataFrame(
        [
            {
                "models": f"{row['first']} − {row['second']}",
                "disease": row["disease"],
                "source": row["source"],
                "films / normal": f"{row['films']:,} / {row['normal_films']:,}",
                "AUC of both": f"{estimate(row['auc_first'])}, {estimate(row['auc_second'])}",
                "difference": _signed(row),
                "p": p_text(row["p"]),
                "p, Holm": p_text(row["p_holm"]),
            }
            for row in _rows(pairs)
        ]
    )


def _rows(pairs: Iterable[Two]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        for one in pair.diseases:
            interval = one.difference.interval
            rows.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "disease": one.disease,
                    "source": one.source or ALL,
                    "films": one.films,
                    "normal_films": one.normals,
                    "patients": one.patients,
                    "auc_first": one.first,
                    "auc_second": one.second,
                    "difference": one.difference.value,
                    "difference_low": interval.low if interval else None,
                    "difference_high": interval.high if interval else None,
                    "p": one.difference.p,
                }
            )
    adjusted = iter(holm([row["p"] for row in rows if row["p"] is not None]))
    return [row | {"p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def _signed(row: Mapping[str, Any]) -> str:
    said = f"{row['difference']:+.3f}"
    if row["difference_low"] is not None:
        said += f" ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
    return said.replace("-", "−")
