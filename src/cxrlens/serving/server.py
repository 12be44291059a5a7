"""Start the server: load the model, bind the address, TLS, log what may be logged."""

import logging
import logging.config
import os
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from cxrlens.errors import CxrlensError, need
from cxrlens.evaluation.card import card_of
from cxrlens.prediction.predictor import Predictor
from cxrlens.runs.saved import open_model
from cxrlens.serving.door import TOKEN_VARIABLE, need_token, read_token
from cxrlens.serving.limits import Limits


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


_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": level, "propagate": False}
        for name, level in (
            ("cxrlens.serving", "INFO"),
            ("uvicorn", "WARNING"),
            ("uvicorn.error", "WARNING"),
            ("uvicorn.access", "CRITICAL"),
            ("python_multipart", "CRITICAL"),
        )
    },
}
"""uvicorn's own access log stays off: it writes paths and addresses. The form
parser's repeats what was sent."""

_log = logging.getLogger("cxrlens.serving")


def serve(
    model: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token_file: Path | None = None,
    limits: Limits | None = None,
    device: str = "cpu",
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve a model until the process is told to stop.

    Parameters
    ----------
    model
        A run folder, or an exported bundle.
    host, port
        Where to listen; port 0 takes a free one.
    token_file
        Holds the token that requests must bear; without it the environment's ``CXRLENS_TOKEN``.
    limits
        What is taken on.
    device
        Where the network runs.
    hosts, origins
        See `cxrlens.serving.door.Guard`.
    certificate, key
        PEM files for TLS.

    Raises
    ------
    TokenError
        If others can reach the address and there is no token.
    CxrlensError
        If the model cannot be loaded, the address is taken, or the TLS files are none.
    MissingExtraError
        If FastAPI and uvicorn are not installed.
    """
    token = read_token(token_file, os.environ.get(TOKEN_VARIABLE))
    need_token(host, token)
    if (certificate is None) != (key is None):
        raise CxrlensError("TLS needs both files: --tls-certificate and --tls-key")
    need("serve", what="serving")
    from cxrlens.serving.api import create_app
    from cxrlens.serving.limits import Server

    if certificate and key:
        listening(certificate, key)  # faults now, not at the first visitor
    logging.config.dictConfig(_LOGGING)
    limits = limits or Limits()
    saved = open_model(model)
    card = card_of(saved)
    bound = _bind(host, port)
    app = create_app(
        Predictor.of(saved, device),
        card,
        limits,
        token,
        hosts=hosts,
        origins=origins,
        secure=certificate is not None,
    )
    server = Server(app, bound, limits, certificate, key)
    scheme = "https" if certificate else "http"
    name = f"[{host}]" if ":" in host else host
    _log.info(
        "%s (%s) at %s://%s:%d%s", card.name, card.digest, scheme, name, bound.getsockname()[1],
        ", token needed" if token else "",
    )  # fmt: skip
    server.run()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except socket.gaierror as error:
        raise CxrlensError(
            f"{host} is no address of this machine ({error.strerror}): choose another with --host"
        ) from error
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CxrlensError(
            f"{host} port {port} cannot be listened on ({reason}): choose another with --port"
        ) from error
    return bound
