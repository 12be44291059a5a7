"""The overview page of a collection: what is in it, how it looks, what needs a human eye."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlens.collections.collection import Collection
from cxrlens.collections.same_films import same_keys, told
from cxrlens.collections.survey import PERCENTILES, Survey, detection_steps, survey
from cxrlens.evaluation.tables import counts
from cxrlens.files import refuse_existing
from cxrlens.progress import Progress
from cxrlens.quality.chain import Chain
from cxrlens.quality.step import DEFECTS
from cxrlens.reports.figures import figure
from cxrlens.reports.page import FilmCard, Page, Tile, short

LISTED = 50
"""Rows of the lists of unreadable and contradictory films; the rest are counted."""


@dataclass(frozen=True)
class Overview:
    """What a look at all films found.

    Attributes
    ----------
    failures
        Image and sentence of each film that could not be read, or is not there.
    twice
        Of films that are there more than once, a sentence each; empty where none is.
    """

    failures: dict[str, str]
    twice: tuple[str, ...]


def write_overview(
    collection: Collection,
    path: Path,
    chain: str = "robust",
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Overview:
    """Look at every film of a collection and write one page about them.

    Parameters
    ----------
    collection
        The films; every column but ``image`` may be missing.
    path
        The HTML file.
    chain
        Quality chain that looks for defects.
    seed
        Of the sample sheets.
    force
        Whether an existing file may be replaced.
    progress
        Called with films read and films in all.

    Returns
    -------
    Overview
        What was seen that a user should know without opening the page.

    Raises
    ------
    OutputError
        If the file exists and `force` is false, or cannot be written.
    RecipeError
        If the chain is unknown.
    """
    refuse_existing(path, force)
    seen = survey(collection, Chain.named(chain), seed, progress=progress)
    page = Page(f"Overview of {len(collection):,} films", f"Defects by the chain {chain}")
    _contents(page, collection.films, seen)
    if len(seen.films):
        _pixels(page, seen)
        _defects(page, seen)
    _eye(page, seen)
    if len(seen.films):
        _samples(page, seen)
        _steps(page, seen)
    page.write(path, force)
    twice = told(seen.films, same_keys(seen.films["pixels"])) if len(seen.films) else []
    return Overview(seen.failures | dict(collection.missing), tuple(twice))


def _contents(page: Page, films: pd.DataFrame, seen: Survey) -> None:
    page.section("What is in it", "contents")
    tiles = [Tile("Films", f"{len(films):,}"), Tile("Not readable", f"{len(seen.failures):,}")]
    for column, name in (("patient", "Patients"), ("source", "Sources"), ("label", "Classes")):
        if column in films:
            tiles.append(Tile(name, f"{films[column].nunique():,}"))
    page.tiles(tiles)
    for column in ("label", "source"):
        if column in films:
            page.table(_shares(films[column], column), f"Films by {column}.", _SHARE)
    if "label" in films and "source" in films:
        page.table(counts(films, "source"), "Films by source and class.")
    for column in ("view", "sex", "split"):
        if column in films:
            page.table(_shares(films[column], column), f"Films by {column}.", _SHARE)
    if "age" in films and films["age"].notna().any():
        keys = films["label"].fillna("not known") if "label" in films else "all"
        ages = films.assign(**{"class": keys}).groupby("class")["age"]
        table = ages.describe()[["count", "min", "25%", "50%", "75%", "max"]]
        table = table.rename(columns={"50%": "median", "count": "films"}).reset_index()
        years = dict.fromkeys(("min", "25%", "median", "75%", "max"), _one_digit)
        page.table(table.astype({"films": int}), "Ages in years, by class, where known.", years)


def _percent(share: object) -> str:
    return f"{100 * float(str(share)):.1f} %"


def _one_digit(value: object) -> str:
    number = float(str(value))
    return "–" if np.isnan(number) else f"{number:.1f}".removesuffix(".0")


_SHARE = {"share": _percent}


def _shares(values: pd.Series, name: str) -> pd.DataFrame:
    counts = values.astype("string").fillna("not known").value_counts()
    return pd.DataFrame(
        {name: counts.index, "films": counts.to_numpy(), "share": counts.to_numpy() / len(values)}
    )


def _pixels(page: Page, seen: Survey) -> None:
    films = seen.films
    page.section("Sizes, formats, intensities", "pixels")
    sizes = films["width"].astype(str) + " × " + films["height"].astype(str)
    page.table(_shares(sizes, "width × height").head(12), "The commonest sizes, in pixels.", _SHARE)
    kinds = films["format"] + ", " + films["mode"]
    page.table(_shares(kinds, "format, mode"), "File formats and pixel modes as stored.", _SHARE)
    if sizes.nunique() > 1:
        with figure() as (drawing, (axes,)):
            axes.scatter(films["width"], films["height"], s=12, alpha=0.5)
            axes.set(xlabel="width, pixels", ylabel="height, pixels")
        page.figure(drawing, "Scatter plot of width and height of the films", "Original sizes.")
    for column in ("label", "source"):
        if column not in films or films[column].isna().all():
            continue
        groups = films.groupby(films[column].fillna("not known"))
        names = [f"p{share}" for share in PERCENTILES]
        table = groups[["mean", "std", *names]].mean().round(1).reset_index()
        page.table(
            table,
            f"Grey levels (0 to 255) by {column}: means of the films' own statistics.",
            dict.fromkeys(("mean", "std", *names), _one_digit),
        )
        with figure() as (drawing, (axes,)):
            for name, row in table.set_index(column).iterrows():
                axes.plot(PERCENTILES, row[names].to_numpy(float), marker="o", label=str(name))
            axes.set(xlabel="percentile", ylabel="grey level", ylim=(0, 255))
            axes.legend()
        page.figure(
            drawing,
            f"Lines of the mean grey level at seven percentiles, one for each {column}",
            f"Percentiles of the grey levels by {column}.",
        )


def _defects(page: Page, seen: Survey) -> None:
    page.section("Defects found", "defects")
    films = seen.films
    page.text("A finding is a hint for a person; how often detectors are wrong is in the docs.")
    rows = [
        {"defect": name, "films": int(films[name].sum()), "share": float(films[name].mean())}
        for name in seen.defects
    ]
    page.table(pd.DataFrame(rows), "Films with each defect.", _SHARE)
    for column in ("label", "source"):
        if column in films and films[column].notna().any():
            keys = films[column].fillna("not known")
            table = films[list(seen.defects)].astype(float).groupby(keys).mean().reset_index()
            shares = dict.fromkeys(seen.defects, _percent)
            page.table(table, f"Share of each defect by {column}.", shares)


def contradictions(films: pd.DataFrame) -> pd.DataFrame:
    """List what cannot be true of a surveyed table: its rows contradict each other, or themselves.

    Parameters
    ----------
    films
        `Survey.films`.

    Returns
    -------
    DataFrame
        ``image`` and ``why``: equal pixels with other labels, patients or splits; a patient of two
        sexes; an age outside 0 to 120 years.
    """
    rows = []
    for key, column, words in (
        ("pixels", "label", "the same pixels have other labels"),
        ("pixels", "patient", "the same pixels belong to other patients"),
        ("pixels", "split", "the same pixels are in another split"),
        ("patient", "sex", "the patient has two sexes"),
    ):
        if key in films and column in films:
            odd = films.groupby(key)[column].transform("nunique") > 1
            rows += [(image, words) for image in films.loc[odd, "image"]]
    if "age" in films:
        odd = films["age"].notna() & ~films["age"].between(0, 120)
        rows += [(image, "the age is outside 0 to 120 years") for image in films.loc[odd, "image"]]
    return pd.DataFrame(rows, columns=["image", "why"])


def _eye(page: Page, seen: Survey) -> None:
    page.section("Films that need a human eye", "eye")
    twice = told(seen.films, same_keys(seen.films["pixels"])) if len(seen.films) else []
    if twice:
        page.warning(f"{'; '.join(twice)}.")
    if seen.failures:
        page.warning(f"{len(seen.failures):,} films could not be read.")
        page.points([*list(seen.failures.values())[:LISTED], *_more(len(seen.failures))])
    odd = contradictions(seen.films) if len(seen.films) else pd.DataFrame()
    if len(odd):
        page.table(
            odd.assign(image=odd["image"].map(short)).head(LISTED),
            f"Contradictions, {len(odd):,} in all.",
        )
    if "worst" in seen.shelves:
        page.films(
            _cards(seen, "worst"),
            "What asks most for an eye first: no chest, then damage, borders last.",
            224,
        )
    elif not (seen.failures or twice or len(odd)):
        page.text("None stands out.")


def _more(count: int) -> list[str]:
    return [f"and {count - LISTED:,} more"] if count > LISTED else []


def _samples(page: Page, seen: Survey) -> None:
    page.section("Sample sheets", "samples")
    for place in sorted(seen.shelves, key=lambda name: (name.split()[0], name)):
        if place != "worst":
            caption = "no defect found" if place == "without" else place.replace("with ", "found ")
            page.films(_cards(seen, place), f"Drawn at random: {caption}.", 224)


def _cards(seen: Survey, place: str) -> list[FilmCard]:
    rows = seen.films.set_index("image")
    cards = []
    for image, film in seen.shelves[place].films():
        row = rows.loc[image]
        known = [str(row[c]) for c in ("label", "source") if c in row and pd.notna(row[c])]
        found = [f"{name} {row[f'{name}_score']:.2f}" for name in seen.defects if row[name]]
        name = short(image)
        cards.append(FilmCard(film, name, f"Film {name}", [", ".join(known), *found]))
    return cards


def _steps(page: Page, seen: Survey) -> None:
    page.section("How the report's detectors work", "steps")
    page.text(
        "A film with each defect, where the chain above found one, and one without go through the "
        "steps of the report's detector. The last pictures show what its repair would give."
    )
    for defect in DEFECTS[:4]:
        for place in (f"with {defect}", "without"):
            if place not in seen.shelves:
                continue
            image, film = seen.shelves[place].films()[0]
            pictures, words = detection_steps(defect, film)
            strip = np.hstack([np.pad(p, 4, constant_values=128) for _, p in pictures])
            steps = ", ".join(name for name, _ in pictures)
            kind = defect if place != "without" else f"not {defect}"
            page.figure(
                strip,
                f"Pictures side by side of a film that is {kind}: {steps}",
                f"{defect}, a film found {kind} ({short(image)}). Left to right: {steps}. {words}.",
            )
