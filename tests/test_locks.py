"""A lock is one process's, and ends with it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlens.errors import OutputError
from cxrlens.locks import lock, try_lock

HOLD = """
import sys, time
from pathlib import Path
from cxrlens.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_free_when_its_process_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "new" / "lock"
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert try_lock(place) is None
        other.send_signal(signal.SIGKILL)
        other.wait()
        held = try_lock(place)
        assert held is not None
        with held:
            assert try_lock(place) is None
        with lock(place):
            pass


def test_what_the_file_says_stays(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    place.write_text("a mark")
    with lock(place):
        pass
    assert place.read_text() == "a mark"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        lock(tmp_path / "file" / "lock")
