import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cxrlens.errors import OutputError
from cxrlens.evaluation.tables import show
from cxrlens.reports.figures import Plot, figure
from cxrlens.reports.page import NOTICE, FilmCard, Page, Tile

from .decoding import picture_of

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"
FILM = np.random.default_rng(0).integers(0, 256, (20, 16), dtype=np.uint8)


class Reader(HTMLParser):
    """Elements with their attributes, and all text, of a page; open and closed tags must match."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(html)
        assert not self.open

    VOID = ("meta", "img", "br", "link", "input")

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def plot(label="normal"):
    with figure() as (drawing, (axes,)):
        axes.plot([0, 1], [0, 1], label=label)
        axes.set_title(label)
        axes.legend()
    return drawing


def full(words="words", **options):
    """A page with a block of every kind, with `words` wherever a user's words can stand."""
    page = Page(words, words, population=words, date=words, **options)
    for _ in range(3):
        page.section(words)
    page.subsection(words)
    page.text(words)
    page.points([words, words])
    page.warning(words)
    page.facts({words: words})
    page.tiles([Tile(words, words, words)])
    page.table(pd.DataFrame({words: [words], "n": [1]}), words, note=words)
    page.figures([Plot(plot(words), words, words), Plot(FILM, words, words)])
    page.films(
        [
            FilmCard(FILM, words, words, [words], {words: 0.5}),
            FilmCard(None, words, words, [words]),
        ],
        words,
    )
    page.code(words, words)
    return page


def test_everything_a_user_supplies_is_escaped():
    html = full(EVIL).render()
    assert "<script" not in html
    assert "49" not in Reader(html).text  # no template inside a template
    read = Reader(html)
    assert not read.all("script")
    plain = Reader(full("words").render())
    assert [tag for tag, _ in read.elements] == [tag for tag, _ in plain.elements]
    assert read.text.count(EVIL) == plain.text.count("words")
    assert {a["alt"] for a in read.all("img")} == {EVIL}


def test_a_page_loads_nothing():
    html = full().render()
    read = Reader(html)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    assert "@import" not in html
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "audio", "video"}
    for _, attributes in read.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(a for a in read.all("meta") if a.get("http-equiv"))
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_pictures_and_plots_have_alternative_texts():
    read = Reader(full("what it shows").render())
    images = read.all("img")
    assert len(images) == 2
    assert all(a["alt"] == "what it shows" for a in images)
    plots = read.all("svg")
    assert len(plots) == 1
    assert (plots[0]["role"], plots[0]["aria-label"]) == ("img", "what it shows")
    gone = next(a for a in read.all("div") if a.get("class") == "no-film")
    assert (gone["role"], gone["aria-label"]) == ("img", "what it shows")


def test_a_figure_without_alternative_text_is_refused():
    with pytest.raises(ValueError, match="needs an alternative text"):
        Page("x").figure(FILM, " ", "a film")


def test_pictures_are_the_films_themselves():
    page = Page("x")
    page.films([FilmCard(FILM, "one", "a film")])
    (image,) = Reader(page.render()).all("img")
    np.testing.assert_array_equal(picture_of(image["src"]), FILM)


def test_the_notice_stands_on_every_page_and_on_every_printed_sheet():
    html = Page("x").render()
    assert NOTICE in Reader(html).text
    assert "@bottom-left" in html
    assert "not a medical device, not a diagnosis" in html.split("@bottom-left")[1][:200]


def test_ids_are_unique_and_every_link_leads_somewhere():
    read = Reader(full("Same title").render())
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"].removeprefix("#") for a in read.all("a")]
    assert len(links) == 4  # three sections, and the way past them
    assert set(links) <= set(ids)


def test_contents_are_listed_from_three_sections_on():
    page = Page("x")
    page.section("One")
    page.section("Two")
    assert not Reader(page.render()).all("nav")
    page.section("Three")
    assert len(Reader(page.render()).all("nav")) == 1


def test_the_same_content_gives_the_same_bytes_and_no_date():
    assert full().render() == full().render()
    assert not re.search(r"\b20\d\d-\d\d", full().render())


def test_a_table_shows_values_the_way_they_are_meant():
    frame = pd.DataFrame(
        {
            "name": ["a", None],
            "count": [12086, 3],
            "share": [0.12345, float("nan")],
            "flag": [True, False],
            "word": ["0.9", "x"],
            "own": ["0.9 (0.8–1.0)", "–"],
        }
    )
    page = Page("x")
    page.table(frame, "what it is", {"word": str.upper})
    html = page.render()
    cells = re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", html)
    assert cells == [
        *("name", "count", "share", "flag", "word", "own"),
        *("a", "12,086", "0.123", "yes", "0.9", "0.9 (0.8–1.0)"),
        *("–", "3", "–", "no", "X", "–"),
    ]
    right = re.findall(r'<th scope="col" class="right">(.*?)</th>', html)
    assert right == ["count", "share", "own"]
    assert "<caption><span><b>Table 1.</b> what it is</span></caption>" in html


def test_a_table_may_have_no_rows():
    page = Page("x")
    page.table(pd.DataFrame({"a": []}), "nothing")
    assert "<tbody>\n</tbody>" in page.render()


def test_tables_and_figures_are_numbered():
    text = Reader(full().render()).text
    for name in ("Table 1.", "Figure 1.", "Figure 2."):
        assert name in text


def test_bars_stay_within_their_card():
    page = Page("x")
    page.films([FilmCard(FILM, "c", "a", shares={"normal": 1.7, "pneumonia": -0.2})])
    bars = [a["style"] for a in Reader(page.render()).all("span") if a["class"] == "bar"]
    assert bars[0].startswith("width: 100.0%; background: var(--green)")
    assert bars[1].startswith("width: 0.0%; background: var(--blue)")


def test_a_page_that_exists_stays(tmp_path):
    path = tmp_path / "deep" / "page.html"
    assert Page("one").write(path) == path
    with pytest.raises(OutputError, match="exists already"):
        Page("two").write(path)
    assert "<h1>one</h1>" in path.read_text()
    Page("two").write(path, force=True)
    assert "<h1>two</h1>" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_show_numpy_values():
    assert show(np.int64(1234)) == "1,234"
    assert show(np.float32(0.5)) == "0.500"
    assert show(np.bool_(True)) == "yes"
    assert show(pd.NA) == "–"
