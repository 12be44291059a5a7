"""TCP under pynetdicom: how much a caller may send and how long it may take, above all before it is known.

pynetdicom believes a PDU's own length, waits for ever for its end, shakes hands over TLS in the thread that
listens, and counts whoever holds a connection as an association.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cxrlens.serving.dicom_node.journal import log

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

_DATA = 4
_TOO_MUCH = "refused a caller at %s: %s"


class _Socket(AssociationSocket):
    """Reads PDUs within bounds; what goes beyond them ends the connection."""

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
        if self._kind != _DATA or not self.assoc.is_established:
            most = UNKNOWN_BYTES
        else:
            most = self.assoc.acceptor.maximum_length or UNKNOWN_BYTES
        if length > most:
            self._refuse(f"a PDU of {length:,} bytes, where {most:,} were agreed")
        if self._kind == _DATA:
            self.arriving += length
            if self.arriving > LARGEST or self.lines.arriving() > ARRIVING:
                self._refuse("more bytes than a film has, or than there is room for at once")

    def _refuse(self, why: str) -> None:
        log.warning(_TOO_MUCH, self.assoc.requestor.address, why)
        self.hang_up()
        raise ConnectionAbortedError(why)

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
            # Its thread waits for an A-ASSOCIATE-RQ: None stands for the end of its patience.
            waiting: Any = self.assoc.dul.to_user_queue
            waiting.put(None)


class _Handler(RequestHandler):
    server: "Server"

    def _create_association(self) -> Association:
        association = super()._create_association()
        line = association.dul.socket
        # pynetdicom names its class of socket in the midst of a method; this is where ours comes in.
        line.__class__ = _Socket
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
            log.warning("refused a caller at %s: %s", client_address[0], type(error).__name__)
            self.shutdown_request(request)

    def _secured(self, request: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
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
