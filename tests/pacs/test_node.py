"""The node's parts against real peers: who may send, what is refused, what is tried again."""

import datetime
import io
import logging
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from cxrlens.cli import app
from cxrlens.errors import CxrlensError
from cxrlens.pacs.courier import Backoff, Courier, StoreNode
from cxrlens.pacs.header import ModelIdentity
from cxrlens.pacs.node import Worker, identify
from cxrlens.pacs.receiver import Receiver, checked_aet
from cxrlens.pacs.spool import Spool, key_of
from cxrlens.prediction import Predictor, load

from .dicom_film import CR, CT, NAME, PATIENT, film_bytes, film_dataset
from .dicom_peers import Archive, calling, send


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool", reserve=0)) as spool:
        yield spool


@contextmanager
def receiving(spool: Spool) -> Iterator[int]:
    receiver = Receiver(spool, "CXRLENS", ["TESTER", "ORTHANC"], lambda: None)
    port = receiver.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        receiver.stop()


@pytest.fixture(scope="module")
def predictor(small_run) -> Predictor:
    return load(small_run.path)


@pytest.fixture(scope="module")
def model(small_run, predictor: Predictor) -> ModelIdentity:
    return identify(small_run)


def key(film) -> str:
    return key_of(str(film.SOPInstanceUID))


# who may send, and what


