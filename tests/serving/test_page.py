"""The page in a real browser, from the film dropped on it to the printed report, without a network."""

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.prediction import Prediction, Predictor
from cxrlens.progress import Progress
from cxrlens.serving.api import create_app, page_files
from tests.radiographs.dicom_films import native
from tests.serving.live_server import live

CHROMIUM = shutil.which("chromium")
STATIC = page_files()
NOTICE = {
    "en": "Research use only: not a medical device, not a diagnosis.",
    "es": "Solo para investigación: no es un producto sanitario ni un diagnóstico.",
}
TOKEN = "a-token-of-some-length"

LONG = 60_000
"""Milliseconds that a machine may take which others keep busy."""

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
Page = sync_api.Page
expect = sync_api.expect
expect.set_options(timeout=LONG)


def test_nothing_comes_from_outside_and_nothing_stands_inline() -> None:
    for name, (content, _) in STATIC.items():
        text = content.decode()
        plain = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", plain), name
        assert "innerHTML" not in text
        if name.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text), name


def test_the_palette_is_the_reports() -> None:
    from matplotlib import colormaps

    stops = re.findall(r"0x([0-9a-f]{6})", STATIC["palette.js"][0].decode())
    assert len(stops) == 17
    for place, stop in enumerate(stops):
        expected = [round(255 * part) for part in colormaps["inferno"](place / 16)[:3]]
        assert list(bytes.fromhex(stop)) == expected


@pytest.fixture(scope="module")
def films(phantoms: Collection, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A PNG with markup in its name, a DICOM file, and one that is broken."""
    folder = tmp_path_factory.mktemp("films")
    grey = cv2.imread(phantoms.films["image"].iloc[0], cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    films = [folder / "<img src=x onerror=alert(1)>.png", folder / "b.dcm", folder / "broken.png"]
    cv2.imwrite(str(films[0]), np.ascontiguousarray(cv2.resize(grey, (300, 400))))
    films[1].write_bytes(native(grey.astype(np.uint16) * 16, 12))
    films[2].write_bytes(b"broken")
    return films


@pytest.fixture(scope="module")
def browser() -> "Iterator[sync_api.Browser]":
    quiet = "--no-sandbox --disable-gpu --disable-quic --no-first-run"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*quiet.split(), "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(
    browser: "sync_api.Browser", predictor: Predictor, card: ModelCard
) -> "Iterator[sync_api.Page]":
    """The page, opened; it fails the test if the page threw or asked anybody but the server."""
    with live(create_app(predictor, card)) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "blob:", "data:"))
                else faults.append(request.url)
            ),
        )
        page.goto(address)
        expect(page.locator("#model dl")).to_be_visible(timeout=LONG)
        yield page
        page.close()
    assert faults == []


def give(page: "sync_api.Page", films: list[Path]) -> None:
    page.set_input_files("#files", [str(film) for film in films])
    for row in page.locator("#films li").all():
        expect(row).not_to_have_class(re.compile("busy"))


def whole_card(page: "sync_api.Page") -> str:
    """The file that the trust card's button saves."""
    with page.expect_download() as saved:
        page.click("#card-save")
    assert saved.value.suggested_filename == "trust-card.html"
    return Path(saved.value.path()).read_text()


def shade(page: "sync_api.Page") -> float:
    """Mean brightness of the film as it stands on the screen."""
    data = page.locator(".viewport canvas").first.screenshot()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    height, width = pixels.shape
    return float(pixels[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3].mean())


@in_browser
def test_from_the_film_to_the_report(page: "sync_api.Page", films: list[Path]) -> None:
    expect(page.get_by_text("Drop chest radiographs here")).to_be_visible()
    give(page, films)
    expect(page.locator(".corner.name").first).to_contain_text("<img src=x onerror=alert(1)>.png")
    expect(page.locator("#answer .headline")).to_contain_text("Suggests")
    meters = page.locator(".bars.shares [role=meter]").all()
    shares = [float(one.get_attribute("aria-valuenow") or "") for one in meters]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    page.click("#whatif summary")
    expect(page.locator("#whatif-none")).to_contain_text("brings no curve of its thresholds")
    expect(page.locator("#whatif-at")).to_be_hidden()
    expect(page.locator("#heat")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#quality")).to_contain_text("Nothing was repaired")
    page.click("#card")
    expect(page.locator("#card-dialog")).to_contain_text("Macro AUC")
    assert "CLAIM 2024" in whole_card(page)
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator("li.fault")).to_have_count(1)

    plain = shade(page)
    page.keyboard.press("i")
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)
    assert shade(page) == pytest.approx(255 - plain, abs=40)
    page.keyboard.press("r")

    box = page.locator(".viewport").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.wheel(0, -400)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 260)
    page.mouse.up()
    expect(page.locator(".corner.view").first).to_contain_text("W 155  L 104")
    page.mouse.dblclick(box["x"] + 300, box["y"] + 300)
    expect(page.locator(".corner.view").first).to_contain_text("W 255  L 128")

    page.keyboard.press("3")
    expect(page.locator("#live")).to_have_text("Grad-CAM map for tuberculosis is shown")
    page.keyboard.press("b")
    expect(page.locator(".corner.size").first).to_contain_text("model’s view, 64 × 64")
    with page.expect_response("**/explain"):
        page.keyboard.press("j")
    expect(page.locator(".corner.name").first).to_contain_text("b.dcm")
    page.keyboard.press("c")
    expect(page.locator(".viewport")).to_have_count(2)

    page.keyboard.press("c")
    report = page.locator("#report .sheet")
    for _ in range(50):  # the map may still be on its way from the answer to the screen
        page.pdf()
        if report.locator("img").count() == 2:
            break
        page.wait_for_timeout(100)
    expect(report).to_have_count(1)
    expect(report).to_contain_text(NOTICE["en"])
    expect(report.locator("img")).to_have_count(2)


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("width", [390, 820, 1680])
def test_axe_finds_nothing(page: "sync_api.Page", films: list[Path], width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 844})
    found = [Axe().run(page)]
    give(page, films)
    page.click("#heat")
    found.append(Axe().run(page))
    if width == 1680:
        page.locator("#films button.thumb").last.click()
        page.click("#card")
        found.append(Axe().run(page))
        page.keyboard.press("Escape")
        page.click("#list")
        found.append(Axe().run(page))
        page.click("#list")
        page.click("#compare")
        found.append(Axe().run(page))
        page.click("#keys")
        found.append(Axe().run(page))
    assert [one.generate_report() for one in found if one.violations_count] == []
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= width


