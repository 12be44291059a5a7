"""The verdict: findings in sentences that carry their number.

A finding is serious (it makes figures on this collection untrue, and the exit status 1) or a note.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cxrlens.audit.films import Leaks
from cxrlens.audit.probes import EVERYWHERE, GRID, PlaceMap, Probed
from cxrlens.audit.reliance import VARIANTS, Reliance, Relied
from cxrlens.audit.views import CORNERS
from cxrlens.evaluation.card import TELLING, guessed_by_source
from cxrlens.evaluation.tables import listed, percent

SERIOUS = 0.70
"""Lower end of an AUC's interval from which what should tell nothing tells too much."""

SLIGHT = 0.60
"""From which it is noted."""

_STANDS_OUT = 0.08  # AUC by which a mark's corner leads the others


_CONTRADICTED = {
    "split": "stand in different splits: what is tested on was trained on",
    "label": "have different labels: at least one is wrong",
    "patient": "are said to be of different patients: a split by patient parts them",
    "source": "stand in two sources: leave one out where sources are held apart",
}
"""By column, what is said of copies that differ in it."""

_SHOWN = {
    "border": "the film's border",
    "file": "the file's own properties (size, format, mode, JPEG quality)",
    "lungs filled": "the film with its lungs filled",
    "age": "the patient's age",
    "sex": "the patient's sex",
    "view": "the view (PA, AP)",
}
"""Views whose names say too little in a sentence."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes
    ----------
    kind
        ``leak``, ``copies``, ``source``, ``table``, ``shortcut``, ``place`` or ``model``.
    serious
        Whether it makes figures untrue.
    sentence
        With the number behind it.
    """

    kind: str
    serious: bool
    sentence: str


def verdict(
    table: pd.DataFrame,
    leaks: Leaks,
    probed: Sequence[Probed],
    maps: Sequence[PlaceMap],
    reliance: Reliance | None,
) -> list[Finding]:
    """Put findings that matter into sentences, serious ones first.

    Parameters
    ----------
    table
        The films that could be read.
    leaks, probed, maps, reliance
        From the parts of the audit; `reliance` is None without a model.
    """
    found = [
        *_of_leaks(leaks),
        *_of_source(table),
        *_of_shortcuts(probed, maps),
        *_of_sources_told(probed),
        *(_of_model(reliance) if reliance else ()),
    ]
    return sorted(found, key=lambda one: not one.serious)


def _plural(count: int, one: str) -> str:
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{count:,} {one if count == 1 else many}"


def _of_leaks(leaks: Leaks) -> Iterator[Finding]:
    if leaks.patients:
        yield Finding(
            "leak",
            True,
            f"{_plural(len(leaks.patients), 'patient')} have films in more than one split "
            f"(for example {', '.join(leaks.patients[:3])}).",
        )
    pairs = leaks.pairs
    if pairs.empty:
        return
    for column, words in _CONTRADICTED.items():
        if count := int(pairs[f"other_{column}"].sum()):
            serious = column in ("split", "label")
            yield Finding("leak", serious, f"{_plural(count, 'pair')} of copies {words}.")
    kinds = pairs["kind"].value_counts()
    said = listed([f"{count:,} {kind}" for kind, count in kinds.items()])
    yield Finding(
        "copies",
        False,
        f"{_plural(leaks.extra, 'film')} more than there are exposures: "
        f"{_plural(len(pairs), 'pair')} of copies ({said}) in {_plural(leaks.groups, 'group')}.",
    )


def _of_source(table: pd.DataFrame) -> Iterator[Finding]:
    guess = guessed_by_source(table) if "label" in table else None
    if guess and guess[0] - guess[1] >= TELLING:
        yield Finding(
            "source",
            True,
            f"The source gives the label away: knowing only where a film is from, one would name the "
            f"class of {percent(guess[0])} of the films ({percent(guess[1])} by always naming the "
            "commonest). Judge models within a source, or at a source that they have not seen.",
        )


def _bound(one: Probed | Relied) -> float:
    return one.told.low if one.told.low is not None else 0.0


def _where(place: str) -> str:
    return "over all films" if place == EVERYWHERE else f"in {place}"


