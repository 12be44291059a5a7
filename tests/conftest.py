"""Small drawn sets that the whole suite shares."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.combine import split
from cxrlens.phantoms import write_phantoms
from cxrlens.radiographs import resize

if TYPE_CHECKING:
    from cxrlens.runs import Run


@pytest.fixture(scope="session")
def phantom_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight drawn films of 64 pixels."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "set", 48, seed=3, side=64)


@pytest.fixture(scope="session")
def phantoms(phantom_table: Path) -> Collection:
    """The drawn films, split by patient."""
    return split(read_collection(phantom_table), seed=1)


@pytest.fixture(scope="session")
def small_run(phantoms: Collection, tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A finished run of a small residual network on the drawn films, with its report."""
    from cxrlens.main_job import train

    shape = ("side=64", "model.blocks=[8]", "model.width=8", "training.max_epochs=3")
    quick = ("training.batch=8", "training.learning_rate_high=0.01", "training.precision=float32")
    folder = tmp_path_factory.mktemp("small")
    return train(
        "resnet-focal", phantoms, folder / "run", settings=(*shape, *quick), cache=folder / "cache"
    )


@pytest.fixture(scope="session")
def small_bundle(small_run: "Run", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network's run as an exported bundle."""
    from cxrlens.export.bundle import export

    return export(small_run.path, tmp_path_factory.mktemp("exported") / "bundle").path


@pytest.fixture
def thin_films_break_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a step of every chain fail on films a thousand times as long as they are broad, on no other."""

    def broken(film: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        if max(film.shape) > 1000 * min(film.shape):
            raise ZeroDivisionError("secret")
        return resize(film, side)

    monkeypatch.setattr("cxrlens.quality.chain.resize", broken)
