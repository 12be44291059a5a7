import os
from pathlib import Path

import pytest

from cxrlens.errors import OutputError
from cxrlens.writing import moved_into_place, refuse_existing, refuse_filled, write_text


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
    with pytest.raises(OutputError, match="could not be written"):
        write_text(tmp_path / "a" / "b.txt", "x")


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
