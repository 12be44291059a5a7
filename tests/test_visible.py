"""What acts in a name is spelt out on its way to a terminal or a page; data keep it."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrlens.cli import OWN_FAULT
from cxrlens.cli import terminal as say
from cxrlens.errors import FilmError, visible
from cxrlens.reports.page import Page

ODD = "a\x1b[2J\u202egnp.exe\n\x85\ud800.png"
SPELT = r"a\x1b[2J\u202egnp.exe\n\x85\ud800.png"


def test_what_acts_is_spelt_and_letters_stay() -> None:
    assert visible(ODD) == SPELT
    assert visible("Zoë 胸片 می\u200cخواهم.png") == "Zoë 胸片 می\u200cخواهم.png"
    assert visible("a\nb", keep="\n") == "a\nb"
    for code in range(0x3000):
        shown = visible(chr(code))
        assert (
            shown.isprintable()
            or code in (0x200C, 0x200D)
            or chr(code).isspace()
            or (code > 0xFF and shown == chr(code))
        )


def test_a_sentence_spells_the_names_that_it_quotes() -> None:
    assert str(FilmError(f"{ODD} is empty")) == f"{SPELT} is empty"


def test_a_flood_is_cut_and_its_end_stays() -> None:
    said = str(FilmError(f"there is no column {'x' * 25_000_000}: name one"))
    assert len(said) < 2000
    assert said.startswith("there is no column xxx")
    assert said.endswith("xxx: name one")


def test_what_the_terminal_shows_is_spelt(capsys: pytest.CaptureFixture[str]) -> None:
    say.done(f"{ODD[:20]}: 3 films [red]not red[/]")
    said = capsys.readouterr().out
    assert r"a\x1b[2J\u202egnp.exe" in said
    assert "[red]not red[/]" in said


def test_what_a_page_shows_is_spelt(tmp_path: Path) -> None:
    page = Page("A page")
    page.section("One", "one")
    page.facts({"Film": "x\u202ey\x1b"})
    page.code("a: 1\nb: 2", "Code")
    text = page.write(tmp_path / "p.html").read_text(encoding="utf-8")
    assert r"x\u202ey\x1b" in text
    assert "a: 1\nb: 2" in text
    assert "\u202e" not in text


def own_fault(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys, cxrlens.cli as c\n"
        f"def broken(): {code}\n"
        "c.app = broken\nsys.argv = ['cxrlens', 'films']\nc.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", **environment},
        check=False,
    )


def test_a_fault_of_cxrlens_is_said_to_be_one(tmp_path: Path) -> None:
    ended = own_fault("{}['key']", TMPDIR=str(tmp_path))
    (kept,) = tmp_path.glob("cxrlens-fault-*.txt")
    assert ended.returncode == OWN_FAULT == 70
    assert f"a fault of cxrlens (KeyError): please report it with {kept}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "KeyError: 'key'" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_its_traceback_is_printed_where_asked_for(tmp_path: Path) -> None:
    ended = own_fault("{}['key']", TMPDIR=str(tmp_path), CXRLENS_DEBUG="1")
    assert ended.returncode == OWN_FAULT
    assert "Traceback" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_user_keeps_its_code(tmp_path: Path) -> None:
    ended = own_fault("raise c.CxrlensError('no such film')", TMPDIR=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "cxrlens: no such film" in ended.stderr
