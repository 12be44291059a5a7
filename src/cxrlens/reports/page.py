"""A page: sections of text, tables, plots and films, written as ONE self-contained HTML file.

A page loads nothing: pictures are data URIs, plots are inline SVG, the style is inside, there is no
script, and a content security policy forbids the rest. Whatever comes from a user (labels, paths,
sources) is escaped by the template. The same content gives the same bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrlens.errors import visible
from cxrlens.evaluation.tables import show
from cxrlens.files import refuse_existing, write_text
from cxrlens.reports.figures import PALETTE, Plot, hue_name, picture_uri, svg

NOTICE = "Research use only: decision support for research, not a medical device, not a diagnosis."
"""Stands on every page, on screen and on every printed sheet."""


Format = Callable[[Any], str]

_FIGURE = re.compile(r"[<+−-]?\.?\d|–$")


def short(image: str | Path) -> str:
    """Name a film by its folder and file; the rest is of no use to whoever reads the page elsewhere."""
    return "/".join(Path(image).parts[-2:])


CARD = 384
"""Pixels of the longer side of a film on a card; twice as many of a film with its map beside it."""


@dataclass(frozen=True)
class FilmCard:
    """A film with its words, one of several side by side.

    Attributes
    ----------
    film
        uint8 array (H, W) or (H, W, 3), or None where it cannot be read: the card then says so.
    caption
        One line in bold under the film.
    alt
        What the film is, for those who do not see it.
    details
        Further lines.
    shares
        Bars in [0, 1] by name, e.g. a probability per class.
    """

    film: NDArray[np.uint8] | None
    caption: str
    alt: str
    details: Sequence[str] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tile:
    """A headline figure: what it is, its value, and a line such as its interval."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class _Block:
    kind: str
    content: dict[str, Any]


