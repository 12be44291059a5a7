"""Files that cxrlens wrote itself, read back through one door: of bounded size and of the promised shape.

They are copied, synchronised and edited like any other file, so what comes back need not be what was
written. Whatever is wrong ends in one sentence with the file, the place in it, and the way out.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from cxrlens.errors import CxrlensError

LARGEST = 64 * 2**20
"""Bytes of a JSON file of ours; the largest known, the digests of 100,000 films, has 2 MB."""

Shape = TypeVar("Shape", bound=BaseModel)


def own_bytes(path: Path, fault: type[CxrlensError], way_out: str, largest: int = LARGEST) -> bytes:
    """Read a file that cxrlens wrote.

    Parameters
    ----------
    path
        The file.
    fault
        What to raise.
    way_out
        What the user can do, the end of the sentence.
    largest
        Bytes that it may have.

    Raises
    ------
    CxrlensError
        The `fault`, if it cannot be read or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise fault(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > largest:
        raise fault(f"{path} has more than {largest:,} bytes, as none of ours has: {way_out}")
    return data


def own_text(path: Path, fault: type[CxrlensError], way_out: str, largest: int = LARGEST) -> str:
    """Read a text file that cxrlens wrote; see `own_bytes`."""
    data = own_bytes(path, fault, way_out, largest)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise fault(f"{path} is damaged at byte {error.start}, no UTF-8: {way_out}") from error


def own_json(path: Path, shape: type[Shape], fault: type[CxrlensError], way_out: str) -> Shape:
    """Read a JSON file that cxrlens wrote; see `own_bytes`.

    Parameters
    ----------
    shape
        What it must hold.
    """
    data = own_bytes(path, fault, way_out)
    try:
        # Not pydantic's own reading of JSON, which lets NaN and Infinity pass.
        content = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise fault(f"{path} is damaged, no JSON ({error}): {way_out}") from error
    return of_shape(content, shape, str(path), fault, way_out)


def of_shape(
    content: Any, shape: type[Shape], origin: str, fault: type[CxrlensError], way_out: str
) -> Shape:
    """Hold plain values against the shape that they were written in; `origin` names them in the sentence."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        message = first["msg"].removeprefix("Value error, ")[:200]
        if first["type"] == "model_type":  # pydantic would name our class
            message = "it must be a mapping"
        at = f" at {place}" if place else ""
        raise fault(
            f"{origin} is damaged{at}: {message[0].lower()}{message[1:]}; {way_out}"
        ) from error