@pytest.mark.slow
@in_browser
def test_all_is_done_with_the_keyboard_alone(page: "sync_api.Page", films: list[Path]) -> None:
    give(page, films)
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const shown = at.matches(".sr") ? at.closest("label") : at;
                    return `${at.id || at.name || at.className} ${getComputedStyle(shown).outlineStyle}`;
                }"""
            )
        )
    names = {one.rpartition(" ")[0] for one in reached}
    wanted = {
        "open",
        "tool",
        "invert",
        "reset",
        "heat",
        "seen",
        "compare",
        "list",
        "card",
        "print",
        "keys",
        "language",
        "thumb",
    }
    assert wanted | {"add", "viewport", "method", "target", "opacity"} <= names
    assert {one for one in reached if one.endswith(" none")} <= {"has-films none"}  # the body
    page.locator(".viewport").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.locator(".corner.view")).to_contain_text("W 263  L 124")
    page.keyboard.press("?")
    page.get_by_label("Single keys work everywhere on the page").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
@in_browser
def test_a_slow_map_shows_how_far_it_is_and_can_be_given_up(
    browser: "sync_api.Browser",
    predictor: Predictor,
    card: ModelCard,
    films: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, real = threading.Semaphore(0), Prediction.explain

    def explain(
        prediction: Prediction,
        method: str,
        target: str,
        progress: Progress | None = None,
    ) -> HeatMap:
        def watched(done: int, of: int) -> None:
            if progress:
                progress(done, of)
                assert steps.acquire(timeout=LONG / 1000)

        return real(prediction, method, target, progress=watched)

    monkeypatch.setattr(Prediction, "explain", explain)
    with live(create_app(predictor, card)) as address:
        page = browser.new_page()
        page.goto(address)
        give(page, films[:1])
        page.locator("#methods label", has_text="LIME").click()
        told = re.compile(r"LIME for \w+: [1-9]")
        expect(page.locator("#job-words")).to_contain_text(told)
        page.click("#cancel")
        expect(page.locator("#job")).to_be_hidden(timeout=LONG)
        expect(page.locator("#live")).to_have_text("LIME was given up")
        steps.release(10_000)
        page.locator("#methods label", has_text=re.compile("^Occlusion")).click()
        expect(page.locator("#live")).to_contain_text("Occlusion map for")
        expect(page.locator("#heat-words")).to_contain_text("Blue speaks for the class")
        page.close()


@pytest.mark.slow
@in_browser
def test_another_threshold_says_what_it_would_find_and_sets_nothing(
    browser: "sync_api.Browser", counted: Predictor, card: ModelCard, films: list[Path]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    curve = counted.trust.curves["tuberculosis"]
    with live(create_app(counted, card)) as address:
        page = browser.new_page()
        page.goto(address)
        give(page, films[:1])
        page.click("#whatif summary")
        for width in (390, 820, 1400):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_timeout(300)
            assert not page.evaluate(_CROWDED)
            assert Axe().run(page).violations_count == 0
        page.locator("#whatif-diseases label", has_text="Tuberculosis").click()
        expect(page.locator("#whatif-own")).to_be_disabled()
        headline = page.locator("#answer .headline").text_content() or ""
        page.locator("#whatif-at").press("Home")
        found, spared = curve.sensitivities[0], curve.specificities[0]
        for rate in (found, spared):
            told = f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})"
            expect(page.locator("#whatif-rates")).to_contain_text(told)
        for name, text in (("aria-valuetext", "tuberculosis from"), ("aria-valuetext", "Sens")):
            expect(page.locator("#whatif-at")).to_have_attribute(name, re.compile(text))
        (answer,) = counted.predict_many([films[0]])
        assert isinstance(answer, Prediction)
        would = answer.what_if()["tuberculosis"]
        assert len({*would}) > 1
        for key, place in (("Home", 0), ("End", -1)):
            page.locator("#whatif-at").press(key)
            expect(page.locator("#whatif-film")).to_contain_text(
                {"unsure": "not sure"}.get(would[place], would[place])
            )
        expect(page.locator("#answer .headline")).to_have_text(headline)
        words = f"Counted, with 95 % intervals, on {curve.films} films with tuberculosis"
        expect(page.locator("#whatif-words")).to_contain_text(words)
        page.click("#whatif-own")
        own = counted.trust.thresholds["tuberculosis"]
        expect(page.locator("#whatif-score")).to_have_text(f"{own:.0f}")
        page.select_option("#language", "es")
        expect(page.locator("#whatif-words")).to_contain_text("Solo una suposición")
        page.close()


@pytest.mark.slow
@in_browser
def test_the_token_is_asked_for_once(
    browser: "sync_api.Browser", predictor: Predictor, card: ModelCard, films: list[Path]
) -> None:
    with live(create_app(predictor, card, token=TOKEN)) as address:
        page = browser.new_page()
        page.goto(address)
        page.get_by_label("Token", exact=True).fill("a wrong one")
        page.keyboard.press("Enter")
        expect(page.locator("#token-fault")).to_have_text("That was not the token.")
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#model dl")).to_be_visible()
        give(page, films[:2])
        expect(page.locator(".bars.shares [role=meter]")).to_have_count(3)
        page.reload()
        expect(page.locator("#model dl")).to_be_visible()
        expect(page.locator("#token-dialog")).to_be_hidden()
        page.click("#card")
        assert "CLAIM 2024" in whole_card(page)
        page.close()


@pytest.mark.slow
@in_browser
def test_the_description_of_the_api_is_readable(page: "sync_api.Page") -> None:
    page.goto(page.url + "docs")
    expect(page.get_by_role("heading", name="/predict")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text("probabilities")


_CROWDED = """() => {
    const shown = [...document.querySelectorAll(".tools .tool")].filter((one) => one.offsetParent);
    const boxes = shown.map((one) => one.getBoundingClientRect());
    const between = (a, b, low, high) => a[low] < b[high] - 1 && b[low] < a[high] - 1;
    const over = (a, b) => between(a, b, "left", "right") && between(a, b, "top", "bottom");
    const faults = shown.filter((_, i) => boxes.slice(i + 1).some((box) => over(boxes[i], box)));
    const width = (one) => one.querySelector("span").getBoundingClientRect().width;
    faults.push(...shown.filter((one) => width(one) < 10));
    const verdicts = [...document.querySelectorAll(".strip .verdict")];
    faults.push(...verdicts.filter((one) => one.scrollWidth > one.clientWidth));
    return faults.map((one) => one.textContent);
}"""
"""Tools that cover each other or have no words, and answers in the strip that are cut off."""


@pytest.mark.slow
@in_browser
def test_narrow_windows_cut_and_cover_nothing_and_the_print_has_no_empty_page(
    page: "sync_api.Page", films: list[Path]
) -> None:
    give(page, films[:1])
    for width in (390, 820, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        faults = page.evaluate(_CROWDED)
        assert not faults, (width, faults)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 1
    expect(page.locator("#report")).to_contain_text("The probabilities were not fitted")


_SAY = """(said) => {
    const real = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        if (!path.startsWith("/predict")) return answer;
        const told = await answer.json();
        Object.assign(told.films[0], said);
        return new Response(JSON.stringify(told));
    };
}"""
"""Puts words into the server's mouth: what it says of a film, of whatever it is asked next."""