class Page:
    """A page in the making; its methods add blocks in order, `write` makes the file.

    Parameters
    ----------
    title
        Its heading, and the name of the browser's tab.
    subtitle
        One line under the heading.
    population
        Who is in it: from whom the films come, and for whom the page says nothing. Optional.
    date
        Printed as given; without it a page holds no date, and is the same each time.

    Examples
    --------
    >>> page = Page("Overview of films.csv", "12 films of 9 patients")
    >>> page.section("What is in it")
    >>> page.text("All films are drawn.")
    >>> page.render().startswith("<!doctype html>")
    True
    """

    def __init__(
        self, title: str, subtitle: str = "", population: str = "", date: str = ""
    ) -> None:
        self.title, self.subtitle, self.population, self.date = title, subtitle, population, date
        self._blocks: list[_Block] = []
        self._anchors: set[str] = set()
        self._tables = self._figures = 0

    def section(self, title: str, anchor: str | None = None) -> None:
        """Begin a section, which the table of contents lists.

        Parameters
        ----------
        title
            Its heading.
        anchor
            Its id for links; made from the title when not given, and kept unique.
        """
        self._add("section", title=title, anchor=self._anchor(anchor or title))

    def subsection(self, title: str) -> None:
        """Begin a part of a section; the table of contents leaves it out."""
        self._add("subsection", title=title, anchor=self._anchor(title))

    def text(self, paragraph: str) -> None:
        """Add a paragraph of plain text."""
        self._add("text", text=paragraph)

    def points(self, lines: Sequence[str]) -> None:
        """Add a list of short lines."""
        self._add("points", lines=list(lines))

    def warning(self, text: str) -> None:
        """Add a paragraph that must not be overlooked."""
        self._add("warning", text=text)

    def alarm(self, text: str) -> None:
        """Add a paragraph in red, for what makes a reader stop."""
        self._add("alarm", text=text)

    def facts(self, facts: Mapping[str, object]) -> None:
        """Add pairs of name and value; None is shown as a dash."""
        self._add("facts", facts={name: show(value) for name, value in facts.items()})

    def tiles(self, tiles: Sequence[Tile]) -> None:
        """Add headline figures, side by side."""
        self._add("tiles", tiles=list(tiles))

    def table(
        self,
        frame: pd.DataFrame,
        caption: str,
        formats: Mapping[str, Format] | None = None,
        note: str = "",
    ) -> None:
        """Add a table; its first column names the rows.

        Parameters
        ----------
        frame
            Its columns in order; the index is not shown.
        caption
            Printed above it, after its number.
        formats
            By column, how a value becomes text. Others: whole numbers with separators, fractions with three
            decimals, yes and no, and a dash for what is missing. A column whose every cell begins like a
            number is set right.
        note
            A line under the table.
        """
        self._tables += 1
        formats = formats or {}
        # Column by column: a row of whole numbers and fractions would turn into fractions.
        columns = [[formats.get(name, show)(v) for v in frame[name]] for name in frame.columns]
        self._add(
            "table",
            number=self._tables,
            caption=caption,
            note=note,
            names=[str(name) for name in frame.columns],
            right=[all(map(_FIGURE.match, column)) for column in columns],
            rows=list(zip(*columns, strict=True)),
        )

    def figure(self, picture: Figure | NDArray[np.uint8], alt: str, caption: str) -> None:
        """Add one plot or picture; see `Plot` for the parameters."""
        self.figures([Plot(picture, alt, caption)])

    def figures(self, plots: Sequence[Plot], longest: int = 1024) -> None:
        """Add plots or pictures side by side; on a phone they stand one under the other.

        Parameters
        ----------
        plots
            The plots, left to right.
        longest
            Pictures are shrunk to this many pixels on their longer side.

        Raises
        ------
        ValueError
            For an empty alternative text.
        """
        shown = []
        for plot in plots:
            if not plot.alt.strip():
                raise ValueError(f"the figure “{plot.caption}” needs an alternative text")
            self._figures += 1
            content: dict[str, Any] = {"number": self._figures, "caption": plot.caption}
            if isinstance(plot.picture, Figure):
                content["svg"] = Markup(svg(plot.picture, f"f{self._figures}", plot.alt))
            else:
                content["uri"] = picture_uri(plot.picture, longest)
                content["alt"] = plot.alt
            shown.append(content)
        self._add("figures", plots=shown)

    def films(self, cards: Sequence[FilmCard], caption: str = "", longest: int = CARD) -> None:
        """Add films side by side, each with its words.

        Parameters
        ----------
        cards
            The films, in reading order.
        caption
            A line above them.
        longest
            Films are shrunk to this many pixels on their longer side; smaller for long sheets. Where
            a picture is much wider than high, as a film with its heat map beside it, all cards are
            made wide, and twice as many pixels are kept.
        """
        wide = any(c.film is not None and c.film.shape[1] > 1.5 * c.film.shape[0] for c in cards)
        longest = 2 * longest if wide else longest
        shown = [
            {
                "uri": None if card.film is None else picture_uri(card.film, longest),
                "alt": card.alt,
                "caption": card.caption,
                "details": list(card.details),
                "shares": [
                    (name, max(0.0, min(1.0, share)), hue_name(name))
                    for name, share in card.shares.items()
                ],
            }
            for card in cards
        ]
        self._add("films", films=shown, caption=caption, wide=wide)

    def code(self, text: str, caption: str = "") -> None:
        """Add text in a typewriter face, line by line as it is, e.g. a recipe's YAML."""
        self._add("code", text=text, caption=caption)

    def render(self) -> str:
        """Return the page as HTML."""
        contents = [b.content for b in self._blocks if b.kind == "section"]
        return _template().render(
            page=self,
            notice=NOTICE,
            blocks=self._blocks,
            contents=contents if len(contents) > 2 else [],
            palette=PALETTE,
        )

    def write(self, path: str | Path, force: bool = False) -> Path:
        """Write the page as one HTML file and return its path.

        Raises
        ------
        OutputError
            If the file exists and `force` is not set, or its place cannot be written.
        """
        path = Path(path)
        refuse_existing(path, force)
        write_text(path, self.render())
        return path

    def _add(self, kind: str, **content: Any) -> None:
        self._blocks.append(_Block(kind, content))

    def _anchor(self, wanted: str) -> str:
        anchor = stem = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-") or "part"
        copy = 1
        while anchor in self._anchors:
            copy += 1
            anchor = f"{stem}-{copy}"
        self._anchors.add(anchor)
        return anchor


def _unacting(value: object) -> object:
    """Write out what could act in text that comes from elsewhere; what is markup already stays."""
    return visible(value, keep="\n\t") if type(value) is str else value


def _template() -> jinja2.Template:
    place = files("cxrlens.reports")
    sources = {name: place.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        finalize=_unacting,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
