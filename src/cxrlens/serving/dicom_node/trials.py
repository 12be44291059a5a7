"""Films that were at work when the program ended: they may have ended it.

A decoder that brings the process down would do so again at every start, and hold every other film up.
So the names of the films at work are on the disk; after a bad end those films are tried last and one
by one, and a film that was alone at work at several bad ends is given up.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, RootModel

from cxrlens.errors import OutputError
from cxrlens.own_files import own_json
from cxrlens.serving.dicom_node.durable import move_durably, write_durably
from cxrlens.writing import explained

ENDS = 5
"""Bad ends alone at work after which a film is given up. A machine's own failures are rarer."""


class Trials:
    """Counts bad ends.

    Parameters
    ----------
    folder
        The spool; two small files in it belong to this class.
    """

    def __init__(self, folder: Path) -> None:
        self._now, self._past = folder / "at-work.json", folder / "bad-ends.json"
        self._ends: dict[str, int] = {}
        past, left = _read(self._past, _Ends), _read(self._now, _Keys)
        if past:
            self._ends = past.root
        if left and left.root:
            for key in left.root:
                self._ends[key] = self._ends.get(key, 0) + (1 if len(left.root) == 1 else 0)
            with explained(folder):
                self._write(self._past, self._ends)
                self._now.unlink()

    def suspects(self) -> set[str]:
        """Name films that were at work at a bad end."""
        return set(self._ends)

    def is_hopeless(self, key: str) -> bool:
        """Tell whether a film ended the program too often."""
        return self._ends.get(key, 0) >= ENDS

    def begin(self, keys: Sequence[str]) -> None:
        """Note which films are at work."""
        with explained(self._now):
            self._write(self._now, list(keys))

    def end(self, keys: Sequence[str]) -> None:
        """Note that they ended well, or were put aside."""
        known = [key for key in keys if key in self._ends]
        for key in known:
            del self._ends[key]
        with explained(self._now):
            if known:
                self._write(self._past, self._ends)
            self._now.unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, content: object) -> None:
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        write_durably(draft, json.dumps(content).encode())
        move_durably(draft, path)


class _Ends(RootModel[dict[str, int]]):
    """Bad ends, by film."""


class _Keys(RootModel[list[str]]):
    """Films at work."""


_Kind = TypeVar("_Kind", bound=BaseModel)


def _read(path: Path, shape: type[_Kind]) -> _Kind | None:
    """Read one of the two files; one that is damaged counts nothing."""
    try:
        return own_json(path, shape, OutputError, "")
    except OutputError:
        return None
