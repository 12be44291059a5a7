"""Which model speaks, and the UIDs that follow from it and a film."""

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from cxrlens.errors import RunError

_WEIGHTS = frozenset({".safetensors", ".onnx", ".npz"})
_NAMESPACE = uuid.UUID("7b4ff8c4-6b0a-5d35-9a55-0f2f4c8f4a11")
"""Of all UIDs made here; drawn once."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made a result.

    Attributes
    ----------
    name
        The model folder's name.
    digest
        SHA-256 of its weights, 64 hexadecimal digits. For one file of weights it is what ``sha256sum``
        says; for several, the digest of what ``sha256sum`` prints for them in the order of their paths.
    chain
        Version of the quality chain.
    program
        Version of cxrlens that predicts.
    """

    name: str
    digest: str
    chain: str
    program: str

    @property
    def version(self) -> str:
        """The model's version: the first twelve digits of its digest."""
        return self.digest[:12]

    def uid_for(self, kind: str, of: str) -> UID:
        """Derive a UID: the same model, kind and thing give the same one, everywhere and always.

        Parameters
        ----------
        kind
            What it names, e.g. ``capture``.
        of
            The SOP Instance UID of a film, or the Study Instance UID of a study.

        Returns
        -------
        UID
            Below 2.25, as PS3.5 annex B.2 has it, from a UUID of version 5 (RFC 9562).
        """
        name = " ".join((of, self.digest, self.chain, kind))
        return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def weights_digest(folder: Path) -> str:
    """Digest the weights of a run folder or an exported bundle; see `ModelIdentity`.

    Raises
    ------
    RunError
        If the folder holds no weights.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _WEIGHTS and "progress" not in path.relative_to(folder).parts
    )
    if not files:
        raise RunError(f"{folder} holds no weights: name a finished run or an exported bundle")
    digests = [_digest(path) for path in files]
    if len(files) == 1:
        return digests[0]
    names = [path.relative_to(folder).as_posix() for path in files]
    lines = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
