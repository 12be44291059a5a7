"""One small model that the tests of the server share."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.evaluation.card import ModelCard, card_of
from cxrlens.prediction import Predictor
from cxrlens.runs import Run


@pytest.fixture(scope="session")
def predictor(small_run: Run) -> Predictor:
    return Predictor.load(small_run.path)


@pytest.fixture(scope="session")
def card(small_run: Run) -> ModelCard:
    return card_of(small_run)


@pytest.fixture(scope="session")
def film(phantoms: Collection) -> bytes:
    """A drawn film, as a file's bytes."""
    return Path(phantoms.films["image"].iloc[0]).read_bytes()


@pytest.fixture(scope="module")
def client(predictor: Predictor, card: ModelCard) -> Iterator[httpx.Client]:
    """A client of a real server without a token."""
    from cxrlens.serving.api import create_app
    from tests.serving.live_server import live

    with live(create_app(predictor, card)) as address, httpx.Client(base_url=address) as client:
        yield client
