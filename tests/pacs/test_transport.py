"""Callers of the node that say nothing, too slowly, too much, or two things under one name."""

import contextlib
import re
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import uid
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.cli.terminal import NOTICE
from cxrlens.pacs import receiver
from cxrlens.pacs.courier import StoreNode
from cxrlens.pacs.receiver import Receiver
from cxrlens.pacs.spool import Spool, key_of
from cxrlens.serving import tls
from tests.serving.certificate import certificate

from .dicom_film import CR, DX, NAME, film_dataset
from .dicom_peers import Archive, association_request, calling, send
from .node_process import NodeProcess
from .orthanc import until

SUCCESS, DUPLICATE, MISMATCH = 0x0000, 0x0111, 0xA900


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with contextlib.closing(Spool(tmp_path / "spool", reserve=0)) as spool:
        yield spool


@contextlib.contextmanager
def receiving(spool: Spool, context: ssl.SSLContext | None = None) -> Iterator[int]:
    node = Receiver(spool, "CXRLENS", ["TESTER"], lambda: None, context)
    port = node.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        node.stop(0.5)


@pytest.fixture
def silent() -> Iterator[Callable[[int], socket.socket]]:
    """Connect to a port and say nothing."""
    with contextlib.ExitStack() as lines:
        yield lambda port: lines.enter_context(
            socket.create_connection(("127.0.0.1", port), timeout=10)
        )


def is_closed(line: socket.socket, within: float = 0.01) -> bool:
    line.settimeout(within)
    try:
        while line.recv(1000):  # an A-ABORT may come first
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def echo(port: int, context: ssl.SSLContext | None = None) -> int:
    with calling(port, tls=context) as association:
        assert association.is_established
        return int(association.send_c_echo().Status)


def test_silent_callers_block_nobody_and_are_hung_up_on(
    spool: Spool, silent: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "UNKNOWN_CALLERS", 20)
    with receiving(spool) as port:
        lines = [silent(port) for _ in range(24)]
        assert echo(port) == SUCCESS
        assert all(is_closed(line, 2) for line in lines[:4])
        assert not any(is_closed(line) for line in lines[10:])


def test_a_request_for_an_association_has_its_time(
    spool: Spool, silent: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "UNKNOWN_SECONDS", 0.5)
    with receiving(spool) as port:
        mute, trickling = silent(port), silent(port)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in bytes([1, 0, 0, 0, 1, 0]) + bytes(300):
                trickling.sendall(bytes([byte]))
                if is_closed(trickling, 0.05):
                    break
        assert time.monotonic() - start < 5
        assert is_closed(mute, 5)
        assert echo(port) == SUCCESS