@pytest.mark.slow
@in_browser
def test_the_answer_is_a_sentence_and_one_that_is_withheld_shows_nothing_else(
    page: "sync_api.Page", films: list[Path]
) -> None:
    said: dict[str, object] = {"predicted": "tuberculosis", "reason": ""}
    said |= {"scores": {"pneumonia": 3.2, "tuberculosis": 86.6}}
    said |= {"thresholds": {"pneumonia": 50.0, "tuberculosis": 42.0}}

    page.evaluate(_SAY, said)
    give(page, films[:1])
    headline = page.locator("#answer .headline")
    expect(headline).to_have_text("Suggests tuberculosis: score 87; the model’s threshold is 42.")
    expect(page.locator(".bars.scores [role=meter]")).to_have_count(2)
    expect(page.locator(".strip .verdict")).to_have_text("tuberculosis 87")

    page.evaluate(_SAY, said | {"predicted": "unsure", "reason": "age"})
    give(page, films[1:2])
    page.keyboard.press("j")
    expect(headline).to_have_text(
        "Not sure: the model has learnt its answer from older patients only."
    )
    expect(page.locator("#answer [role=meter]")).to_have_count(0)
    expect(page.locator("#answer")).not_to_contain_text("tuberculosis")
    expect(page.locator("#heat-words")).to_contain_text("no map is drawn")
    expect(page.locator(".strip .verdict").last).to_have_text("not sure: age")
    page.wait_for_function(  # the film's pixels come after its answer
        "() => { window.dispatchEvent(new Event('beforeprint'));"
        " return document.querySelector('#report').textContent.includes('Not sure'); }"
    )
    expect(page.locator("#report [role=meter]")).to_have_count(0)
    expect(page.locator("#report img")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_the_language_is_switched_while_films_are_there(
    page: "sync_api.Page", films: list[Path]
) -> None:
    page.goto(page.url + "?lang=es")
    expect(page.locator(".notice strong")).to_have_text(NOTICE["es"])
    give(page, films[:1])
    expect(page.locator("#answer .headline")).to_contain_text("Sugiere")
    card = page.locator("#card-body")
    expect(card).to_contain_text("radiografías están dibujadas por un programa")
    expect(card).to_contain_text("0,9 no significa que nueve de cada diez")
    page.select_option("#language", "en")
    expect(page.locator("#answer .headline")).to_contain_text("Suggests")
    expect(card).to_contain_text("films are drawn by a program")
    expect(card).to_contain_text("0.9 does not mean that nine of ten")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.url.endswith("?lang=en")
    page.goto(page.url.replace("lang=en", "lang=xx"))
    expect(page.locator("#toast")).to_contain_text("There is no language “xx” here")
    # A browser that tells no languages and keeps nothing.
    page.add_init_script("Object.defineProperty(navigator, 'languages', { get() {} })")
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no') } })"
    )
    page.goto(page.url.partition("?")[0])
    expect(page.locator("#model dl")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.slow
@in_browser
def test_many_films_are_a_list_that_is_sorted_and_saved(
    page: "sync_api.Page", films: list[Path], tmp_path: Path
) -> None:
    given = [tmp_path / f"{n}.png" for n in range(12)] + [films[2]]
    for place, copy in enumerate(given[:12]):
        shutil.copy(films[0], copy)
        if place == 3:
            copy.rename(tmp_path / "=3.png")
            given[place] = tmp_path / "=3.png"
    give(page, given)
    expect(page.locator("#counts")).to_have_text("13 of 13 read; could not be read: 1")
    expect(page.locator("#rows tr")).to_have_count(13)
    column = page.locator("#columns button").first
    column.click()
    expect(page.locator("#rows tr").first).to_contain_text("=3.png")
    column.click()
    expect(page.locator("#rows tr").first).to_contain_text("broken.png")
    expect(page.locator("#films .name").first).to_have_text("broken.png")
    with page.expect_download() as saved:
        page.click("#csv")
    table = pd.read_csv(saved.value.path(), keep_default_na=False)
    assert len(table) == 13
    assert table.columns[:2].tolist() == ["image", "predicted"]
    assert {"normal", "tuberculosis", "calibrated", "repairs", "digest"} <= {*table}
    assert (table["error"] != "").sum() == 1
    assert "./=3.png" in table["image"].tolist()
    page.pdf()
    report = page.locator("#report")
    expect(report.locator("tbody tr")).to_have_count(13)
    expect(report.locator("tbody tr").first).to_contain_text("broken.png")
    expect(report.locator("thead")).to_contain_text(NOTICE["en"])
    expect(report).to_contain_text("The probabilities were not fitted")
    page.locator("#rows button", has_text="11.png").click()
    expect(page.locator("#listing")).to_be_hidden()
    expect(page.locator(".corner.name").first).to_contain_text("11.png")
