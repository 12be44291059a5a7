"""Who may ask: the token, the address, the host name; and what every answer's headers forbid.

A server on the loopback address answers without a token to programs of the same machine. A page of
another site in a browser on that machine is no such program: requests that name another host
(DNS rebinding) or come from another origin are refused.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from cxrlens.errors import CxrlensError

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
