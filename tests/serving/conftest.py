"""One small model that the tests of the server share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.evaluation.card import ModelCard, card_of
from cxrlens.prediction import Predictor
from cxrlens.prediction.calibration import Measures, fit_numbers
from cxrlens.prediction.trust import Trust
from cxrlens.runs import Run


@pytest.fixture(scope="session")
def predictor(small_run: Run) -> Predictor:
    return Predictor.load(small_run.path)


@pytest.fixture(scope="session")
def counted(predictor: Predictor) -> Predictor:
    """The same with numbers and curves, of 150 drawn scores of 75 patients."""
    random, labels = np.random.default_rng(0), np.arange(150) % 3
    z = random.normal(0, 2, (150, 2)) + 2 * (labels[:, None] == [1, 2])
    numbers = fit_numbers(Measures(z), labels, False, np.arange(150) // 2)
    assert numbers is not None
    return replace(predictor, trust=Trust(tuple(predictor.classes), numbers))


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

    with (
        live(create_app(predictor, card)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client
