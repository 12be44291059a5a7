"""A method of explanation is one entry: registered once, it is in the help, the API and on the page."""

import shutil
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation import METHODS
from cxrlens.explanation.method import Answer, Method, Question
from cxrlens.prediction import Predictor
from cxrlens.serving.api import create_app
from tests.serving.live_server import live

CHROMIUM = shutil.which("chromium")


def centre(question: Question) -> Answer:
    values = np.zeros(question.pixels.shape, np.float32)
    values[len(values) // 2] = 1
    return Answer(values, note="the middle row, whatever the film")


@pytest.fixture
def throw_away(monkeypatch: pytest.MonkeyPatch) -> Method:
    method = Method(
        name="middle-row",
        title="Middle row",
        about="the middle row, for a test",
        needs="scores",
        quick=True,
        signed=False,
        explain=centre,
    )
    monkeypatch.setitem(METHODS, method.name, method)
    return method


@pytest.fixture
def address(throw_away: Method, predictor: Predictor, card: ModelCard) -> Iterator[str]:
    with live(create_app(predictor, card)) as address:
        yield address


def test_the_command_line_s_help_has_it(throw_away: Method) -> None:
    said = CliRunner().invoke(app, ["explain", "--help"], env={"COLUMNS": "400"}).output
    assert throw_away.name in said
    assert throw_away.about in said


def test_the_api_has_it(throw_away: Method, address: str, film: bytes) -> None:
    with httpx.Client(base_url=address, timeout=60) as client:
        form = client.get("/openapi.json").json()["paths"]["/explain"]["post"]["requestBody"]
        schema = form["content"]["multipart/form-data"]["schema"]["properties"]["method"]
        assert throw_away.name in schema["enum"]
        assert throw_away.about in schema["description"]
        told = client.get("/abilities").json()
        assert throw_away.name in told["methods"]
        assert throw_away.name not in told["slow"]
        data = {"method": throw_away.name}
        answer = client.post("/explain", files={"film": film}, data=data).json()
        assert (answer["method"], answer["note"]) == (
            throw_away.name,
            "the middle row, whatever the film",
        )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
def test_the_page_has_it(throw_away: Method, address: str, film: bytes) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        quiet = "--no-sandbox --disable-gpu --disable-quic --no-first-run"
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*quiet.split(), "--disable-background-networking"]
        )
        page = browser.new_page()
        page.goto(address)
        page.set_input_files(
            "#files", {"name": "film.png", "mimeType": "image/png", "buffer": film}
        )
        page.locator("#methods label", has_text=throw_away.title).click()
        sync_api.expect(page.locator("#heat-words")).to_contain_text(
            "the middle row, whatever the film"
        )
        browser.close()
