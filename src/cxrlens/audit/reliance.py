"""What a model makes of films without lungs, and of lungs without the film around them.

Films go through the model's own quality chain; then the lungs are filled in four ways that no
training has seen, or everything but the lungs is. A model that reads the lungs falls to chance
without them. (Blanked lungs: Maguolo and Nanni, 2021, among others.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.audit.probes import EVERYWHERE, LEAST_PATIENTS
from cxrlens.audit.ridge import Told, measured
from cxrlens.audit.views import FILLS, LEAST, Lungs, filled, lungs_alone
from cxrlens.collections.collection import LABELS
from cxrlens.errors import FilmError
from cxrlens.evaluation.metrics import patient_codes
from cxrlens.prediction import Predictor
from cxrlens.progress import Progress
from cxrlens.radiographs.read import read_radiograph

VARIANTS = ("whole films", *(f"lungs filled: {fill}" for fill in FILLS), "lungs alone")
"""What the model is shown, in the order of tables."""

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
    """What the model was asked, and what it told.

    Attributes
    ----------
    rows
        A place, class and variant each.
    split
        The split whose films were asked about; None if all.
    films
        How many films, and how many more were left out because no lungs were found on them.
    without_lungs
        Those left out.
    """

    rows: list[Relied]
    split: str | None
    films: int
    without_lungs: int
    examples: dict[str, NDArray[np.uint8]]


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
        Called with films asked and films in all.
    """
    table, split = _asked(table, seed)
    pixels, masks, kept = [], [], []
    for place, image in enumerate(table["image"]):
        try:
            examined = model.chain.examine(read_radiograph(image)).pixels
        except FilmError:
            continue  # it was listed when all films were read
        mask = lungs(examined[None])[0]
        if mask.mean() >= LEAST:
            pixels.append(examined)
            masks.append(mask)
            kept.append(place)
    missing = len(table) - len(kept)
    table = table.iloc[kept].reset_index(drop=True)
    if len(table) < 2:
        return Reliance([], split, len(table), missing, {})
    films, fields = np.stack(pixels), np.stack(masks)
    found: list[Relied] = []
    examples = {}
    for number, variant in enumerate(VARIANTS):
        shown = films
        if variant == VARIANTS[-1]:
            shown = lungs_alone(films, fields)
        elif number:
            shown = filled(films, fields, FILLS[number - 1], seed)
        examples[variant] = shown[0]
        parts = []
        for start in range(0, len(shown), _BATCH):
            parts.append(model.probabilities(shown[start : start + _BATCH]))
            if progress:
                done = number * len(shown) + min(start + _BATCH, len(shown))
                progress(done, len(VARIANTS) * len(shown))
        found += _measured(table, variant, np.concatenate(parts), model.classes, seed)
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
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    seed: int,
) -> list[Relied]:
    labels, codes = table["label"].to_numpy(str), patient_codes(table)
    places = {EVERYWHERE: np.ones(len(table), bool)}
    if "source" in table:
        names = table["source"].fillna("").to_numpy(str)
        places |= {name: names == name for name in sorted(set(names) - {""})}
        if len(places) == 2:
            del places[EVERYWHERE]
    rows = []
    for place, here in places.items():
        there = [
            label
            for label in LABELS
            if label in classes
            and len(np.unique(codes[here & (labels == label)])) >= LEAST_PATIENTS
        ]
        if len(there) < 2:
            continue
        asked = here & np.isin(labels, there)
        for aim in there if len(there) > 2 else there[1:]:
            hits = (labels[asked] == aim)[:, None]
            # Among the classes that the place has: what goes to a third one says nothing there.
            among = probabilities[asked][:, [list(classes).index(name) for name in there]]
            share = among[:, there.index(aim)] / np.maximum(among.sum(axis=1), 1e-12)
            told = measured(share[:, None], hits, codes[asked], seed)[0][0]
            rows.append(Relied(variant, place, aim, told))
    return rows
