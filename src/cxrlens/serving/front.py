"""The server's front door: every request passes here before a route sees it, every answer on its way out.

It refuses those who may not ask, adds the headers, counts, and writes the log: method, route, status,
bytes and time, never a name of a file, a query or an address.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cxrlens.serving.measures import Measures
from cxrlens.serving.security import HEADERS, Guard

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
