"""What every step of a chain is: a detector and, mostly, a repair of one defect."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrlens.lungs import Lungs
from cxrlens.quality.findings import Finding


class Step(Protocol):
    """A detector and a repair of one defect, on the resized, square film.

    A step is a frozen dataclass whose fields are its settings.

    Attributes
    ----------
    defect
        A name of `cxrlens.quality.findings.DEFECTS`.
    repair_name
        The word for its repair in the ``repairs`` column; "" for a step that only finds.
    """

    defect: ClassVar[str]
    repair_name: ClassVar[str]

    def detect(self, film: NDArray[np.uint8]) -> Finding:
        """Look at a (H, W) uint8 film; never change it."""
        ...

    def repair(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give a repaired copy of a film on which the defect was found."""
        ...


class NativeStep(Step, Protocol):
    """A step that detects and repairs on the film as decoded, of any size."""

    def finish(self, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Repair after the resize what is left, on a film on which the defect was found."""
        ...


class LungStep(Protocol):
    """A detector that looks at the resized, repaired film and at where its lungs lie."""

    defect: ClassVar[str]
    repair_name: ClassVar[str]

    def detect(self, film: NDArray[np.uint8], lungs: Lungs) -> Finding:
        """Look at a (H, W) uint8 film; never change it."""
        ...
