"""TLS for the server and the node: certificates out of PEM files, faults in one sentence."""

import ssl
from pathlib import Path

from cxrlens.errors import CxrlensError


def listening(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """Make the context of a side that is called.

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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _own(context, certificate, key)
    if ca is not None:
        _trust(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """Make the context of a side that calls, and shows its own certificate.

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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _own(context, certificate, key)
    if ca is None:
        context.load_default_certs()
    else:
        _trust(context, ca)
    return context


def _own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _readable(certificate)
    _readable(key)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise CxrlensError(
            f"{certificate} and {key} are no certificate and its key: "
            "both must be PEM without a password, and of one pair"
        ) from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise CxrlensError(f"{ca} holds no certificate: it must be PEM") from error


def _readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise CxrlensError(f"{path} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    raise ValueError("the key has a password")
