"""Pages for people: one self-contained HTML template, one style of tables and plots.

Every report, overview and explanation that the project writes is a `Page`; its plots are drawn on
a `figure`, whose colours follow the page into dark mode and into print.
"""

from cxrlens.pages.figures import class_colour, figure
from cxrlens.pages.page import FilmCard, Page, Plot, Tile

__all__ = ["FilmCard", "Page", "Plot", "Tile", "class_colour", "figure"]
