"""Pages for people: the only room that writes HTML. Each page takes data and is one self-contained file."""

from cxrlens.reports.figures import class_colour, figure
from cxrlens.reports.page import FilmCard, Page, Plot, Tile

__all__ = ["FilmCard", "Page", "Plot", "Tile", "class_colour", "figure"]
