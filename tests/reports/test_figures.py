import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest

from cxrlens.reports.figures import (
    PALETTE,
    class_colour,
    class_line,
    figure,
    picture_uri,
    svg,
)

from .decoding import picture_of

CLASSES = ("normal", "pneumonia", "tuberculosis")
SERIES = ("blue", "vermillion", "green", "purple", "amber", "slate")

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
EYES = {
    "common": np.eye(3),
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanope": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def mixed(front, back, opacity):
    parts = [(int(front[i : i + 2], 16), int(back[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * f + (1 - opacity) * b):02x}" for f, b in parts)


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "page"),
        ("ink", "panel"),
        ("ink", "notice"),
        ("ink", "cell"),
        ("quiet", "page"),
        ("quiet", "panel"),
        ("link", "page"),
    ],
)
def test_text_can_be_read(text, ground, shade):
    assert contrast(PALETTE[text][shade], PALETTE[ground][shade]) >= 4.5  # WCAG 2.2, 1.4.3 AA


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*SERIES, "reference"])
def test_lines_stand_out(name, shade):
    assert contrast(PALETTE[name][shade], PALETTE["page"][shade]) >= 3  # WCAG 2.2, 1.4.11 AA


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
def test_counts_can_be_read_in_every_cell_of_the_confusion_matrix(shade):
    cell, page, ink = (PALETTE[name][shade] for name in ("cell", "page", "ink"))
    for opacity in np.linspace(0.08, 1, 20):
        assert contrast(mixed(cell, page, opacity), ink) >= 4.5


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", EYES)
def test_classes_stay_apart_for_colour_blind_eyes(eyes, shade):
    color = pytest.importorskip("skimage.color")
    hues = {pair[0]: pair for pair in PALETTE.values()}
    seen = []
    for name in CLASSES:
        rgb = np.clip(np.array(EYES[eyes]) @ linear(hues[class_colour(name)][shade]), 0, 1)
        back = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
        seen.append(color.rgb2lab(back.reshape(1, 1, 3)))
    for one, other in itertools.combinations(seen, 2):
        assert float(color.deltaE_ciede2000(one, other)[0, 0]) > 10


def test_classes_differ_in_dash_and_marker_too():
    lines = [class_line(name) for name in CLASSES]
    assert len({str(line["linestyle"]) for line in lines}) == 3
    assert len({line["marker"] for line in lines}) == 3


def drawn(label="normal"):
    with figure() as (drawing, (axes,)):
        axes.plot([0, 1], [1, 0], label=label, **class_line("normal"))
        axes.legend()
    return drawing


def test_svg_is_the_same_each_time_and_holds_no_date_or_address():
    text = svg(drawn(), "f1", "a line")
    assert text == svg(drawn(), "f1", "a line")
    assert "http" not in text
    assert "metadata" not in text
    assert not re.search(r"20\d\d-", text)


def test_svg_takes_the_page_s_colours_and_font():
    text = svg(drawn(), "f1", "a line")
    green = PALETTE["green"][0]
    assert f"stroke: var(--green, {green})" in text
    assert f"fill: var(--ink, {PALETTE['ink'][0]})" in text
    assert not re.search(r"(?:fill|stroke): " + green, text)
    assert "DejaVu" not in text


def test_ids_of_two_drawings_do_not_meet_and_all_references_are_met():
    one, two = (svg(drawn(), prefix, "a line") for prefix in ("f1", "f2"))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    assert not ids[0] & ids[1]
    for text, own in zip((one, two), ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) == own


def test_svg_escapes_labels_and_the_alternative_text():
    text = svg(drawn("<script>alert(1)</script>"), "f1", 'a "<b>" & more')
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert 'aria-label="a &quot;&lt;b&gt;&quot; &amp; more"' in text


def test_a_label_with_dollars_is_text_and_not_a_formula():
    assert "$\\frac{1}$" in svg(drawn(r"$\frac{1}$"), "f1", "a line")


def test_the_user_s_own_style_has_no_say_and_stays_as_it_is():
    plain = svg(drawn(), "f1", "a line")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert svg(drawn(), "f1", "a line") == plain
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
def test_a_picture_comes_back_as_it_went_in(shape):
    film = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(picture_of(picture_uri(film)), film)


@pytest.mark.parametrize(("shape", "size"), [((2000, 1000), (512, 256)), ((4, 9000), (1, 512))])
def test_a_large_picture_is_shrunk_in_proportion(shape, size):
    film = np.full(shape, 77, np.uint8)
    small = picture_of(picture_uri(film, longest=512))
    assert small.shape == size
    assert (small == 77).all()


@pytest.mark.parametrize("film", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8)])
def test_other_arrays_are_refused(film):
    with pytest.raises(ValueError, match="a picture is"):
        picture_uri(film)