def _of_shortcuts(probed: Sequence[Probed], maps: Sequence[PlaceMap]) -> Iterator[Finding]:
    asked = [one for one in probed if one.target == "label" and one.view != "source"]
    # Over several sources all views tell the source, which has a sentence of its own.
    pooled = all(one.place == EVERYWHERE for one in asked)
    own = [one for one in asked if one.how != "across" and (pooled or one.place != EVERYWHERE)]
    places = dict.fromkeys((one.place, one.aim) for one in own)
    views = {key: {one.view: one for one in own if (one.place, one.aim) == key} for key in places}
    corner = {key: _best_corner([*here.values()]) for key, here in views.items()}
    for (place, aim), here in views.items():
        mark = corner[place, aim]
        # What tells one class tells the others a little, too: the class that it tells best is named.
        best = max((m.told.auc for (p, _), m in corner.items() if p == place and m), default=0.0)
        if mark and mark.told.auc == best:
            yield _mark(mark, here, maps)
        for view, one in here.items():
            # A corner that stands out has its sentence, and what the border tells may be that corner.
            named = view in CORNERS or (
                view == "border" and any(corner[p] for p in places if p[0] == place)
            )
            if one.lungs or named or _bound(one) < SLIGHT:
                continue
            kind = "table" if view in ("view", "age", "sex") else "shortcut"
            yield Finding(
                kind,
                _bound(one) >= SERIOUS,
                f"{aim} can be told from {_in_words(view)} alone {_where(place)}: {one.told.words()}"
                f"{_elsewhere(one, asked)}.",
            )
        thumbnail = here.get("thumbnail")
        if thumbnail and _bound(thumbnail) >= 0.9:
            yield Finding(
                "shortcut",
                False,
                f"A thumbnail of 16×16 pixels tells {aim} {_where(place)}: {thumbnail.told.words()}"
                f"{_elsewhere(thumbnail, asked)}. A model has shown nothing until it does better than that.",
            )


def _in_words(view: str) -> str:
    return _SHOWN.get(view, f"the {view}")


def _best_corner(here: Sequence[Probed]) -> Probed | None:
    """Find the corner that alone tells more than the others, if there is one: a mark, a letter."""
    corners = sorted((p for p in here if p.view in CORNERS), key=lambda one: -one.told.auc)
    if len(corners) < 2 or _bound(corners[0]) < SLIGHT:
        return None
    ahead = corners[0].told.auc - corners[1].told.auc
    return corners[0] if ahead >= _STANDS_OUT else None


def _mark(best: Probed, here: Mapping[str, Probed], maps: Sequence[PlaceMap]) -> Finding:
    others = [here[name] for name in CORNERS if name in here and name != best.view]
    next_best = max(others, key=lambda one: one.told.auc)
    spot = next((m for m in maps if (m.place, m.aim) == (best.place, best.aim)), None)
    patch = ""
    if spot and spot.name == best.view:
        row, column = spot.strongest
        patch = (
            f"; strongest at {percent((column + 0.5) / GRID)} of the width and "
            f"{percent((row + 0.5) / GRID)} of the height"
        )
    return Finding(
        "place",
        _bound(best) >= SERIOUS,
        f"Something in the {best.view} tells {best.aim} {_where(best.place)}: {best.told.words()} from "
        f"that corner alone, {next_best.told.auc:.2f} from the {next_best.view}{patch}. "
        "Look for a mark, a letter or a stamp.",
    )


def _elsewhere(one: Probed, asked: Sequence[Probed]) -> str:
    key = (one.view, one.place, one.aim)
    across = [o for o in asked if o.how == "across" and (o.view, o.place, o.aim) == key]
    return f"; learnt at other sources, {across[0].told.auc:.2f}" if across else ""


def _of_sources_told(probed: Sequence[Probed]) -> Iterator[Finding]:
    told = [p for p in probed if p.target == "source" and not p.lungs and p.view not in CORNERS]
    for label in dict.fromkeys(one.place for one in told):
        best = max((one for one in told if one.place == label), key=lambda one: one.told.auc)
        if _bound(best) >= SERIOUS:
            among = "all films" if label == EVERYWHERE else f"{label} films"
            yield Finding(
                "source",
                False,
                f"Among {among}, {_in_words(best.view)} alone tells the sources apart: "
                f"{best.told.words()} (mean over sources).",
            )


def _of_model(reliance: Reliance) -> Iterator[Finding]:
    places = dict.fromkeys((row.place, row.aim) for row in reliance.rows)
    several = len({place for place, _ in places}) > 1
    for place, aim in places:
        rows = {r.variant: r for r in reliance.rows if (r.place, r.aim) == (place, aim)}
        whole, alone = rows[VARIANTS[0]], rows[VARIANTS[-1]]
        fills = [rows[variant] for variant in VARIANTS[1:-1]]
        # The fill that leaves least counts, so that no fill's own trace is taken for reading.
        least = min(fills, key=lambda row: row.told.auc)
        if _bound(least) < SLIGHT:
            continue
        yield Finding(
            "model",
            _bound(least) >= SERIOUS and not (several and place == EVERYWHERE),
            f"The model tells {aim} without lungs {_where(place)}: {least.told.words()} with the lungs "
            f"filled ({least.variant.removeprefix('lungs filled: ')}, of four fills the one that leaves "
            f"least), {whole.told.auc:.2f} on whole films, {alone.told.auc:.2f} on lungs alone.",
        )
