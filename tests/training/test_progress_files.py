from pathlib import Path

import pytest
import torch

from cxrlens.errors import RunError
from cxrlens.training.module import SafetensorsCheckpoints


def test_a_checkpoint_comes_back_as_it_went(tmp_path: Path) -> None:
    checkpoint = {
        "epoch": 3,
        "global_step": 9,
        "lr_schedulers": [],
        "loops": {},
        "state_dict": {
            "a": torch.arange(6.0).view(2, 3),
            "bf16": torch.ones(2, dtype=torch.bfloat16),
        },
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(7.0)}, 1: {}}, "betas": (0.9, 0.999)}
        ],
        "callbacks": {"EarlyStopping{'mode': 'max'}": {"best": torch.tensor(0.5), "none": None}},
        "tensor": "a key called tensor",
        "infinite": float("inf"),
    }
    files = SafetensorsCheckpoints()
    files.save_checkpoint(checkpoint, tmp_path / "deep" / "last.safetensors")
    back = files.load_checkpoint(tmp_path / "deep" / "last.safetensors")
    assert torch.equal(back["state_dict"]["a"], checkpoint["state_dict"]["a"])  # type: ignore[index]
    assert back["state_dict"]["bf16"].dtype == torch.bfloat16
    assert back["optimizer_states"][0]["state"].keys() == {0, 1}
    assert back["optimizer_states"][0]["betas"] == (0.9, 0.999)
    assert back["callbacks"]["EarlyStopping{'mode': 'max'}"]["none"] is None
    assert (back["epoch"], back["tensor"], back["infinite"]) == (
        3,
        "a key called tensor",
        float("inf"),
    )


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x04N."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="no training progress"):
        SafetensorsCheckpoints().load_checkpoint(tmp_path / "last.safetensors")


def test_a_changed_checkpoint_is_refused(tmp_path: Path) -> None:
    files, path = SafetensorsCheckpoints(), tmp_path / "last.safetensors"
    parts = {"optimizer_states": [], "lr_schedulers": [], "loops": {}, "callbacks": {}}
    files.save_checkpoint(
        {"epoch": 3, "global_step": 9, "state_dict": {"a": torch.ones(4)}, **parts}, path
    )
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"was changed since .*new folder"):
        files.load_checkpoint(path)
    files.save_checkpoint({"epoch": "three", "global_step": 9, "state_dict": {}, **parts}, path)
    with pytest.raises(RunError, match="damaged at epoch"):
        files.load_checkpoint(path)
