"""Who is in a collection, in words and tables: ages, sexes, views, sources, by class."""

from collections.abc import Sequence

import pandas as pd

from cxrlens.evaluation.wording import listed, percent

KNOWN_SOURCES = {
    "kermany": "children of 1 to 5 years, Guangzhou, China (Kermany 2018)",
    "nih": "NIH ChestX-ray14, United States, mostly adults; labels drawn from reports by a program",
    "qatar": "tuberculosis database of Rahman 2020: normal films mostly from the United States, "
    "tuberculosis mostly from Eastern Europe",
    "mendeley": "Pakistan (doi 10.17632/8j2g3csprk.2)",
    "tbx11k": "TBX11K (Liu 2020)",
    "sakha": "a small set with normal films and tuberculosis from one place",
}
"""What is known of public sources beyond their own table, by their name in ``source``."""

SCOPE = (
    "The model knows {classes} and nothing else: it has no answer for other diseases, nor for two "
    "at once, and names one of these for any picture that it is given."
)


def describe(films: pd.DataFrame, classes: Sequence[str]) -> str:
    """Describe in a paragraph whose films these are, and what the model has no answer for.

    Parameters
    ----------
    films
        A collection's table; ``patient``, ``source``, ``age``, ``sex`` are used where they are.
    classes
        The classes that the model knows.
    """
    parts = [f"{len(films):,} films"]
    if _known(films, "patient"):
        parts[0] += f" of {films['patient'].nunique():,} patients"
    names = _sources(films)
    if names:
        parts[0] += f", from {listed(names)}"
    parts[0] += "."
    if _known(films, "age"):
        known = films["age"].notna()
        ages = films.loc[known, "age"]
        parts.append(
            f"Age is known for {percent(float(known.mean()))}: "
            f"{ages.min():.0f} to {ages.max():.0f} years, median {ages.median():.0f}."
        )
        gap = _age_gap(films, classes)
        if gap:
            parts.append(gap)
    else:
        parts.append("Ages are not known.")
    drawn = [name for name in names if name.startswith("phantom")]
    if drawn and drawn == names:
        parts.append(
            "All films are drawn by a program and show no patient: what is measured on them says "
            "nothing about real films."
        )
    elif drawn:
        parts.append(f"The films from {listed(drawn)} are drawn by a program.")
    if "kermany" in names:
        parts.append("The films from kermany are of children of 1 to 5 years.")
    parts.append(SCOPE.format(classes=listed(classes)))
    return " ".join(parts)


def by_class(films: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count films and patients of each class, with ages, sexes and views where they are known.

    Returns
    -------
    DataFrame
        ``class``, ``films``, ``patients``, then ``age``, ``female`` and ``view`` as text, each only
        if the collection knows it of some film.
    """
    rows = []
    for name in classes:
        of_class = films[films["label"] == name]
        row: dict[str, object] = {"class": name, "films": len(of_class)}
        if _known(films, "patient"):
            row["patients"] = of_class["patient"].nunique()
        if _known(films, "age"):
            row["age"] = _ages(of_class)
        if _known(films, "sex"):
            row["female"] = _female(of_class)
        if _known(films, "view"):
            row["views"] = _views(of_class)
        rows.append(row)
    return pd.DataFrame(rows)


def counts(films: pd.DataFrame, column: str, classes: Sequence[str]) -> pd.DataFrame:
    """Count films by a column (``split``, ``source``) and class, with a total; unknown is a row.

    Returns
    -------
    DataFrame
        The column, a column for each class, ``all``.
    """
    keys = films[column].astype("string").fillna("not known")
    order = [name for name in ("train", "validation", "test") if (keys == name).any()]
    order += sorted(set(keys) - set(order))
    rows = []
    for key in order:
        labels = films.loc[keys == key, "label"]
        row: dict[str, object] = {column: key}
        row |= {name: int((labels == name).sum()) for name in classes}
        rows.append(row | {"all": len(labels)})
    return pd.DataFrame(rows)


def _known(films: pd.DataFrame, column: str) -> bool:
    return column in films.columns and bool(films[column].notna().any())


def _sources(films: pd.DataFrame) -> list[str]:
    return sorted(films["source"].dropna().astype(str).unique()) if "source" in films else []


def _ages(films: pd.DataFrame) -> str | None:
    ages = films["age"].dropna()
    if ages.empty:
        return None
    low, middle, high = ages.quantile([0.05, 0.5, 0.95])
    return f"{middle:.0f} ({low:.0f}–{high:.0f}), {percent(len(ages) / len(films))}"


def _female(films: pd.DataFrame) -> str | None:
    sexes = films["sex"].dropna().astype(str).str.upper()
    if sexes.empty:
        return None
    return f"{percent(float(sexes.isin(['F', 'FEMALE']).mean()))} of {len(sexes):,}"


def _views(films: pd.DataFrame) -> str | None:
    views = films["view"].dropna().astype(str).value_counts()
    return ", ".join(f"{name} {count:,}" for name, count in views.items()) or None


def _age_gap(films: pd.DataFrame, classes: Sequence[str]) -> str:
    """Say so where the ages of two classes hardly meet: age alone would tell them apart."""
    ages = {name: films.loc[films["label"] == name, "age"].dropna() for name in classes}
    middles = {name: float(of.median()) for name, of in ages.items() if len(of) >= 10}
    if len(middles) < 2:
        return ""
    young, old = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
    if ages[young].quantile(0.75) >= ages[old].quantile(0.25):
        return ""
    return (
        f"Patients with {young} films (median {middles[young]:.0f} years) are much younger than "
        f"those with {old} films (median {middles[old]:.0f}): age alone can tell them apart."
    )
