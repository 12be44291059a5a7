"""Films in: a C-STORE and C-ECHO provider (PS3.4 annexes A and B) in front of the spool, and its TCP."""

import contextlib
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any

from pydicom import uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cxrlens.errors import CxrlensError, OutputError, visible
from cxrlens.pacs.header import instance_of, pixels_of
from cxrlens.pacs.spool import Spool, key_of

UNKNOWN_BYTES = 65536
"""Of the largest PDU from a caller that is not known yet, and of any PDU but those with data."""

UNKNOWN_SECONDS = 5.0
"""From a connection's begin to its A-ASSOCIATE-RQ, TLS included (the ARTIM timer of PS3.8, 9.1.5)."""

UNKNOWN_CALLERS = 32
"""Connections without an association; beyond it the longest silent one is closed."""

ASSOCIATIONS = 16
LARGEST = 512 * 2**20
"""Bytes of one film."""

ARRIVING = 2**30
"""Bytes of all films that are arriving."""

_SECONDS = 60.0
"""For one PDU of a known caller, which has 16 KB, and for what we send."""

_log = logging.getLogger("cxrlens.pacs")

_DATA = 4
"""Type of a P-DATA-TF PDU (PS3.8, 9.3.5), the only one that carries films."""


FILMS = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
)
"""SOP classes that are accepted; everything else is refused when the association is negotiated."""

ECHO = uid.UID("1.2.840.10008.1.1")
"""Verification, which C-ECHO asks for."""

SYNTAXES = [
    *uid.UncompressedTransferSyntaxes,
    *uid.JPEGTransferSyntaxes,
    *uid.JPEGLSTransferSyntaxes,
    # Not pydicom's own list of JPEG 2000: its second part, of many components, nobody decodes here.
    *(uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K),
    uid.RLELossless,
]
"""Those that `cxrlens.radiographs` can decode."""

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DUPLICATE = 0x0111
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

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
            self._node.add_supported_context(film, SYNTAXES)

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

    def stop(self, seconds: float = 5.0) -> None:
        """Take no more callers, let films that are being written end, then hang up.

        A film that is cut off was not acknowledged: its sender keeps it. Callers who only hold the
        line are not waited for.
        """
        self._stopping = True
        self._server.shutdown()
        until = time.monotonic() + seconds
        while self._writing and time.monotonic() < until:
            time.sleep(0.02)
        self._server.hang_up_on_unknown()
        self._node.shutdown()

    def _store(self, event: evt.Event) -> int:
        film = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
        if not uid.UID(film).is_valid:
            _log.warning("refused a film whose SOP Instance UID is none")
            return CANNOT_UNDERSTAND
        key = key_of(film)
        with self._lock:
            # Two associations may bring one film at once: the other one is told to come again.
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
        # What the request says decides the key, what the dataset says decides where results go: where they
        # differ, a caller could have another film's results overwritten.
        if instance != film or kind != getattr(event.request, "AffectedSOPClassUID", None):
            _log.warning("refused %s: the film itself says that it is another one", key)
            return MISMATCH
        known = self._spool.pixels(key)
        if known is not None and known != pixels_of(BytesIO(data)):
            _log.warning(
                "refused %s from %s: there is a film of this SOP Instance UID with other pixels",
                key, event.assoc.requestor.ae_title,
            )  # fmt: skip
            return DUPLICATE
        try:
            self._spool.receive(key, data)
        except OutputError as error:
            _log.error("refused %s: %s", key, error)
            return OUT_OF_RESOURCES
        _log.info("received %s from %s (%d bytes)", key, event.assoc.requestor.ae_title, len(data))
        self._arrived()
        return SUCCESS

    def _requested(self, event: evt.Event) -> None:
        held = sum(one.is_established for one in self._server.active_associations)
        if held >= ASSOCIATIONS:
            _log.warning(
                "refused a caller at %s: %d associations are open",
                event.assoc.requestor.address, held,
            )  # fmt: skip
            event.assoc.acse.send_reject(*_LIMIT_EXCEEDED)
            event.assoc.kill()

    def _rejected(self, event: evt.Event) -> None:
        caller = event.assoc.requestor
        called = visible(getattr(caller.primitive, "called_ae_title", None) or "")
        if called == self._node.ae_title:
            _log.warning("refused a caller: %s at %s", visible(caller.ae_title), caller.address)
        else:
            _log.warning("refused a caller at %s: it asked for %s", caller.address, called)


