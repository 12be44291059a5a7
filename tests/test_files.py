import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrlens.errors import OutputError
from cxrlens.files import (
    lock,
    moved_into_place,
    private_folder,
    refuse_existing,
    refuse_filled,
    try_lock,
    write_text,
)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with pytest.raises(KeyError), moved_into_place(target) as draft:
        draft.write_text("half")
        raise KeyError
    assert not target.exists()
    assert list(target.parent.iterdir()) == []


def test_an_old_file_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(KeyError), moved_into_place(target) as draft:
        draft.write_text("half")
        raise KeyError
    assert target.read_text() == "old"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "set"
    for content in ("one", "two"):
        with moved_into_place(target) as draft:
            draft.mkdir()
            (draft / "a").write_text(content)
    assert (target / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_existing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputError, match=r"a exists already.*--force"):
        refuse_existing(tmp_path / "a")
    refuse_existing(tmp_path / "a", force=True)
    (tmp_path / "empty").mkdir()
    refuse_filled(tmp_path / "empty")


def test_a_path_through_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputError, match=r"could not be written: a part of its path is a file"):
        write_text(tmp_path / "a" / "b.txt", "x")
    for force in (False, True):
        with pytest.raises(
            OutputError, match=r"a could not be written: a part of its path is a file"
        ):
            refuse_filled(tmp_path / "a", force)


@pytest.mark.parametrize("refuse", [refuse_existing, refuse_filled])
def test_a_place_that_cannot_be_written_is_refused_beforehand(
    refuse: Callable[[Path, bool], None], tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("mine")
    for place in (tmp_path / "a" / "b.csv", Path("/proc/nope/x.csv")):
        with pytest.raises(OutputError, match=f"{place} could not be written"):
            refuse(place, True)
    refuse(tmp_path / "not" / "yet" / "there.csv", True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(OutputError, match="the disk is full"),
        moved_into_place(tmp_path / "a") as d,
    ):
        os.symlink("/dev/full", d)
        d.write_text("x" * 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="you may not write there"):
            write_text(tmp_path / "a", "x")
    finally:
        tmp_path.chmod(0o700)


def killed_while_writing(target: Path, before: str) -> None:
    """Let another process write `target` and kill itself at the line `before`."""
    script = (
        "import os, sys, pathlib, cxrlens.files as w\n"
        "target = pathlib.Path(sys.argv[1])\n"
        "replace = os.replace\n"
        "def watched(a, b):\n"
        "    if sys.argv[2] == 'put in place' and pathlib.Path(b) == target: os._exit(9)\n"
        "    return replace(a, b)\n"
        "w.os.replace = watched\n"
        "with w.moved_into_place(target) as draft:\n"
        "    draft.mkdir(); (draft / 'a').write_text('new')\n"
        "    if sys.argv[2] == 'written': os._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(target), before], check=False)
    assert ended.returncode == 9


def test_what_a_killed_process_left_is_swept_at_the_next_write(tmp_path: Path) -> None:
    killed_while_writing(tmp_path / "bundle", "written")
    assert len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "other.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_what_was_left_before_it_was_locked_is_swept_too(tmp_path: Path) -> None:
    (tmp_path / ".cxrlens-abcdefgh").mkdir()
    write_text(tmp_path / "other.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_folder_that_was_being_replaced_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "a").write_text("old")
    killed_while_writing(target, "put in place")
    assert not target.exists()
    write_text(tmp_path / "other.txt", "x")
    assert (target / "a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "other.txt"]


def test_a_folder_that_was_put_aside_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "a").write_text("old")
    script = (
        "import os, sys, pathlib, cxrlens.files as w\n"
        "with w.put_aside(pathlib.Path(sys.argv[1])): os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)], check=False).returncode == 9
    assert not target.exists()
    write_text(tmp_path / "other.txt", "x")
    assert (target / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "run"]


def test_what_is_being_written_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    stranger = tmp_path / ".mine.abcdefgh"
    stranger.mkdir()
    with moved_into_place(tmp_path / "a") as draft:
        draft.write_text("a")
        script = (
            "import sys, pathlib, cxrlens.files as w; w.write_text(pathlib.Path(sys.argv[1]), 'b')"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], check=True)
    assert (tmp_path / "a").read_text() == "a"
    assert (tmp_path / "b").read_text() == "b"
    assert stranger.is_dir()


def test_a_private_file_and_folder_are_the_owners_alone(tmp_path: Path) -> None:
    with moved_into_place(tmp_path / "a", private=True) as draft:
        draft.write_text("x")
    private_folder(tmp_path / "deep" / "own")
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    assert (tmp_path / "deep" / "own").stat().st_mode & 0o077 == 0


HOLD = """
import sys, time
from pathlib import Path
from cxrlens.files import lock
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
