import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.collections.collection import Collection
from cxrlens.errors import ModelError, RunError
from cxrlens.prediction import load
from cxrlens.runs.run import Run
from cxrlens.runs.saved import read_weights, write_weights

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "a.count": np.array(7, np.int64),
    "b": np.zeros(0, np.float16),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", TENSORS)
    again = read_weights(tmp_path / "w.safetensors")
    assert set(again) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert again[name].dtype == tensor.dtype
        assert np.array_equal(again[name], tensor)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, TENSORS)
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        try:
            again = read_weights(path)
        except RunError:
            continue
        # A bit of the header's own padding or of the key that held the digest changes no tensor.
        assert all(np.array_equal(again[name], TENSORS[name]) for name in TENSORS)


def test_earlier_files_without_a_digest_are_read_if_they_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"a": np.ones(3, np.float32)}))
    assert read_weights(path)["a"].tolist() == [1, 1, 1]
    path.write_bytes(save({"a": np.array([1, np.nan], np.float32)}))
    with pytest.raises(RunError, match="no finite number at a"):
        read_weights(path)


@pytest.fixture
def damaged(small_run: Run, tmp_path: Path) -> Path:
    """A run with forty flipped bits in its weights' numbers."""
    place = shutil.copytree(small_run.path, tmp_path / "run")
    data = bytearray((place / "weights.safetensors").read_bytes())
    random = np.random.default_rng(0)
    for at in random.integers(len(data) // 2, len(data), 40):
        data[at] ^= 1 << int(random.integers(8))
    (place / "weights.safetensors").write_bytes(data)
    return place


def test_a_run_with_flipped_bits_answers_nobody(damaged: Path, phantoms: Collection) -> None:
    film = phantoms.films["image"].iloc[0]
    with pytest.raises(RunError, match="its digest differs"):
        load(damaged)
    outcome = CliRunner().invoke(app, ["predict", film, "--model", str(damaged)])
    assert isinstance(outcome.exception, RunError)


def test_what_is_no_number_is_the_model_s_fault(small_run: Run, phantoms: Collection) -> None:
    predictor = load(small_run.path)
    network = predictor.network
    next(network.leaves[0].parameters()).data.fill_(float("nan"))  # type: ignore[attr-defined]
    films = phantoms.films["image"].tolist()
    with pytest.raises(ModelError, match="answers with what is no number"):
        predictor.predict(films[0])
    with pytest.raises(ModelError):
        list(predictor.predict_many(films))
    with pytest.raises(ModelError):
        predictor.probabilities(np.zeros((2, network.side, network.side), np.uint8))
