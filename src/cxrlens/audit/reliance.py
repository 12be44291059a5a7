"""How a model answers films without lungs, and lungs without the film around them.

Films go through the model's own quality chain; then the lungs are filled in four ways that no
training has seen, or everything but the lungs is. A model that reads the lungs falls to chance
without them. (Blanked lungs: Maguolo and Nanni, 2021, among others.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxrlens.audit.films import known
from cxrlens.audit.probes import Told, measured, scopes
from cxrlens.audit.views import FILLS, LEAST, Lungs, filled, lungs_alone
from cxrlens.collections.collection import LABELS, patient_codes
from cxrlens.prediction import Predictor
from cxrlens.progress import Progress, counted, in_batches
from cxrlens.quality.chain import examined
from cxrlens.radiographs.grey import Film, Floats
from cxrlens.radiographs.read import look_at_films, read_film

VARIANTS = ("whole films", *(f"lungs filled: {fill}" for fill in FILLS), "lungs alone")
"""Variants of a film that the model is shown, in the order of tables."""

MOST = 2000
"""Films that the model is asked about; of more, so many are drawn, equally from sources and classes."""

_BATCH = 64


@dataclass(frozen=True)
class Relied:
    """How well the model tells a class on one variant of the films of one place.

    Attributes
    ----------
    variant
        One of `VARIANTS`.
    place
        A source, or all films.
    aim
        The class that is told from the others.
    told
        How well, with intervals by patient.
    """

    variant: str
    place: str
    aim: str
    told: Told


@dataclass(frozen=True)
class Reliance:
    """How well a model does without lungs, and with lungs alone.

    Attributes
    ----------
    rows
        A place, class and variant each.
    split
        The split whose films were asked about; None if all.
    films
        How many films were asked about.
    without_lungs
        How many more were left out because no lungs were found on them.
    examples
        By variant, the first film as it was shown, (S, S) uint8.
    """

    rows: list[Relied]
    split: str | None
    films: int
    without_lungs: int
    examples: dict[str, Film]

    def plain(self) -> dict[str, Any]:
        """Return everything but pictures as plain values for JSON."""
        return {
            "split": self.split,
            "films": self.films,
            "without_lungs": self.without_lungs,
            "rows": [asdict(row) for row in self.rows],
        }


def rely(
    model: Predictor,
    table: pd.DataFrame,
    lungs: Lungs,
    seed: int = 0,
    progress: Progress | None = None,
) -> Reliance:
    """Ask a model about whole films, films without lungs, and lungs alone.

    Parameters
    ----------
    model
        A loaded model.
    table
        A collection's films that can be read; those of the split ``test`` are asked about if it
        has one, else of ``validation``, else all.
    lungs
        Where the lungs are on films as the model sees them.
    seed
        Of the draw of films, the noise and the lot.
    progress
        Called with variants asked and variants in all.
    """
    table, split = _asked(table, seed)
    seen = {}
    for image, pixels in look_at_films(
        table["image"].tolist(),
        lambda image: examined(read_film(image), image, model.chain.examine).pixels,
        failures={},  # they were listed when all films were read
    ):
        mask = lungs(pixels[None])[0]
        if mask.mean() >= LEAST:
            seen[image] = pixels, mask
    missing = len(table) - len(seen)
    table = table[table["image"].isin([*seen])].reset_index(drop=True)
    if len(table) < 2:
        return Reliance([], split, len(table), missing, {})
    films, fields = map(np.stack, zip(*seen.values(), strict=True))
    found: list[Relied] = []
    examples = {}
    for number, variant in enumerate(counted(VARIANTS, len(VARIANTS), progress)):
        shown = films
        if variant == VARIANTS[-1]:
            shown = lungs_alone(films, fields)
        elif number:
            shown = filled(films, fields, FILLS[number - 1], seed)
        examples[variant] = shown[0]
        probabilities = [
            model.probabilities(shown[part]) for part in in_batches(len(shown), _BATCH)
        ]
        found += _measured(table, variant, np.concatenate(probabilities), model.classes, seed)
    return Reliance(found, split, len(table), missing, examples)


def _asked(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, str | None]:
    asked, split = table[table["label"].notna()], None
    for name in ("test", "validation"):
        if "split" in asked and (asked["split"] == name).any():
            asked, split = asked[asked["split"] == name], name
            break
    if len(asked) > MOST:
        keys = [key for key in ("source", "label") if key in asked]
        shuffled = asked.sample(frac=1, random_state=seed)
        turn = shuffled.fillna(dict.fromkeys(keys, "")).groupby(keys).cumcount()
        asked = shuffled.loc[turn.sort_values(kind="stable").index[:MOST]].sort_index()
    return asked.reset_index(drop=True), split


def _measured(
    table: pd.DataFrame,
    variant: str,
    probabilities: Floats,
    classes: Sequence[str],
    seed: int,
) -> Iterator[Relied]:
    labels, codes = known(table, "label"), patient_codes(table)
    for scope in scopes(table, [label for label in LABELS if label in classes])[0]:
        # Among the classes that the place has: what goes to a third one says nothing there.
        among = probabilities[scope.rows][:, [list(classes).index(c) for c in scope.classes]]
        for aim in scope.aims:
            share = among[:, scope.classes.index(aim)] / np.maximum(among.sum(axis=1), 1e-12)
            hits = (labels[scope.rows] == aim)[:, None]
            (told,), _ = measured(share[:, None], hits, codes[scope.rows], seed)
            yield Relied(variant, scope.place, aim, told)
