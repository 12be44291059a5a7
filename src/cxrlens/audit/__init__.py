"""The audit: whether what is measured on a collection can be believed.

Copies and patients on both sides of a split; what tells the label without the lungs, within a source
and across; how a model answers films without lungs. It returns data; `cxrlens.reports` writes it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.audit.films import Films, Leaks, Squares, find_copies, find_leaks, read_films
from cxrlens.audit.probes import PlaceMap, Probed, Seen, place_maps, probe, scopes
from cxrlens.audit.reliance import Reliance, rely
from cxrlens.audit.verdict import Finding, verdict
from cxrlens.audit.views import LEAST, VIEWS, Lungs, lung_views, table_views
from cxrlens.collections.collection import Collection
from cxrlens.files import refuse_existing, write_text
from cxrlens.prediction import Predictor
from cxrlens.progress import Stages, in_batches, stage

__all__ = ["Audit", "Lungs", "audit"]

_SMALL = 64
"""Pixels of a side below which copies and marks are hard to see."""


@dataclass(frozen=True)
class Audit:
    """Everything that an audit found.

    Attributes
    ----------
    films
        The films that could be read, and the failures.
    leaks
        Copies and patients on both sides of a split.
    probed
        How well each view tells label and source.
    maps
        Where on the film.
    reliance
        How a model answers films without lungs; None without a model.
    findings
        The verdict, serious findings first.
    unknown
        Sentences about what this table does not let one know, and why.
    """

    films: Films
    leaks: Leaks
    probed: list[Probed]
    maps: list[PlaceMap]
    reliance: Reliance | None
    findings: list[Finding]
    unknown: list[str]

    @property
    def clean(self) -> bool:
        """True where nothing serious was found and every film could be read."""
        return not self.films.failures and not any(one.serious for one in self.findings)

    def plain(self) -> dict[str, Any]:
        """Return everything but pictures as plain values for JSON."""
        names = self.films.table["image"].astype(str)
        pairs = self.leaks.pairs.copy()
        for column in ("one", "other"):
            pairs[column] = names.iloc[pairs[column]].to_numpy()
        return {
            "clean": self.clean,
            "films": len(self.films),
            "not_readable": self.films.failures,
            "findings": [asdict(one) for one in self.findings],
            "unknown": self.unknown,
            "copies": json.loads(pairs.to_json(orient="records")),
            "patients_in_two_splits": self.leaks.patients,
            "probes": [asdict(one) for one in self.probed],
            "places": [
                {
                    "place": one.place,
                    "aim": one.aim,
                    "name": one.name,
                    "auc": one.auc.round(4).tolist(),
                }
                for one in self.maps
            ],
            "model": self.reliance.plain() if self.reliance else None,
        }

    def write(self, folder: Path, force: bool = False) -> None:
        """Write ``audit.json`` (`plain`) and ``copies.csv`` (the pairs) into a folder.

        Raises
        ------
        OutputError
            If one of them exists and `force` is not set, or cannot be written.
        """
        plain = self.plain()
        for name in ("audit.json", "copies.csv"):
            refuse_existing(folder / name, force)
        write_text(folder / "audit.json", json.dumps(plain, indent=1) + "\n")
        copies = pd.DataFrame(plain["copies"], columns=list(self.leaks.pairs.columns))
        write_text(folder / "copies.csv", copies.to_csv(index=False))


def audit(
    collection: Collection,
    lungs: Lungs | None = None,
    model: Predictor | None = None,
    seed: int = 0,
    progress: Stages | None = None,
) -> Audit:
    """Audit a collection, and a model on it.

    Parameters
    ----------
    collection
        Best read with ``read_collection(path, shared_too=True)``, which lets through what an audit is to
        report. All columns but ``image`` may be missing: `Audit.unknown` says what is lost by it.
    lungs
        Where the lungs are; None leaves out what needs it.
    model
        A loaded model; needs `lungs`.
    seed
        Of folds, resampling and fills; the same seed gives the same audit.
    progress
        Called with a stage's name, steps done and steps in all.

    Raises
    ------
    CollectionError
        If no film can be read.

    Examples
    --------
    >>> from cxrlens import read_collection
    >>> films = read_collection("films.csv")
    >>> first = films.of(films.films.head(18))
    >>> for finding in audit(first).findings:
    ...     print(finding.kind, finding.sentence[:35])
    source The source gives the label away: kn
    """
    films = read_films(collection, stage(progress, "read films"))
    leaks = find_leaks(films.table, find_copies(films, stage(progress, "look for copies")))
    places, unknown = scopes(films.table)
    unknown = [*_missing(films), *unknown]
    masks = None
    every = np.ones(len(films), bool)
    if lungs is None:
        unknown.append(
            "Lungs were not looked for: what films tell without their lungs is not known."
        )
    else:
        told = stage(progress, "find lungs")
        parts = in_batches(len(films), 64, told)
        masks = Squares(mask for part in parts for mask in lungs(films.pixels[part]))
        usable = np.array([mask.mean() >= LEAST for mask in masks])
        without = int((~usable).sum())
        if without:
            unknown.append(
                f"No lungs were found on {without:,} of {len(films):,} films: they are left out where "
                "lungs are filled."
            )
    seen = [Seen(view, every) for view in VIEWS]
    if masks is not None:
        seen += [Seen(view, usable) for view in lung_views(masks)]
    columns = [Seen(view, every) for view in table_views(films.table)]
    probed = probe(films, seen, columns, places, seed, stage(progress, "probe for shortcuts"))
    maps = place_maps(films, places, masks, seed, stage(progress, "look where"))
    reliance = None
    if model is not None and lungs is not None and places:
        reliance = rely(model, films.table, lungs, seed, stage(progress, "ask the model"))
        if not reliance.rows:
            unknown.append(
                "The model could be measured nowhere: too few films with lungs of two classes that it knows."
            )
    elif model is not None:
        unknown.append("The model was not asked: that needs lungs, and labels of two classes.")
    found = verdict(films.table, leaks, probed, maps, reliance)
    return Audit(films, leaks, probed, maps, reliance, found, unknown)


_LOST = {
    "patient": "every film counts as a patient of its own, so intervals are too narrow and patients on both "
    "sides of a split are not seen",
    "source": "whether a probe reads the disease or the place cannot be told apart",
    "split": "copies and patients across splits cannot be looked for",
}
"""By column, what is lost without it."""


def _missing(films: Films) -> list[str]:
    table, said = films.table, []
    for column, lost in _LOST.items():
        count = int(table[column].isna().sum()) if column in table else len(table)
        if count == len(table):
            said.append(f"There is no {column}: {lost}.")
        elif count:
            said.append(f"{count:,} of {len(table):,} films have no {column}.")
    if "source" in table and table["source"].nunique() == 1:
        only = table["source"].dropna().iloc[0]
        said.append(f"All films come from one source ({only}): what holds elsewhere is not known.")
    if small := int((films.files[["width", "height"]].min(axis=1) < _SMALL).sum()):
        said.append(
            f"{small:,} films are smaller than {_SMALL} pixels: copies and marks are hard to see on them."
        )
    return said
