"""The spool: what it promises at every moment, and what it says when the disk is full."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cxrlens.errors import OutputError
from cxrlens.pacs.node import ENDS, CrashCounts
from cxrlens.pacs.spool import Spool, key_of

LIFE = Path(__file__).with_name("dicom_life.py")
KEY = key_of("1.2.3")


def live(folder: Path, killed_at: int) -> int:
    command = [sys.executable, "-S", str(LIFE), str(folder), str(killed_at)]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=places, check=False).returncode


def places_of(spool: Path) -> set[str]:
    found = {place for place in ("waiting", "failed") if (spool / place / f"{KEY}.dcm").exists()}
    found |= {"results"} if (spool / "results" / KEY).exists() else set()
    return found | ({"done"} if (spool / "done" / f"{KEY}.json").exists() else set())


def survives(root: Path, moment: int) -> int:
    """Kill at a moment, look, start again, look; gives how the first process ended."""
    folder = root / str(moment)
    (folder / "server").mkdir(parents=True)
    ended = live(folder, moment)
    if (folder / "acknowledged").exists():
        assert places_of(folder / "spool"), f"lost at {moment}"
    assert live(folder, 0) == 0
    delivered = {p.name: p.read_bytes() for p in (folder / "server").iterdir()}
    assert delivered == {f"{KEY} 1-capture.dcm": b"capture", f"{KEY} 2-report.dcm": b"report"}
    assert places_of(folder / "spool") == {"done"}
    receipt = json.loads((folder / "spool" / "done" / f"{KEY}.json").read_bytes())
    assert receipt == {"made": "2026-11-26T12:00:00", "to": "server"}
    assert not list((folder / "spool" / "incoming").iterdir())
    return ended


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    moments = range(1, 81)
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda moment: survives(tmp_path, moment), moments))
    # The first processes are killed ever later in their lives; the last ones live to the end.
    killed = ends.count(-signal.SIGKILL)
    assert 30 < killed < len(ends)
    assert ends == [-signal.SIGKILL] * killed + [0] * (len(ends) - killed)


def test_one_spool_is_one_node_s(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)), pytest.raises(OutputError, match="in use by another node"):
        Spool(tmp_path)
    Spool(tmp_path).close()


def test_a_folder_of_other_files_is_no_spool(tmp_path: Path) -> None:
    theirs = tmp_path / "incoming" / "film.dcm"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    (tmp_path / "lock").write_text("of another program")
    with pytest.raises(OutputError, match="holds incoming and is no spool"):
        Spool(tmp_path)
    assert theirs.read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["incoming", "lock"]


def test_the_rooms_of_a_spool_are_its_owner_s_whatever_they_were(tmp_path: Path) -> None:
    Spool(tmp_path).close()
    for room in ("waiting", "failed"):
        (tmp_path / room).chmod(0o755)
    Spool(tmp_path).close()
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir() if p.is_dir()} == {0o700}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path, reserve=0)) as spool:
        yield spool


def test_a_film_that_comes_twice_waits_once(spool: Spool, tmp_path: Path) -> None:
    spool.receive(KEY, b"film")
    spool.receive(KEY, b"film")
    assert [film.stem for film in spool.films(16)] == [KEY]
    assert (tmp_path / "waiting" / f"{KEY}.dcm").stat().st_mode & 0o077 == 0
    assert tmp_path.joinpath("waiting").stat().st_mode & 0o077 == 0


def test_a_film_without_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    no_room = pytest.raises(OutputError, match="no room for another film")
    with closing(Spool(tmp_path, reserve=2**60)) as spool, no_room:
        spool.receive(KEY, b"film")
    assert not list((tmp_path / "incoming").iterdir())
    assert not list((tmp_path / "waiting").iterdir())


def test_a_disk_that_fills_while_results_are_written_keeps_the_film(
    spool: Spool, tmp_path: Path
) -> None:
    spool.receive(KEY, b"film")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match="could not be written"):
            spool.keep_results(KEY, {"1-capture.dcm": bytes(2000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert places_of(tmp_path) == {"waiting"}
    assert not list((tmp_path / "incoming").iterdir())
    spool.keep_results(KEY, {"1-capture.dcm": bytes(2000)}, {})
    assert places_of(tmp_path) == {"results"}


def test_a_failure_has_its_sentence_beside_it_and_is_forgotten_when_it_succeeds(
    spool: Spool,
    tmp_path: Path,
) -> None:
    spool.receive(KEY, b"film")
    spool.put_aside(*spool.films(1), "the film is a CT slice")
    assert places_of(tmp_path) == {"failed"}
    assert (tmp_path / "failed" / f"{KEY}.txt").read_text() == "the film is a CT slice\n"
    assert spool.counts() == {"waiting": 0, "results": 0, "failed": 1}
    spool.receive(KEY, b"film")
    spool.keep_results(KEY, {"1-capture.dcm": b""}, {})
    assert spool.counts() == {"waiting": 0, "results": 1, "failed": 0}


def test_receipts_are_forgotten_after_their_time(spool: Spool, tmp_path: Path) -> None:
    for name, days in (("old", 40), ("young", 2)):
        path = tmp_path / "done" / f"{name}.json"
        path.write_text("{}")
        then = path.stat().st_mtime - days * 86400
        os.utime(path, (then, then))
    assert spool.forget_receipts(30) == 1
    assert [path.stem for path in (tmp_path / "done").iterdir()] == ["young"]


def test_a_film_that_ends_the_program_is_given_up_in_the_end(tmp_path: Path) -> None:
    CrashCounts(tmp_path).begin(
        ["bad", "good"]
    )  # and the program ends: one of both may have done it
    assert CrashCounts(tmp_path).suspects() == {"bad", "good"}
    for _ in range(ENDS):
        crashes = CrashCounts(tmp_path)
        assert not crashes.is_hopeless("bad")
        crashes.begin(["good"])
        crashes.end(["good"])
        crashes.begin(["bad"])
    crashes = CrashCounts(tmp_path)
    assert crashes.is_hopeless("bad")
    crashes.begin(["bad"])
    crashes.end(["bad"])
    assert CrashCounts(tmp_path).suspects() == set()
