"""The conformance statement names what the code does."""

import re
from pathlib import Path

from pydicom.uid import UID

from cxrlens.pacs.courier import RESULTS
from cxrlens.pacs.receiver import ECHO, FILMS, SYNTAXES

TOLD = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def test_sop_classes_and_their_roles_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| (SC[PU])", TOLD, re.MULTILINE)
    assert {(uid, role) for _, uid, role in rows} == {
        *((str(uid), "SCP") for uid in (ECHO, *FILMS)),
        *((str(uid), "SCU") for uid in RESULTS),
    }
    assert [
        name for name, uid, _ in rows if not UID(uid).name.startswith(name.split(" - ")[0])
    ] == []


def test_transfer_syntaxes_are_those_of_the_code() -> None:
    listed = re.findall(r"^- .+: ([\d.]+)$", TOLD, re.MULTILINE)
    assert listed == [str(uid) for uid in SYNTAXES]