def test_a_pdu_larger_than_agreed_is_not_taken_in(
    spool: Spool, silent: Callable[[int], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(spool) as port:
        stranger = silent(port)
        stranger.sendall(bytes([1, 0]) + b"\xff" * 4 + bytes(1000))
        assert is_closed(stranger, 5)
        assert "a PDU of 4,294,967,295 bytes, where 65,536 were agreed" in caplog.text
        with calling(port) as association:
            association.dul.socket.socket.sendall(bytes([4, 0]) + (70_000).to_bytes(4, "big"))
            until = time.monotonic() + 5
            while association.is_established and time.monotonic() < until:
                time.sleep(0.01)
            assert not association.is_established
        assert "a PDU of 70,000 bytes, where 16,382 were agreed" in caplog.text
        assert send(port, film_dataset(1)) == [SUCCESS]


def test_what_pynetdicom_cannot_follow_ends_one_connection(
    spool: Spool, silent: Callable[[int], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it ends in an exception of a thread, which pytest would make an error."""
    request, syntax = association_request(), uid.ExplicitVRLittleEndian.encode()
    bare = bytes([0, 0, 0, 12, 1, 3]) + b"\x00\x00\x02\x01\x02\x00\x00\x00\x30\x00"
    command = b"\x04\x00" + len(bare).to_bytes(4, "big") + bare  # without its command field
    item = b"\x40\x00" + len(syntax).to_bytes(2, "big") + syntax
    context = request.index(b"\x20\x00", 74) + 2
    untold = bytearray(request.replace(item, b""))  # a context without a transfer syntax
    for at, size in ((2, 4), (context, 2)):
        length = int.from_bytes(untold[at : at + size], "big") - len(item)
        untold[at : at + size] = length.to_bytes(size, "big")
    with receiving(spool) as port:
        for opening, rest in ((request, command), (request + command, b""), (untold, b"")):
            caller = silent(port)
            caller.sendall(opening)
            if rest:
                assert caller.recv(6)[:1] == b"\x02"
                caller.sendall(rest)
            assert is_closed(caller, 5)
        assert echo(port) == SUCCESS
    assert "what it says makes no sense (AttributeError)" in caplog.text
    assert "what it says makes no sense (IndexError)" in caplog.text


def test_a_film_without_end_is_cut_off(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LARGEST", 20_000)
    large = film_dataset(1, PixelData=bytes(40_000))
    with receiving(spool) as port, calling(port) as association:
        assert "Status" not in association.send_c_store(large)
    assert not spool.films(16)


def test_associations_are_counted_and_connections_are_not(
    spool: Spool, silent: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "ASSOCIATIONS", 2)
    with receiving(spool) as port:
        for _ in range(5):
            silent(port)
        with calling(port) as first, calling(port) as second:
            assert first.is_established
            assert second.is_established
            with calling(port) as third:
                assert third.is_rejected
        assert echo(port) == SUCCESS


@pytest.mark.slow
def test_tls_in_both_directions(
    spool: Spool, silent: Callable[[int], socket.socket], tmp_path: Path
) -> None:
    ours, theirs = certificate(tmp_path, "node"), certificate(tmp_path, "archive")
    inwards = tls.listening(*ours, ca=theirs[0])
    with receiving(spool, inwards) as port:
        for _ in range(3):
            silent(port)  # shakes no hand, and holds up nobody
        assert echo(port, tls.calling(*theirs, ca=ours[0])) == SUCCESS
        plain = silent(port)
        plain.sendall(bytes(100))
        assert is_closed(plain, 5)
        stranger = ssl.create_default_context(cafile=ours[0])  # shows no certificate
        with (
            pytest.raises(ssl.SSLError),
            stranger.wrap_socket(silent(port), server_hostname="127.0.0.1") as line,
        ):
            line.recv(100)
    archive = Archive()
    with archive.open(tls=tls.listening(*theirs, ca=ours[0])):
        there = f"ARCHIVE@127.0.0.1:{archive.port}"
        destination = StoreNode.parse(there, "CXRLENS", tls.calling(*ours, ca=theirs[0]))
        with destination.connected():
            pass


def test_tls_files_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("no certificate")
    base = ["dicom-node", "--spool", str(tmp_path / "s"), "--allow", "A", "--to", "A@b:1"]
    for options, words in (
        (["--tls-certificate", "a.pem"], "both files"),
        (["--tls-certificate", "none.pem", "--tls-key", "none.pem"], "cannot be read"),
        (["--tls-certificate", "a.pem", "--tls-key", "a.pem"], "no certificate and its key"),
    ):
        named = [str(tmp_path / one) if one.endswith("pem") else one for one in options]
        result = CliRunner().invoke(app, [*base, *named])
        assert result.exit_code != 0
        said = result.output + str(result.exception)
        assert words in " ".join(said.replace("\u2502", " ").split())


def test_one_uid_is_one_film(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    film = film_dataset(1)
    other = film_dataset(1, PixelData=bytes(len(film.PixelData)))
    corrected = film_dataset(1, PatientName="Rossi^Anna")
    key = key_of(str(film.SOPInstanceUID))
    with receiving(spool) as port:
        assert send(port, film, other, film, corrected) == [SUCCESS, DUPLICATE, SUCCESS, SUCCESS]
        facts = {"pixels": spool.pixels(key)}
        spool.keep_results(key, {}, facts)  # on their way out
        assert send(port, other, film) == [DUPLICATE, SUCCESS]
        spool.drop(key)
        spool.delivered(key, {})  # a receipt is left
        assert send(port, other, film) == [DUPLICATE, SUCCESS]
    assert caplog.text.count(f"refused {key} from TESTER: there is a film of this SOP") == 3


def test_a_film_is_what_its_request_says(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    film = film_dataset(1)
    with receiving(spool) as port, calling(port) as association:
        for keyword, value in (("SOPInstanceUID", "1.2.3"), ("SOPClassUID", DX)):
            false = film_dataset(1)
            setattr(false, keyword, value)
            requested = association.dimse.send_msg

            def send_msg(message, context_id, requested=requested):
                message.AffectedSOPInstanceUID = film.SOPInstanceUID
                message.AffectedSOPClassUID = CR
                requested(message, 3)

            association.dimse.send_msg = send_msg
            assert int(association.send_c_store(false).Status) == MISMATCH
            association.dimse.send_msg = requested
    assert "the film itself says that it is another one" in caplog.text
    assert not spool.films(16)


@pytest.mark.slow
def test_the_node_says_only_its_own_lines(small_run, tmp_path: Path) -> None:
    """What pydicom and pynetdicom mind in headers and messages could quote a name."""
    odd = {"PatientID": "x" * 80, "StudyDate": "2024-02-29", "SpecificCharacterSet": "ISO_IR 999"}
    request = association_request()
    with Archive().open() as archive:
        to = f"ARCHIVE@127.0.0.1:{archive.port}"
        with NodeProcess(small_run.path, tmp_path / "spool", "--to", to) as node:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                films = film_dataset(1), film_dataset(2, PatientAge="old", **odd)
                assert send(node.port, *films) == [SUCCESS, SUCCESS]
            for at in range(0, len(request), 5):
                with socket.create_connection(("127.0.0.1", node.port), 5) as caller:
                    caller.sendall(request[:at] + b"\xff\xff" + request[at + 2 :])
                    caller.settimeout(0.02)
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        caller.recv(4096)
            until(lambda: len(archive.taken) == 4, what=node.said())
        lines = node.said().splitlines()
    assert lines[:2] == [f"CXRLENS sends results to {to}.", NOTICE]
    ours = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING|ERROR) [a-z0-9].*")
    assert [line for line in lines[2:] if not ours.fullmatch(line)] == []
    assert not re.search(f"{NAME}|xxx|2024-02-29", node.said())
