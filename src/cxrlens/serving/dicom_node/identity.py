"""Which model speaks, and the UIDs that follow from it and a film."""

import uuid
from dataclasses import dataclass

from pydicom.uid import UID

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
        Its one digest, as tables, pages and API bear it; see `cxrlens.runs.run.Run.digest`.
    chain
        Version of the quality chain.
    program
        Version of cxrlens that predicts.
    """

    name: str
    digest: str
    chain: str
    program: str

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
