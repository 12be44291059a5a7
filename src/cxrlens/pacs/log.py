"""The node's log: what happened to which film, and nothing of whose film it is.

A film is called by its key in the spool. The libraries below are kept silent: what they log can
quote names, and values that they mind.
"""

import logging
import sys
import threading
import warnings
from pathlib import Path

log = logging.getLogger("cxrlens.dicom_node")
"""Where the node's modules write."""

_TALKATIVE = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3", "retrying")


def open_journal() -> None:
    """Send the node's log to standard error, a line an event, and silence everything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in _TALKATIVE:
            logging.getLogger(name).disabled = True
    for name in _TALKATIVE:  # for what they make later
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    warnings.simplefilter("ignore")
    threading.excepthook = _say_where


def _say_where(fault: threading.ExceptHookArgs) -> None:
    """Say of a fault in the program what and where; its own words could quote a film."""
    trace = fault.exc_traceback
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    log.error("a part of the node ended: %s at %s", fault.exc_type.__name__, place)


def plain(text: str) -> str:
    """Give what came from the network as at most 64 printable ASCII characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:64])