def checked_aet(title: str) -> str:
    """Return an AE title without the blanks around it.

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


class _Socket(AssociationSocket):
    """Reads PDUs within bounds; what goes beyond them ends the connection.

    pynetdicom reads a PDU in two calls of `recv`, its head of six bytes (type, a reserved byte, length) and
    then exactly as many bytes as the head promised; it believes any length up to 4 GB, and starts the time
    anew with every byte. Here the length is held against what was agreed before memory is taken for it, and
    the clock runs from the head's first wait to the body's last byte.
    """

    def begin(self, lines: "Server") -> None:
        """Start the clock."""
        self.lines, self.opened = lines, time.monotonic()
        self.arriving = 0
        self._until, self._body = self.opened + UNKNOWN_SECONDS, -1

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes: in turn a PDU's head (type, length) and its body.

        Raises
        ------
        OSError
            If it is too large, or does not come in time.
        """
        # A call for as many bytes as the last head promised is the one for its body.
        is_body, self._body = nr_bytes == self._body, -1
        if is_body:
            self._check(nr_bytes)
        elif self.assoc.is_established:
            self._until = time.monotonic() + _SECONDS
        data = self._read(nr_bytes)
        if not is_body and len(data) == 6:
            self._kind, self._body = data[0], struct.unpack(">L", data[2:])[0]
        return data

    def _check(self, length: int) -> None:
        is_known = self._kind == _DATA and self.assoc.is_established
        most = self.assoc.acceptor.maximum_length if is_known else None
        most = most or UNKNOWN_BYTES
        if length > most:
            self._refuse(f"a PDU of {length:,} bytes, where {most:,} were agreed")
        if self._kind == _DATA:
            # pynetdicom joins a message's fragments in memory before anybody sees it, and has no bound.
            self.arriving += length
            if self.arriving > LARGEST or self.lines.arriving() > ARRIVING:
                self._refuse("more bytes than a film has, or than there is room for at once")

    def _refuse(self, why: str) -> None:
        self.give_up(why)
        raise ConnectionAbortedError(why)

    def give_up(self, why: str) -> None:
        """End the connection, and log that."""
        _log.warning("refused a caller at %s: %s", self.assoc.requestor.address, why)
        self.hang_up()

    def _read(self, count: int) -> bytearray:
        line, data = self.socket, bytearray()
        if line is None:
            raise ConnectionAbortedError
        while len(data) < count:
            left = self._until - time.monotonic()
            if left <= 0:
                self._refuse("it takes too long to say what it says")
            line.settimeout(left)
            with contextlib.suppress(TimeoutError):
                part = line.recv(min(65536, count - len(data)))
                if not part:
                    return data
                data += part
        line.settimeout(_SECONDS)
        return data

    def _shutdown_socket(self) -> None:
        """Close it even where the other side has closed it already, which pynetdicom leaves to chance."""
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()

    @property
    def is_over(self) -> bool:
        """Whether the association's thread has ended; one that has not begun has no number yet."""
        return self.assoc.ident is not None and not self.assoc.is_alive()

    def hang_up(self) -> None:
        """End the connection; may be called from any thread."""
        line = self.socket
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        if not self.assoc.is_established:
            # Its thread waits for an A-ASSOCIATE-RQ: None stands for the end of its wait.
            waiting: Any = self.assoc.dul.to_user_queue
            waiting.put(None)


class _Bounded(threading.Thread):
    """A caller's thread, in which what pynetdicom cannot follow ends this caller's connection."""

    def run(self) -> None:
        """Do what pynetdicom does."""
        try:
            super().run()
        except Exception as fault:  # noqa: BLE001 - its parsers raise anything, at whatever bytes
            association: Any = getattr(self, "assoc", self)
            association.dul.kill_dul()
            association._kill = True
            line = association.dul.socket
            line.give_up(f"what it says makes no sense ({type(fault).__name__})")
            line._shutdown_socket()


class _Association(_Bounded, Association):
    pass


class _Provider(_Bounded, DULServiceProvider):
    pass


class _Handler(RequestHandler):
    server: "Server"

    def _create_association(self) -> Association:
        association = super()._create_association()
        line = association.dul.socket
        # pynetdicom names its classes in the midst of its methods; this is where ours come in.
        line.__class__ = _Socket
        association.__class__, association.dul.__class__ = _Association, _Provider
        assert isinstance(line, _Socket)
        line.begin(self.server)
        self.server.add(line)
        return association


class Server(ThreadedAssociationServer):
    """Listens for callers; see the module. `AE.make_server` makes it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lines: list[_Socket] = []
        self._lock = threading.Lock()
        self._shaking_hands = threading.BoundedSemaphore(UNKNOWN_CALLERS)
        super().__init__(*args, **options)
        self.RequestHandlerClass = _Handler

    def add(self, line: _Socket) -> None:
        """Count a caller, and make room for it."""
        with self._lock:
            self._lines = [one for one in self._lines if not one.is_over]
            self._lines.append(line)
            unknown = [one for one in self._lines if not one.assoc.is_established]
        # Callers come in the order of their silence: who is shut out has had more time than the others.
        for longest in unknown[:-UNKNOWN_CALLERS]:
            longest.hang_up()

    def hang_up_on_unknown(self) -> None:
        """End the connections without an association, which pynetdicom cannot abort, and wait for that."""
        with self._lock:
            unknown = [one for one in self._lines if not one.assoc.is_established]
        for line in unknown:
            line.hang_up()
        for line in unknown:
            if line.assoc.ident is not None:
                line.assoc.join(1.0)

    def arriving(self) -> int:
        """Bytes of films that are not whole yet."""
        with self._lock:
            return sum(one.arriving for one in self._lines if not one.is_over)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; TLS comes later, lest one caller hold up the others."""
        assert self.socket is not None
        return self.socket.accept()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then let pynetdicom go on."""
        try:
            if self.ssl_context is not None:
                request = self._secured(request, self.ssl_context)
            self.finish_request(request, client_address)
        except OSError as error:
            _log.warning("refused a caller at %s: %s", client_address[0], type(error).__name__)
            self.shutdown_request(request)

    def _secured(self, request: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        # Each handshake holds a thread, before there is an association that `add` could count.
        if not self._shaking_hands.acquire(blocking=False):
            raise ConnectionAbortedError
        try:
            request.settimeout(UNKNOWN_SECONDS)
            return context.wrap_socket(request, server_side=True)
        finally:
            self._shaking_hands.release()


def message_ended(association: Association) -> None:
    """Count a film's bytes as no longer arriving; a caller that sends on without waiting is hung up on."""
    line = association.dul.socket
    if isinstance(line, _Socket):
        line.arriving = 0
        # One operation at a time was agreed: what waits behind it would be kept in memory.
        if association.dimse.msg_queue.qsize():
            line.hang_up()
