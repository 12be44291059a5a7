"""The server's door: who may ask, what every request and answer passes on its way."""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from cxrlens.errors import CxrlensError
from cxrlens.serving.prometheus import Measures

TOKEN_VARIABLE = "CXRLENS_TOKEN"
"""Environment variable that holds the token where no file is named."""

SHORTEST_TOKEN = 16

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(:\d{1,5})?", re.ASCII)
"""A name or an address in brackets, and perhaps a port (RFC 3986)."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""On every answer. Nothing inline, nothing from outside, in no other page's frame."""


class TokenError(CxrlensError):
    """A token that is missing or too weak for where the server listens."""


def read_token(file: Path | None, variable: str | None) -> str | None:
    """Read the token.

    Parameters
    ----------
    file
        Holds the token and nothing else.
    variable
        Content of the environment variable, used where there is no file.

    Returns
    -------
    str or None
        None if neither is given.

    Raises
    ------
    TokenError
        If the file cannot be read, or the token is too short or has other than printable ASCII signs.
    """
    token = variable
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(
                f"{file} cannot be read as a token file: write one line into it"
            ) from error
    if token is None:
        return None
    token = token.strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        where = file or TOKEN_VARIABLE
        raise TokenError(
            f"the token in {where} needs at least {SHORTEST_TOKEN} printable ASCII signs: "
            "make one with openssl rand -hex 32"
        )
    return token


def is_loopback(host: str) -> bool:
    """Say whether only programs of this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def need_token(host: str, token: str | None) -> None:
    """Refuse an address that others reach without a token.

    Raises
    ------
    TokenError
        If `host` is no loopback address and there is no token.
    """
    if token is None and not is_loopback(host):
        raise TokenError(
            f"{host} can be reached from other machines: give a token with --token-file or "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )


class Guard:
    """Decides on a request by its headers.

    Parameters
    ----------
    token
        The token that requests must bear, or None.
    hosts
        Names by which the server may be called beyond those of the loopback; only without a token.
    origins
        Other origins (``https://name:port``) whose pages may ask.
    """

    def __init__(
        self, token: str | None, hosts: Iterable[str] = (), origins: Collection[str] = ()
    ) -> None:
        self._digest = _digest(token) if token is not None else None
        self._hosts = LOCAL_NAMES | {host.lower() for host in hosts}
        self._origins = frozenset(origins)

    @property
    def asks_for_token(self) -> bool:
        """Whether requests must bear a token."""
        return self._digest is not None

    def knows(self, authorization: str | None) -> bool:
        """Compare the header ``Authorization: Bearer TOKEN`` in constant time."""
        if self._digest is None:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        same = hmac.compare_digest(_digest(token.strip()), self._digest)
        return same and scheme.lower() == "bearer"

    def refusal(self, headers: dict[str, str]) -> str | None:
        """Say in a sentence why a request may not be answered, or give None.

        Parameters
        ----------
        headers
            By lower-case name.
        """
        host = headers.get("host", "")
        if self._digest is None and _without_port(host) not in self._hosts:
            return (
                "without a token the server answers only to names of this machine: "
                "call it 127.0.0.1, or start it with --allow-host"
            )
        origin = headers.get("origin")
        if origin and origin not in self._origins and origin.partition("://")[2] != host:
            return "pages of other sites may not ask: start the server with --allow-origin"
        return None


def _without_port(host: str) -> str:
    """Give a Host header's name; empty if it is none."""
    found = _HOST.fullmatch(host)
    return found["name"].lower() if found else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PUBLIC = frozenset({"/", "/health", "/docs", "/openapi.json"})
"""Paths that hold nothing of anybody: the empty page, its description, and that the server is up."""

HUNG_UP = 499
"""Status in log and metrics where the client did not wait for its answer."""

_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 32 * 1024 * 1024
_MISDIRECTED = 421

_log = logging.getLogger("cxrlens.serving")


class Front:
    """ASGI middleware; see the module.

    Parameters
    ----------
    app
        What answers.
    guard, measures
        Who may ask, and who counts.
    secure
        Whether the server speaks TLS: browsers are then told to insist on it.
    """

    def __init__(self, app: App, guard: Guard, measures: Measures, secure: bool = False) -> None:
        self.app, self.guard, self.measures = app, guard, measures
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._headers)
        started = time.perf_counter()
        try:
            refusal = self._refusal(scope)
            if refusal:
                await _refuse(exchange.send, *refusal)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        finally:
            self._count(scope, exchange, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        sentence = self.guard.refusal(headers)
        if sentence:
            return (_MISDIRECTED if "origin" not in headers else 403), sentence
        path = scope["path"]
        if path in PUBLIC or path.startswith("/static/"):
            return None
        if not self.guard.knows(headers.get("authorization")):
            return 401, "a token is needed: send the header Authorization: Bearer TOKEN"
        return None

    def _count(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        status = HUNG_UP if exchange.gone else exchange.status
        self.measures.requests.labels(route, str(status)).inc()
        self.measures.seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in ("/health", "/jobs/{job}") else logging.INFO
        _log.log(
            level, "%s %s %d %d bytes %.3f s",
            scope["method"], route, status, exchange.received, seconds,
        )  # fmt: skip


class _Exchange:
    """One request and its answer, watched."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self._receive, self._send, self._headers = receive, send, headers
        self.status, self.received, self.gone = 500, 0, False
        given = dict(scope["headers"])
        self._body_left = b"content-length" in given or b"transfer-encoding" in given
        self._asks_first = given.get(b"expect", b"").lower() == b"100-continue"
        self._asked = False
        self._static = scope["path"].startswith("/static/") or scope["path"] in ("/", "/docs")

    async def receive(self) -> Message:
        self._asked = True
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._body_left = False
            self.gone = self.gone or not self._answered
        else:
            self.received += len(message.get("body", b""))
            self._body_left = bool(message.get("more_body", False))
        return message

    _answered = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            self.status = message["status"]
            named = {name for name, _ in message.get("headers", [])}
            extra = [pair for pair in self._headers if pair[0] not in named]
            if b"cache-control" not in named:
                value = b"no-cache" if self._static else b"no-store"
                extra.append((b"cache-control", value))
            if self._body_left:
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self._body_left:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        """Take in a little of what still comes: a connection closed at once loses the answer."""
        if self._asks_first and not self._asked:
            return
        most = self.received + _DRAIN_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._body_left and self.received < most:
                    await self.receive()


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
