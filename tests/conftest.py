"""Small drawn sets that the whole suite shares."""

from pathlib import Path

import pytest

from cxrlens.collections.collection import Collection, read_collection
from cxrlens.collections.phantom import write_phantoms
from cxrlens.collections.splits import split


@pytest.fixture(scope="session")
def phantom_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight drawn films of 64 pixels."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "set", 48, seed=3, side=64)


@pytest.fixture(scope="session")
def phantoms(phantom_table: Path) -> Collection:
    """The drawn films, split by patient."""
    return split(read_collection(phantom_table), seed=1)
