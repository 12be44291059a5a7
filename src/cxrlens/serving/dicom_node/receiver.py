"""Films in: a C-STORE and C-ECHO provider (PS3.4 annexes A and B) in front of the spool."""

import ssl
import threading
import time
from collections.abc import Callable, Collection
from io import BytesIO

from pydicom import uid
from pynetdicom import AE, _config, evt

from cxrlens.errors import CxrlensError, OutputError
from cxrlens.serving.dicom_node.header import instance_of, pixels_of
from cxrlens.serving.dicom_node.journal import log, plain
from cxrlens.serving.dicom_node.spool import Spool, key_of
from cxrlens.serving.dicom_node.transport import (
    ASSOCIATIONS,
    LARGEST,
    UNKNOWN_SECONDS,
    Server,
    message_ended,
)

FILMS = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
)
"""What is accepted; everything else is refused when the association is negotiated."""

ECHO = uid.UID("1.2.840.10008.1.1")
"""Verification, which C-ECHO asks for."""

_SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
]
"""Those that `cxrlens.radiographs` can decode."""

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DUPLICATE = 0x0111
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_SECONDS = 60.0
_HEAD = 65536
"""Bytes in which a dataset says which film it is."""

_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
"""Rejected for now, by the presentation service, local limit exceeded (PS3.8, 9.3.4)."""


class Receiver:
    """Takes films from known callers into the spool.

    Parameters
    ----------
    spool
        Where they go.
    aet
        The node's AE title; callers must call it so.
    allowed
        AE titles of callers; others are refused.
    arrived
        Called after each film.
    tls
        Speak TLS so; None speaks none.

    Raises
    ------
    CxrlensError
        If an AE title is none.
    """

    def __init__(
        self,
        spool: Spool,
        aet: str,
        allowed: Collection[str],
        arrived: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._spool, self._arrived, self._tls = spool, arrived, tls
        self._stopping = False
        self._writing: set[str] = set()
        self._lock = threading.Lock()
        # Its own event log repeats what callers send.
        _config.LOG_HANDLER_LEVEL = "none"
        self._node = AE(ae_title=checked_aet(aet))
        self._node.require_called_aet = True
        self._node.require_calling_aet = [checked_aet(title) for title in allowed]
        # pynetdicom counts every connection; `_requested` counts associations.
        self._node.maximum_associations = 10_000
        self._node.network_timeout = self._node.dimse_timeout = _SECONDS
        self._node.acse_timeout = UNKNOWN_SECONDS
        self._node.add_supported_context(ECHO)
        for film in FILMS:
            self._node.add_supported_context(film, _SYNTAXES)

    def start(self, host: str, port: int) -> int:
        """Listen; return the port, which the system chooses if `port` is 0.

        Raises
        ------
        CxrlensError
            If the port is taken or may not be used.
        """
        try:
            server = self._node.make_server(
                (host, port),
                ssl_context=self._tls,
                evt_handlers=[
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_REQUESTED, self._requested),
                    (evt.EVT_REJECTED, self._rejected),
                    (evt.EVT_DIMSE_RECV, lambda event: message_ended(event.assoc)),
                ],
                server_class=Server,
            )
        except OSError as error:
            raise CxrlensError(
                f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
            ) from error
        assert isinstance(server, Server)
        self._server = server
        # As `AE.start_server` does, which takes no class of server.
        self._node._servers.append(server)
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        return int(server.server_address[1])

    def stop(self, patience: float = 5.0) -> None:
        """Take no more callers, let films that are being written end, then hang up.

        A film that is cut off was not acknowledged: its sender keeps it. Callers who only hold the
        line are not waited for.
        """
        self._stopping = True
        self._server.shutdown()
        until = time.monotonic() + patience
        while self._writing and time.monotonic() < until:
            time.sleep(0.02)
        self._server.hang_up_on_unknown()
        self._node.shutdown()

    def _store(self, event: evt.Event) -> int:
        film = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
        if not uid.UID(film).is_valid:
            log.warning("refused a film whose SOP Instance UID is none")
            return CANNOT_UNDERSTAND
        key = key_of(film)
        with self._lock:
            if self._stopping or key in self._writing:
                return OUT_OF_RESOURCES
            self._writing.add(key)
        try:
            return self._keep(event, film, key)
        finally:
            with self._lock:
                self._writing.discard(key)

    def _keep(self, event: evt.Event, film: str, key: str) -> int:
        data = event.encoded_dataset()
        syntax = uid.UID(event.context.transfer_syntax)
        kind, instance = instance_of(event.encoded_dataset(include_meta=False)[:_HEAD], syntax)
        if instance != film or kind != getattr(event.request, "AffectedSOPClassUID", None):
            log.warning("refused %s: the film itself says that it is another one", key)
            return MISMATCH
        if len(data) > LARGEST:
            log.warning("refused %s: %d bytes are more than any film has", key, len(data))
            return CANNOT_UNDERSTAND
        known = self._spool.pixels(key)
        if known is not None and known != pixels_of(BytesIO(data)):
            log.warning(
                "refused %s from %s: there is a film of this SOP Instance UID with other pixels",
                key, event.assoc.requestor.ae_title,
            )  # fmt: skip
            return DUPLICATE
        try:
            self._spool.receive(key, data)
        except OutputError as error:
            log.error("refused %s: %s", key, error)
            return OUT_OF_RESOURCES
        log.info("received %s from %s (%d bytes)", key, event.assoc.requestor.ae_title, len(data))
        self._arrived()
        return SUCCESS

    def _requested(self, event: evt.Event) -> None:
        held = sum(one.is_established for one in self._server.active_associations)
        if held >= ASSOCIATIONS:
            log.warning(
                "refused a caller at %s: %d associations are open",
                event.assoc.requestor.address, held,
            )  # fmt: skip
            event.assoc.acse.send_reject(*_LIMIT_EXCEEDED)
            event.assoc.kill()

    def _rejected(self, event: evt.Event) -> None:
        caller = event.assoc.requestor
        called = plain(getattr(caller.primitive, "called_ae_title", None) or "")
        if called == self._node.ae_title:
            log.warning("refused a caller: %s at %s", plain(caller.ae_title), caller.address)
        else:
            log.warning("refused a caller at %s: it asked for %s", caller.address, called)


def checked_aet(title: str) -> str:
    """Give an AE title without the blanks around it.

    Raises
    ------
    CxrlensError
        If it has none or more than 16 characters, or others than printable ASCII without backslash.
    """
    title = title.strip()
    if not 1 <= len(title) <= 16 or any(not " " <= c <= "~" or c == "\\" for c in title):
        raise CxrlensError(
            f"{title!r} is no AE title: it has 1 to 16 printable ASCII characters, no backslash"
        )
    return title
