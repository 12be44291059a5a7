"""Whether an ONNX graph keeps all its weights in its own file.

A tensor may name another file, anywhere on the machine, and onnxruntime would read it: no digest of the
bundle covers that file. The graph's file is a Protocol Buffers message; what is looked for in it is told
in onnx.proto3, and the rest is stepped over.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_DEEPEST = 32
"""Graphs within graphs (the branches of a condition); the exporter writes none."""

# Numbers of fields, by message: what each leads to.
_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor: the other file's name and place in it; and whether they count."""


class GraphFileError(ValueError):
    """What is no ONNX graph; its text says where."""


def names_other_files(path: Path) -> bool:
    """Tell whether a tensor of the graph lies in another file.

    Raises
    ------
    GraphFileError
        If the file is no message.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise GraphFileError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _elsewhere(data, 0, len(data), "model", 0)


def _elsewhere(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise GraphFileError(f"its graphs are nested more than {_DEEPEST} deep")
    for field, start, stop in _fields(data, at, end):
        if message == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and stop == start):
                return True
            continue
        inner = _LEADS[message].get(field)
        if inner and _elsewhere(data, start, stop, inner, depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give number, start and end of each field; of a number that is not 0 the end twice."""
    while at < end:
        key, at = _number(data, at, end)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _number(data, at, end)
            yield field, at if value else -1, at
            continue
        if wire == 2:
            length, at = _number(data, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise GraphFileError(f"byte {at} begins no field")
        if length > end - at:
            raise GraphFileError(f"a field at byte {at} is longer than what holds it")
        yield field, at, at + length
        at += length


def _number(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise GraphFileError(f"the number at byte {at} does not end")
