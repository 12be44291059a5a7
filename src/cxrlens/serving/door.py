"""Who may come in, and what surrounds every request: token, names and origins; guard, headers, log."""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxrlens.errors import CxrlensError
from cxrlens.evaluation.card import ModelCard
from cxrlens.prediction.predictor import Prediction
from cxrlens.prediction.trust import DRIFTED, LATEST, REASONS, Watch

TOKEN_VARIABLE = "CXRLENS_TOKEN"
"""Environment variable that holds the token where no file is named."""

SHORTEST_TOKEN = 16

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(:\d{1,5})?", re.ASCII)
"""A name or an address in brackets, and perhaps a port (RFC 3986)."""


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
    CxrlensError
        If the file cannot be read, or the token is too short or has other than printable ASCII signs.
    """
    token = variable
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CxrlensError(
                f"{file} cannot be read as a token file: write one line into it"
            ) from error
    if token is None:
        return None
    token = token.strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise CxrlensError(
            f"the token in {file or TOKEN_VARIABLE} needs at least {SHORTEST_TOKEN} printable ASCII "
            "signs: make one with openssl rand -hex 32"
        )
    return token


def need_token(host: str, token: str | None) -> None:
    """Refuse to listen without a token where other machines reach the address.

    Raises
    ------
    CxrlensError
        If `host` is no loopback address and there is no token.
    """
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_local = False
    if token is None and not is_local:
        raise CxrlensError(
            f"{host} can be reached from other machines: give a token with --token-file or "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )


class Guard:
    """Decide on a request by its headers.

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
        self._token_digest = _token_digest(token) if token is not None else None
        self._hosts = LOCAL_NAMES | {host.lower() for host in hosts}
        self._origins = frozenset(origins)

    @property
    def asks_for_token(self) -> bool:
        """Whether requests must bear a token."""
        return self._token_digest is not None

    def knows(self, authorization: str) -> bool:
        """Compare the header ``Authorization: Bearer TOKEN`` in constant time."""
        if self._token_digest is None:
            return True
        scheme, _, token = authorization.partition(" ")
        same = hmac.compare_digest(_token_digest(token.strip()), self._token_digest)
        return same and scheme.lower() == "bearer"

    def refusal(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return status and sentence of a request that may not be answered, whatever its token; else None.

        Parameters
        ----------
        headers
            By lower-case name.
        """
        host, origin = headers.get("host", ""), headers.get("origin", "")
        found = _HOST.fullmatch(host)
        # A page of another site can have its own name point at this machine (DNS rebinding): it comes
        # from a browser inside the walls, but it calls us by that name.
        if self._token_digest is None and (
            found is None or found["name"].lower() not in self._hosts
        ):
            return 403 if origin else 421, (
                "without a token the server answers only to names of this machine: "
                "call it 127.0.0.1, or start it with --allow-host"
            )
        if origin and origin not in self._origins and origin.partition("://")[2] != host:
            return 403, "pages of other sites may not ask: start the server with --allow-origin"
        return None


def _token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


PUBLIC = frozenset({"/", "/health", "/docs", "/openapi.json"})
"""Paths that hold nothing of anybody: the empty page, its description, and that the server is up."""

HUNG_UP = 499
"""Status in log and metrics where the client did not wait for its answer."""

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

_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 32 * 1024 * 1024
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_log = logging.getLogger("cxrlens.serving")


class Counters:
    """Counters for Prometheus: requests, films, refusals; never a name, never an address.

    Parameters
    ----------
    card
        Names the model that answers.

    Attributes
    ----------
    registry
        Of these alone.
    """

    def __init__(self, card: ModelCard) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        names = ["name", "digest", "backbone", "version"]
        model = gauge("cxrlens_model", "The model that answers; always 1.", names)
        model.labels(card.name, card.digest, card.backbone, card.cxrlens).set(1)
        self.requests = counter(
            "cxrlens_requests",
            "Requests by route and status; 499 is a client that hung up.",
            ["route", "status"],
        )
        self.seconds = histogram(
            "cxrlens_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
        )
        self.films = counter(
            "cxrlens_films",
            "Films by predicted class, unsure ones by their reason.",
            ["predicted", "reason"],
        )
        self.findings = counter("cxrlens_findings", "Defects found on films.", ["defect"])
        self.unread = counter("cxrlens_films_unread", "Files that could not be read.")
        self.probability = histogram(
            "cxrlens_probability",
            "Probability of each class; its drift shows other films than before.",
            ["label"],
            buckets=[tenth / 10 for tenth in range(1, 11)],
        )
        self.watch = Watch(card.scores)
        unsure = gauge(
            "cxrlens_unsure_share", f"Of the latest {LATEST} films, by reason.", ["reason"]
        )
        for reason in REASONS:
            unsure.labels(reason).set_function(partial(self.watch.unsure, reason))
        drift = gauge(
            "cxrlens_score_drift",
            f"Population stability index of the latest scores against the card's; alarm from {DRIFTED}.",
            ["label"],
        )
        for label in card.scores:
            drift.labels(label).set_function(partial(self.watch.drift, label))
        gauge("cxrlens_score_drift_alarm", "1 where a disease's drift is an alarm.").set_function(
            lambda: self.watch.told()["cxrlens_score_drift_alarm"]
        )
        self.batches = histogram(
            "cxrlens_batch_films", "Films of one call of the network.", buckets=(1, 2, 4, 8, 16, 32)
        )
        self.places = gauge("cxrlens_films_in_work", "Films in the server now.")
        self.held = gauge(
            "cxrlens_held_bytes",
            "Bytes held now: uploads, decoded films, maps that are kept.",
            ["share"],
        )

    def count(self, prediction: Prediction) -> None:
        """Count one predicted film."""
        self.films.labels(prediction.predicted, prediction.reason).inc()
        self.watch.see(prediction.scores, prediction.reason)
        for defect, present in prediction.findings.items():
            if present:
                self.findings.labels(defect).inc()
        for label, value in prediction.probabilities.items():
            self.probability.labels(label).observe(value)


class Middleware:
    """ASGI middleware; see the module.

    Parameters
    ----------
    app
        What answers.
    guard, counters
        Who may ask, and who counts.
    secure
        Whether the server speaks TLS: browsers are then told to insist on it.
    """

    def __init__(
        self, app: ASGIApp, guard: Guard, counters: Counters, secure: bool = False
    ) -> None:
        self.app, self.guard, self.counters = app, guard, counters
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        bodiless = scope["method"] == "HEAD"
        if bodiless:  # the answer to GET without its body (RFC 9110, 9.3.2): watchdogs ask so
            scope = {**scope, "method": "GET"}
        exchange = _Exchange(scope, receive, send, self._headers, bodiless)
        started = time.perf_counter()
        try:
            app = self._refusal(scope) or self.app
            await app(scope, exchange.receive, exchange.send)
        finally:
            self._count(scope, exchange, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        if refusal := self.guard.refusal(headers):
            status, sentence = refusal
            return JSONResponse({"error": sentence}, status)
        is_public = path in PUBLIC or path.startswith("/static/")
        if is_public or self.guard.knows(headers.get("authorization", "")):
            return None
        sentence = "a token is needed: send the header Authorization: Bearer TOKEN"
        return JSONResponse({"error": sentence}, 401, {"www-authenticate": "Bearer"})

    def _count(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        # The route's pattern, never the path: that may hold a name, or a job's secret.
        route = getattr(scope.get("route"), "path", None) or "other"
        status = HUNG_UP if exchange.gone else exchange.status
        self.counters.requests.labels(route, str(status)).inc()
        self.counters.seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in ("/health", "/jobs/{job}") else logging.INFO
        said = scope["method"], route, status, exchange.received, seconds
        _log.log(level, "%s %s %d %d bytes %.3f s", *said)


class _Exchange:
    """One request and its answer, watched."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        bodiless: bool,
    ) -> None:
        self._receive, self._send, self._headers = receive, send, headers
        self._bodiless = bodiless
        self.status, self.received, self.gone = 500, 0, False
        given = Headers(scope=scope)
        self._body_left = "content-length" in given or "transfer-encoding" in given
        self._asks_first = given.get("expect", "").lower() == "100-continue"
        self._asked = self._answered = False
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

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            self.status = message["status"]
            named = {name for name, _ in message.get("headers", [])}
            extra = [pair for pair in self._headers if pair[0] not in named]
            if b"cache-control" not in named:
                extra.append((b"cache-control", b"no-cache" if self._static else b"no-store"))
            if self._body_left:
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        elif self._bodiless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self._body_left:
            # A connection that is closed while bytes still come is reset, and the client never reads
            # the answer: what it says goes out first, its end once a little of the rest was taken in.
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        if self._asks_first and not self._asked:
            return  # it waits for a word before it sends its body: nothing comes
        most = self.received + _DRAIN_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._body_left and self.received < most:
                    await self.receive()
