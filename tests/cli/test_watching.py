"""Training as it is watched: a line an epoch in a log, and a bar below the lines in a terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlens.cli import terminal as say
from cxrlens.collections.collection import Collection
from cxrlens.progress import Epoch
from cxrlens.runs import Run

SMALL = (
    *("--set", "side=64", "--set", "model.blocks=[8]", "--set", "model.width=8"),
    *("--set", "training.batch=8", "--set", "training.precision=float32"),
)
LINE = (
    r"epoch (\d) of at most 3: training loss \d\.\d{3}, accuracy \d+\.\d\s%; "
    r"validation loss \d\.\d{3}, accuracy \d+\.\d\s%; \d+(\.\d)? s(, at most \d+(\.\d)? (s|min) left)?"
)


@pytest.mark.slow
def test_a_log_gets_a_plain_line_an_epoch(phantoms: Collection, tmp_path: Path) -> None:
    films = phantoms.write(tmp_path / "films.csv")
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "cxrlens", "train", "resnet-focal", str(films)]
        command += ["-o", str(tmp_path / "run"), *SMALL, "--set", "training.max_epochs=3"]
        command += ["--cache", str(tmp_path / "cache")]
        subprocess.run(command, stderr=file, stdout=subprocess.DEVNULL, check=True)
    said = log.read_text()
    lines = [re.fullmatch(LINE, line) for line in said.splitlines()]
    assert [line[1] for line in lines if line] == ["1", "2", "3"]
    assert not re.search(r"[\r\x1b]", said)
    assert len(said) < 1000
    assert re.search(r"^train batches: \d+$", said, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_a_terminal_shows_one_bar_below_the_lines() -> None:
    program = (
        "from cxrlens.cli.terminal import stages\n"
        "with stages() as bars:\n"
        "    for batch in range(1, 20_001):\n"
        "        bars('train batches', batch, 20_000)\n"
        "    bars('predict test', 1, 2)\n"
    )
    ours, theirs = os.openpty()
    child = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait() == 0
    assert b"train batches: 20000" in shown
    assert b"predict test" in shown
    assert len(shown) < 20_000


def test_an_epoch_of_a_member_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        f"{part}_{what}": 0.5 for part in ("train", "validation") for what in ("loss", "accuracy")
    }
    say.say_epoch(Epoch(2, 9, False, {**row, "seconds": 60.0}, 420.0, "trial 3: fold-1"))
    said = capsys.readouterr().err
    assert said.startswith("trial 3: fold-1: epoch 2 of 9: ")
    assert said.rstrip().endswith("; 60 s, about 7 min left")


@pytest.mark.slow
def test_epochs_are_curves_in_tensorboard_member_by_member(
    phantoms: Collection, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    films = phantoms.write(tmp_path / "films.csv")
    command = [sys.executable, "-m", "cxrlens", "train", "resnet-focal", str(films), *SMALL]
    command += ["--set", "training.max_epochs=2", "--folds", "2", "--log", "tensorboard"]
    command += ["-o", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    folders = {path.parent for path in (tmp_path / "run" / "tensorboard").rglob("events*")}
    assert len(folders) == 2
    for folder, member in zip(
        sorted(folders), sorted(Run(tmp_path / "run").members()), strict=True
    ):
        assert folder.name == member
        held = EventAccumulator(str(folder)).Reload()
        history = Run(tmp_path / "run" / "members" / member).history()
        for name in ("loss/train", "loss/validation", "accuracy/train", "accuracy/validation"):
            figure, _, part = name.partition("/")
            assert [one.step for one in held.Scalars(name)] == [1, 2]
            told = [one.value for one in held.Scalars(name)]
            assert told == pytest.approx(history[f"{part}_{figure}"].tolist(), rel=1e-5)
