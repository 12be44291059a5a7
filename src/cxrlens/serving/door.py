"""Who may come in: TLS of both sides, the token, and the names and origins that may ask."""

import hashlib
import hmac
import ipaddress
import re
import ssl
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from cxrlens.errors import CxrlensError

TOKEN_VARIABLE = "CXRLENS_TOKEN"
"""Environment variable that holds the token where no file is named."""

SHORTEST_TOKEN = 16

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(:\d{1,5})?", re.ASCII)
"""A name or an address in brackets, and perhaps a port (RFC 3986)."""


def listening(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """Return the TLS context of a side that is called.

    Parameters
    ----------
    certificate, key
        PEM files of our own; the key has no password.
    ca
        PEM file of those who vouch for callers: a caller without a certificate of theirs is then refused.

    Raises
    ------
    CxrlensError
        If a file cannot be read or is none, or certificate and key are not of one pair.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, ca)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """Return the TLS context of a side that calls, and shows its own certificate.

    Parameters
    ----------
    certificate, key
        As `listening`.
    ca
        PEM file of those who vouch for the other side; default those that the system trusts.

    Raises
    ------
    CxrlensError
        As `listening`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, ca)
    if ca is None:
        context.load_default_certs()
    return context


def _context(protocol: int, certificate: Path, key: Path, ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    for path in filter(None, (certificate, key, ca)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CxrlensError(f"{path} cannot be read: {error.strerror}") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise CxrlensError(
            f"{certificate} and {key} are no certificate and its key: "
            "both must be PEM without a password, and of one pair"
        ) from error
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise CxrlensError(f"{ca} holds no certificate: it must be PEM") from error
    return context


def _no_password() -> str:
    # Without it OpenSSL would ask the terminal, and the server wait for an answer.
    raise ValueError("the key has a password")


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
        self._digest = _digest(token) if token is not None else None
        self._hosts = LOCAL_NAMES | {host.lower() for host in hosts}
        self._origins = frozenset(origins)

    @property
    def asks_for_token(self) -> bool:
        """Whether requests must bear a token."""
        return self._digest is not None

    def knows(self, authorization: str) -> bool:
        """Compare the header ``Authorization: Bearer TOKEN`` in constant time."""
        if self._digest is None:
            return True
        scheme, _, token = authorization.partition(" ")
        same = hmac.compare_digest(_digest(token.strip()), self._digest)
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
        if self._digest is None and (found is None or found["name"].lower() not in self._hosts):
            return 403 if origin else 421, (
                "without a token the server answers only to names of this machine: "
                "call it 127.0.0.1, or start it with --allow-host"
            )
        if origin and origin not in self._origins and origin.partition("://")[2] != host:
            return 403, "pages of other sites may not ask: start the server with --allow-origin"
        return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