def test_known_callers_are_answered_and_others_refused(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(spool) as port:
        with calling(port) as association:
            assert association.send_c_echo().Status == 0x0000
        for names in ({"own": "STRANGER"}, {"theirs": "SOMEBODY"}):
            with calling(port, **names) as association:
                assert association.is_rejected
    assert "refused a caller: STRANGER at" in caplog.text
    assert "it asked for SOMEBODY" in caplog.text


def test_a_film_is_on_the_disk_when_it_is_acknowledged(spool: Spool) -> None:
    film = film_dataset(1)
    with receiving(spool) as port:
        assert send(port, film, film) == [0x0000, 0x0000]
    (path,) = spool.films(16)
    assert path.stem == key(film)
    assert pydicom.dcmread(path).PixelData == film.PixelData


def test_a_ct_slice_is_refused_before_it_is_sent(spool: Spool) -> None:
    with receiving(spool) as port, calling(port) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        assert CR in accepted
        assert CT not in accepted
        with pytest.raises(ValueError, match="No presentation context"):
            association.send_c_store(film_dataset(1, kind=CT))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_film_without_a_valid_uid_is_refused(spool: Spool) -> None:
    with receiving(spool) as port:
        assert send(port, film_dataset(1, SOPInstanceUID="1.2.03")) == [0xC000]
    assert not spool.films(16)


def test_a_full_disk_is_said_so_and_recovers(spool: Spool) -> None:
    film = film_dataset(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with receiving(spool) as port:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # no file may grow beyond it
        try:
            assert send(port, film) == [0xA700]
            assert not list(spool.incoming.iterdir())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        spool.reserve = 2**60
        assert send(port, film) == [0xA700]
        spool.reserve = 0
        assert send(port, film) == [0x0000]


# what becomes of films


def predicted(spool: Spool, predictor: Predictor, model: ModelIdentity, *films) -> None:
    for film in films:
        file = io.BytesIO()
        film.save_as(file, enforce_file_format=True)
        spool.receive(key(film), file.getvalue())
    Worker(spool, predictor, model, 0.1, lambda: None).work(spool.films(16), threading.Event())


def results_of(spool: Spool, film) -> dict[str, pydicom.Dataset]:
    return {path.stem: pydicom.dcmread(path) for path in (spool.results / key(film)).glob("*.dcm")}


def comment_of(report: pydicom.Dataset) -> str:
    return [e.value for e in report.iterall() if e.keyword == "TextValue"][-1]


def test_bad_films_stop_no_other_and_say_why(
    spool: Spool, predictor: Predictor, model: ModelIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    good, html = film_dataset(1), film_dataset(2, PatientName="<script>alert(1)</script>^<b>")
    pixels = ("PixelData", "Rows", "Columns")
    empty = film_dataset(3, **dict.fromkeys(pixels))
    slice_ = film_dataset(4, kind=CR, Modality="CT")
    homeless = film_dataset(5, StudyInstanceUID=None)
    short = film_dataset(6, PixelData=b"\0\0")
    predicted(spool, predictor, model, good, html, empty, slice_, homeless, short)
    for film in (good, html):
        results = results_of(spool, film)
        assert {result.StudyInstanceUID for result in results.values()} == {film.StudyInstanceUID}
        assert {result.PatientName for result in results.values()} == {film.PatientName}
        assert {"1-capture", "2-report"} <= set(results) <= {"1-capture", "2-report", "3-overlay"}
    for film, word in (
        (empty, "without an image"),
        (slice_, "CT slice"),
        (homeless, "no valid StudyInstanceUID"),
        (short, "broken"),
    ):
        sentence = (spool.failed / f"{key(film)}.txt").read_text()
        assert word in sentence
        assert str(spool.folder) not in sentence
        assert (spool.failed / f"{key(film)}.dcm").exists()
    assert spool.counts() == {"waiting": 0, "results": 2, "failed": 4}
    for private in (*NAME.split("^"), PATIENT, "script", str(good.SOPInstanceUID), "19700101"):
        assert private not in caplog.text
    assert key(good) in caplog.text


def test_a_lateral_film_is_reported_as_such_and_not_predicted(
    spool: Spool, predictor: Predictor, model: ModelIdentity
) -> None:
    film = film_dataset(1, ViewPosition="LL")
    predicted(spool, predictor, model, film)
    results = results_of(spool, film)
    assert set(results) == {"2-report"}
    assert "not a frontal film (view LL)" in comment_of(results["2-report"])
    assert not [e for e in results["2-report"].iterall() if e.keyword == "NumericValue"]


def test_a_report_carries_what_predict_says(
    spool: Spool, predictor: Predictor, model: ModelIdentity, tmp_path: Path
) -> None:
    film = film_dataset(1)
    (tmp_path / "film.dcm").write_bytes(film_bytes(1))
    predicted(spool, predictor, model, film)
    report = results_of(spool, film)["2-report"]
    values = [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
    told = predictor.predict(tmp_path / "film.dcm").probabilities
    assert values[: len(told)] == pytest.approx(
        [told[name] for name in predictor.classes], abs=1e-5
    )


def test_a_film_that_comes_again_gives_the_same_bytes(
    spool: Spool, predictor: Predictor, model: ModelIdentity
) -> None:
    film = film_dataset(1)

    def made() -> dict[str, bytes]:
        predicted(spool, predictor, model, film)
        parcel = spool.results / key(film)
        files = {path.name: path.read_bytes() for path in parcel.glob("*.dcm")}
        for path in spool.unsent(parcel):
            spool.sent(path)
        spool.delivered(key(film), {"to": "nobody"})
        return files

    first = made()
    receipt = spool.done / f"{key(film)}.json"
    then = datetime.datetime.fromisoformat(spool.receipt(key(film))["made"])
    text = receipt.read_text()
    receipt.write_text(text.replace(then.isoformat(), "2020-01-01T00:00:00"))
    earlier = made()
    assert earlier != first  # the moment is the receipt's
    assert made() == earlier


# what becomes of results


def parcel(spool: Spool, number: int) -> None:
    data = film_bytes(number, kind="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    name = key(film_dataset(number))
    spool.receive(name, data)
    spool.keep_results(name, {"1-capture.dcm": data}, {})


def deliver(courier: Courier, reached, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not reached():
        courier.deliver(threading.Event())
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_refusal_keeps_no_other_and_is_put_aside_in_the_end(spool: Spool) -> None:
    for number in range(3):
        parcel(spool, number)
    archive = Archive()
    archive.refused_studies.add(film_dataset(0).StudyInstanceUID)
    with archive.open():
        to = StoreNode("ARCHIVE", "127.0.0.1", archive.port, "CXRLENS")
        courier = Courier(spool, to, first_wait=0.02, keep_days=30, tries=4)
        assert courier.deliver(threading.Event()) == 2
        deliver(courier, lambda: not spool.parcels())
    assert len(archive.taken) == 2
    refused = key(film_dataset(0))
    assert "refused it with status 0xA900, 4 times" in (spool.failed / f"{refused}.txt").read_text()
    assert [path.name for path in (spool.failed / refused).glob("*.dcm")] == ["1-capture.dcm"]
    (spool.failed / refused).rename(spool.results / refused)  # as the documentation says
    archive.refused_studies.clear()
    with archive.open():
        deliver(courier, lambda: not spool.parcels())
    assert len(archive.taken) == 3
    assert not list(spool.failed.iterdir())
    receipt = spool.receipt(key(film_dataset(1)))
    assert receipt["to"] == f"ARCHIVE@127.0.0.1:{archive.port}"


# pynetdicom leaves the socket of a failed call to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*<socket:pytest.PytestUnraisableExceptionWarning")
def test_a_node_that_refuses_us_is_asked_again_until_it_takes_everything(spool: Spool) -> None:
    for number in range(3):
        parcel(spool, number)
    archive = Archive()
    with archive.open(callers=("SOMEBODY",)):
        to = StoreNode("ARCHIVE", "127.0.0.1", archive.port, "CXRLENS")
        courier = Courier(spool, to, first_wait=0.02, keep_days=30)
        assert courier.deliver(threading.Event()) == 0
    assert courier.deliver(threading.Event()) == 0  # now nobody is there
    archive.refused_studies = {film_dataset(n).StudyInstanceUID for n in range(3)}
    archive.status = 0xA700
    with archive.open():
        time.sleep(0.1)
        assert courier.deliver(threading.Event()) == 0  # its disk is full
        archive.refused_studies.clear()
        deliver(courier, lambda: not spool.parcels())
    assert len(archive.taken) == 3
    assert spool.counts() == {"waiting": 0, "results": 0, "failed": 0}


def test_waits_double_and_end() -> None:
    backoff = Backoff(5, longest=300)
    waits = [backoff.failed("film") for _ in range(9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert not backoff.is_due("film")
    assert backoff.is_due("another")
    backoff.succeeded("film")
    assert backoff.is_due("film")
    assert backoff.failures("film") == 0


# what a user can get wrong


@pytest.mark.parametrize("text", ["pacs:104", "A@pacs", "A@pacs:0", "A@pacs:99999", "@h:1", "A@:1"])
def test_a_destination_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CxrlensError, match="names no node: write AET@host:port"):
        StoreNode.parse(text, "CXRLENS")


def test_a_destination_is_read() -> None:
    assert StoreNode.parse("PACS 1@[::1]:104", "X") == StoreNode("PACS 1", "::1", 104, "X")


@pytest.mark.parametrize("places", [[], ["--to", "A@h:1", "--stow", "http://h"]])
def test_results_have_one_way_out(places: list[str], tmp_path: Path) -> None:
    command = [
        "dicom-node",
        "--model",
        str(tmp_path),
        "--spool",
        str(tmp_path),
        "--allow",
        "TESTER",
        *places,
    ]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 2
    assert "one of --to AET@host:port and --stow" in " ".join(said.output.replace("│", "").split())


def test_ae_titles_are_checked() -> None:
    assert checked_aet(" PACS ") == "PACS"
    for title in ("", "SEVENTEEN_LETTERS", "A\\B", "PÄCS", "A\nB"):
        with pytest.raises(CxrlensError, match="is no AE title"):
            checked_aet(title)
