"""TLS of those who listen and of those who call, from PEM files; what is wrong with one is one sentence."""

import ssl
from pathlib import Path

from cxrlens.errors import CxrlensError


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


def calling(certificate: Path | None, key: Path | None, ca: Path | None = None) -> ssl.SSLContext:
    """Return the TLS context of a side that calls.

    Parameters
    ----------
    certificate, key
        As `listening`; without them it shows no certificate of its own.
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


def _context(
    protocol: int, certificate: Path | None, key: Path | None, ca: Path | None
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    for path in filter(None, (certificate, key, ca)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CxrlensError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if certificate is not None:
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
