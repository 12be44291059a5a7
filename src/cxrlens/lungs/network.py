"""The network that draws the lung fields, and how it is asked."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError
from cxrlens.lungs.fields import Lungs
from cxrlens.radiographs.resize import resize

NETWORK = Path(__file__).parent / "lungs.onnx"
"""The network that comes with the package."""

SIDE = 128
"""Pixels of the side at which the network looks."""


def find_lungs(film: NDArray[np.uint8], network: Path = NETWORK) -> Lungs:
    """Find the lung fields of a film.

    Parameters
    ----------
    film
        (H, W) uint8 of any size and tone, a negative too. It is not changed.
    network
        Another network's file, as `benchmarks/train_lungs.py` writes it.

    Returns
    -------
    Lungs
        For each place of the film how likely it is lung; nothing where there is none.

    Raises
    ------
    CxrlensError
        If the network's file is missing or damaged.

    Examples
    --------
    >>> import numpy as np
    >>> find_lungs(np.zeros((30, 40), np.uint8)).share
    0.0
    """
    small = resize(film, SIDE)
    session = _session(network, os.getpid())
    lungs, film_as_a_whole = session.run(None, {"film": small[None, None].astype(np.float32)})
    likely = 255 / (1 + np.exp(-np.clip(lungs[0], -30, 30)))
    chest, photographed = (float(logit) for logit in film_as_a_whole[0])
    return Lungs(np.rint(likely).astype(np.uint8), chest, photographed)


@functools.cache
def network_digest() -> str:
    """Tell the network that comes with the package from others; "" if its file is missing."""
    try:
        return hashlib.sha256(NETWORK.read_bytes()).hexdigest()[:10]
    except OSError:
        return ""


@functools.lru_cache(maxsize=8)
def _session(network: Path, process: int) -> Any:
    """Load the network, once in each process: a session does not survive a fork."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    # Films are many and small: workers run side by side, one thread each.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            network.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except FileNotFoundError as error:
        raise CxrlensError(
            f"{network} is missing from the installation: install cxrlens again"
        ) from error
    # onnxruntime's faults have no common class below Exception, and a file can be anything.
    except Exception as error:
        raise CxrlensError(
            f"{network} is damaged, onnxruntime cannot read it: install cxrlens again"
        ) from error
