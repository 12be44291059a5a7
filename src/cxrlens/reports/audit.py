"""The audit's page: the verdict first, then what stands behind each sentence of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrlens.audit import Audit
from cxrlens.audit.probes import EVERYWHERE, GRID, PlaceMap, Probed
from cxrlens.audit.reliance import VARIANTS, Relied
from cxrlens.audit.verdict import SERIOUS, SLIGHT
from cxrlens.audit.views import CORNERS, VIEWS
from cxrlens.evaluation.tables import counts, listed, spread
from cxrlens.reports.figures import HUES, INK, REFERENCE, Plot, figure
from cxrlens.reports.page import FilmCard, Page, Tile, short

_PAIRS = 12  # shown
_MAPS = 8
_MARKERS = "os^DvPX"
_PLACE = {"films": "place", "class told": "aim"}
_COLUMNS = ("source", "view", "sex", "age")


def write_audit(path: Path, audit: Audit, name: str, model: str = "", force: bool = False) -> Path:
    """Write the page of an audit.

    Parameters
    ----------
    path
        The HTML file.
    audit
        What was found.
    name
        What the collection is called.
    model
        What the model is called, if there was one.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the file exists and `force` is false, or it cannot be written.
    """
    page = Page(
        f"Audit of {name}", f"{len(audit.films):,} films" + (f"; model {model}" if model else "")
    )
    _verdict(page, audit)
    _copies(page, audit)
    _counts(page, audit)
    _probes(page, audit)
    _places(page, audit)
    _sources(page, audit)
    _model(page, audit)
    _method(page)
    return page.write(path, force)


def _verdict(page: Page, audit: Audit) -> None:
    page.section("Verdict", "verdict")
    serious = [one.sentence for one in audit.findings if one.serious]
    notes = [one.sentence for one in audit.findings if not one.serious]
    page.tiles(
        [
            Tile("Serious findings", f"{len(serious)}", "make figures untrue"),
            Tile("Notes", f"{len(notes)}"),
            Tile("Films", f"{len(audit.films):,}", f"{len(audit.films.failures):,} not readable"),
            Tile("Pairs of copies", f"{len(audit.leaks.pairs):,}"),
        ]
    )
    if serious:
        for sentence in serious:
            page.warning(sentence)
    else:
        page.text(
            "Nothing was found that would make figures on this collection untrue, as far as it can be known "
            "from it."
        )
    if notes:
        page.subsection("Notes")
        page.points(notes)
    if audit.unknown:
        page.subsection("What this table does not let one know")
        page.points(audit.unknown)
    if audit.films.failures:
        page.subsection("Films that could not be read")
        sentences = list(audit.films.failures.values())
        more = [f"and {len(sentences) - 20:,} more"] if len(sentences) > 20 else []
        page.points([*sentences[:20], *more])


def _copies(page: Page, audit: Audit) -> None:
    page.section("Copies", "copies")
    pairs, films = audit.leaks.pairs, audit.films
    if pairs.empty:
        page.text("No film was found twice, neither exactly nor nearly.")
        return
    kinds = pairs.groupby("kind", sort=False)
    columns = ["other_split", "other_label", "other_patient", "other_source"]
    table = kinds[columns].sum().astype(int)
    table.insert(0, "pairs", kinds.size())
    table.columns = pd.Index(
        ["pairs", "in other splits", "of other labels", "of other patients", "in other sources"]
    )
    page.table(table.reset_index(), "Pairs of films that show one exposure, by how alike they are.")
    page.text(
        f"{audit.leaks.groups:,} groups hold all pairs. All pairs are in audit.json and copies.csv. Below "
        "are those that matter most: first pairs in different splits or with different labels, then the "
        "least alike, which are the ones to doubt."
    )
    ranked = pairs.assign(matters=pairs["other_split"] | pairs["other_label"]).sort_values(
        ["matters", "agreement"], ascending=[False, True]
    )
    cards = []
    for row in ranked.head(_PAIRS).itertuples():
        one, other = int(str(row.one)), int(str(row.other))
        said = str(row.kind) + (", one is the negative" if row.negative else "")
        facts = [f"agreement {float(str(row.agreement)):.2f}"]
        for column in ("label", "split", "source"):
            if column in films.table:
                values = films.table[column].iloc[[one, other]].fillna("not known").tolist()
                facts.append(f"{column}: {' | '.join(dict.fromkeys(values))}")
        names = [short(films.table["image"].iloc[place]) for place in (one, other)]
        left, right = films.pixels[[one, other]]
        both = np.hstack([left, np.full((len(left), 4), 255, np.uint8), right])
        cards.append(
            FilmCard(both, said, f"Films {names[0]} and {names[1]} side by side", [*names, *facts])
        )
    page.films(cards, "Pairs, side by side.", 256)


def _counts(page: Page, audit: Audit) -> None:
    page.section("Who and what is in it", "contents")
    table = audit.films.table
    shown = table
    if "age" in table and table["age"].notna().any():
        bands = pd.cut(table["age"].astype(float), [-1, 5, 18, 40, 65, 200])
        names = ["00–05", "06–18", "19–40", "41–65", "66 and more"]
        shown = table.assign(age=bands.cat.rename_categories(names))
    for column in ("source", "view", "sex", "age", "split"):
        if column in table and table[column].notna().any():
            page.table(counts(shown, column), f"Films by {column} and class.")
    told = [p for p in audit.probed if p.target == "label" and p.view in _COLUMNS]
    if told:
        page.table(
            _wide(told, _PLACE, [name for name in _COLUMNS if any(p.view == name for p in told)]),
            "How well a column of the table alone tells the class: AUC on other patients, with its "
            "95 % interval.",
            note="Missing values count as a value of their own: that they are missing can tell, too.",
        )


def _interval(one: Probed | Relied) -> str:
    return one.told.words().removeprefix("AUC ")


def _views(probed: Sequence[Probed]) -> list[str]:
    there = {one.view for one in probed}
    order = [view.name for view in VIEWS if view.name not in CORNERS]
    order[1:1] = ["lungs filled"]
    order += ["lungs' outline"]
    return [name for name in order if name in there]


def _probes(page: Page, audit: Audit) -> None:
    page.section("What tells the label without the lungs", "probes")
    asked = [p for p in audit.probed if p.target == "label" and p.view in _views(audit.probed)]
    if not asked:
        page.text("No label could be asked for: see what could not be known, above.")
        return
    page.text(
        "A ridge classifier is given a part of each film that holds no disease of the lungs. Within a source "
        "it learns from some patients and is tested on others; across, it learns at all other sources. 0.5 "
        "is chance. What is told within a source and not across is a habit of that place, not the disease. "
        "Thumbnail, histogram and outline hold something of the lungs: they show what a model must do better "
        "than."
    )
    places = dict.fromkeys((p.place, p.aim) for p in asked)
    _dots(page, asked, list(places))
    for how, words in (
        ("within", "learnt and tested within the source"),
        ("across", "learnt at all other sources, tested at this one"),
        ("pooled", "all films dealt together, as a careless split does"),
    ):
        part = [p for p in asked if p.how == how]
        if part:
            page.table(
                _wide(part, _PLACE, _views(part)), f"AUC, {words}, with 95 % intervals by patient."
            )


def _wide(
    rows: Sequence[Probed | Relied],
    keys: Mapping[str, str],
    series: Sequence[str],
    name: str = "view",
) -> pd.DataFrame:
    """Set what the views, or variants, tell side by side; `keys` are headings and attributes of a row."""
    found = [
        {head: getattr(one, of) for head, of in keys.items()}
        | {"series": getattr(one, name), "said": _interval(one)}
        for one in rows
    ]
    return spread(found, list(keys), "series", "said").reindex(columns=[*keys, *series])


def _draw(
    rows: Sequence[Probed | Relied],
    places: Sequence[tuple[str, str]],
    series: Sequence[str],
    name: str,
    drawing: Figure,
    axes: Axes,
) -> None:
    """Draw a row a source and class, and in it a dot with its interval for each view or variant."""
    for number, which in enumerate(series):
        mine = [one for one in rows if getattr(one, name) == which]
        colour, marker = HUES[number % len(HUES)], _MARKERS[number % len(_MARKERS)]
        hollow = any(getattr(one, "lungs", False) for one in mine)
        line: dict[str, Any] = {"color": colour, "markerfacecolor": "none" if hollow else colour}
        for one in mine:
            y = places.index((one.place, one.aim)) + (number - (len(series) - 1) / 2) * 0.11
            if one.told.low is not None and one.told.high is not None:
                axes.plot([one.told.low, one.told.high], [y, y], color=colour, linewidth=1.2)
            axes.plot(one.told.auc, y, marker, **line)
        axes.plot([], [], marker, label=which, **line)
    axes.axvline(0.5, color=REFERENCE, linewidth=1)
    axes.axvline(SERIOUS, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set_yticks(range(len(places)), [f"{aim}\n{place}" for place, aim in places])
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _dots(page: Page, asked: Sequence[Probed], places: Sequence[tuple[str, str]]) -> None:
    plots, views = [], _views(asked)
    for how in ("within", "across", "pooled"):
        part = [p for p in asked if p.how == how]
        rows = [place for place in places if any((p.place, p.aim) == place for p in part)]
        if not rows:
            continue
        with figure(5.0, 1.3 + 0.55 * len(rows) + 0.2 * len(views)) as (drawing, (axes,)):
            _draw(part, rows, views, "view", drawing, axes)
            axes.set_xlim(min(0.4, *(p.told.auc - 0.02 for p in part)), 1.01)
            axes.set_xlabel(f"AUC, {how}")
        best = max(part, key=lambda p: p.told.auc)
        plots.append(
            Plot(
                drawing,
                "Dots with intervals: AUC of each view for "
                f"{listed([f'{a} in {p}' for p, a in rows])}; the highest "
                f"is {best.view} with {best.told.auc:.2f} for {best.aim} in {best.place}",
                f"What each view tells, {how}. Filled marks hold nothing of the lungs. The "
                f"dashed line is {SERIOUS}: an interval beyond it is serious.",
            )
        )
    page.figures(plots)


def _places(page: Page, audit: Audit) -> None:
    if not audit.maps:
        return
    page.section("Where on the film", "places")
    page.text(
        "Each of 16×16 patches alone tells the class as well as its shade says. In the lungs this can be the "
        "disease; a patch elsewhere, in a corner or along an edge, is a mark, a text, a device or the way "
        "films are cut."
    )
    corners = [
        p for p in audit.probed if p.target == "label" and p.view in CORNERS and p.how != "across"
    ]
    ordered = sorted(audit.maps, key=lambda one: -float(one.auc[one.strongest]))
    page.figures([_map(audit, one) for one in ordered[:_MAPS]])
    if len(ordered) > _MAPS:
        page.text(f"{len(ordered) - _MAPS} more maps are in audit.json.")
    if corners:
        table = _wide(corners, _PLACE, CORNERS)
        table = table.rename(columns={name: name.removesuffix(" corner") for name in CORNERS})
        page.table(table, "AUC of each corner alone (sides as in the picture).")


def _map(audit: Audit, one: PlaceMap) -> Plot:
    table = audit.films.table
    rows = (table["label"] == one.aim).fillna(False).to_numpy(bool)
    if one.place != EVERYWHERE and "source" in table:
        rows = rows & (table["source"] == one.place).fillna(False).to_numpy(bool)
    mean = audit.films.pixels.mean(rows)
    row, column = one.strongest
    best = float(one.auc[row, column])
    with figure(5.0, 2.7, 2) as (drawing, (left, right)):
        left.imshow(mean, cmap="gray", vmin=0, vmax=255)
        left.set_title("mean film", fontsize=9)
        shown = right.imshow(one.auc, cmap="cividis", vmin=0.5, vmax=1)
        right.plot(column, row, "s", color="#ffffff", markerfacecolor="none", markersize=9)
        right.set_title("AUC of each patch", fontsize=9)
        drawing.colorbar(shown, ax=right, fraction=0.046)
        for axes in (left, right):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
    middle = one.auc[GRID // 4 : -GRID // 4, GRID // 4 : -GRID // 4]
    return Plot(
        drawing,
        f"Mean {one.aim} film of {one.place}, and a map of how well each patch tells the class: "
        f"{best:.2f} at the {one.name}, up to {middle.max():.2f} in the middle",
        f"{one.aim}, {one.place}. Best outside the lungs: {one.name}, AUC {best:.2f}.",
    )


def _sources(page: Page, audit: Audit) -> None:
    told = [p for p in audit.probed if p.target == "source"]
    if not told:
        return
    page.section("What tells the source", "sources")
    page.table(
        _wide(told, {"films of": "place"}, _views(told)),
        "Among films of one class, so that no disease can help: AUC of each source against the "
        "others, the mean over sources.",
        note="Where sources are told so well and differ in their classes, a model can name the "
        "source instead of the disease.",
    )


def _model(page: Page, audit: Audit) -> None:
    reliance = audit.reliance
    if reliance is None or not reliance.rows:
        return
    page.section("The model without lungs", "model")
    asked = f"films of the split {reliance.split}" if reliance.split else "films"
    page.text(
        f"{reliance.films:,} {asked} went through the model's own quality chain; then the lungs were filled "
        "in four ways that it has never seen, or everything but the lungs was. A model that reads the lungs "
        f"falls to 0.5 without them. {reliance.without_lungs:,} films on which no lungs were found are left "
        "out."
    )
    places = list(dict.fromkeys((r.place, r.aim) for r in reliance.rows))
    with figure(5.6, 1.5 + 0.62 * len(places)) as (drawing, (axes,)):
        _draw(reliance.rows, places, VARIANTS, "variant", drawing, axes)
        axes.set_xlabel("AUC")
    words = "; ".join(
        f"{r.aim} in {r.place}, {r.variant}: {r.told.auc:.2f}" for r in reliance.rows[:6]
    )
    page.figure(
        drawing,
        f"Dots with intervals of the model's AUC: {words}",
        "The model's AUC by what it is shown.",
    )
    table = _wide(reliance.rows, {"source": "place", "class told": "aim"}, VARIANTS, "variant")
    whole = [one.told.films for one in reliance.rows if one.variant == VARIANTS[0]]
    table.insert(2, "films", whole)
    page.table(
        table.rename(columns={name: name.removeprefix("lungs filled: ") for name in VARIANTS}),
        "The model's AUC with 95 % intervals by patient; four fills between whole films and "
        "lungs alone.",
    )
    shown: list[NDArray[np.uint8]] = list(reliance.examples.values())
    cards = [
        FilmCard(cv2.resize(film, (160, 160)).astype(np.uint8), name, f"One film: {name}")
        for name, film in zip(reliance.examples, shown, strict=True)
    ]
    page.films(cards, "One film as the model was shown it.", 160)


def _method(page: Page) -> None:
    page.section("How to read it", "method")
    page.points(
        [
            "Serious: copies or patients on both sides of a split, copies with different labels, a source "
            f"that gives the label away, or an AUC without lungs whose 95 % interval lies above {SERIOUS} "
            f"within a source. From {SLIGHT} it is noted.",
            "Intervals are bootstrap intervals by patient. A ridge is a simple reader: a network may find "
            "what it does not, so a clean audit is no proof.",
            "A disease can reach beyond the lungs (posture, devices, a portable film of the very ill): such "
            "a hint is real at one place and does not travel. Look at across.",
            "Copies are told from other chests by fine detail after alignment; repeat films of one patient "
            "can be as alike.",
        ]
    )
