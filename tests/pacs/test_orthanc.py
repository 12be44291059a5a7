"""The node beside a real Orthanc: film in, results in the same study, whatever is switched off between."""

import io
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrlens.pacs.courier import Destination, StoreNode, StowServer
from cxrlens.pacs.dicomweb import DicomWeb
from cxrlens.pacs.node import Node, identify
from cxrlens.pacs.overlay import presentation_state
from cxrlens.pacs.spool import Spool, key_of
from cxrlens.prediction import Predictor
from cxrlens.runs import open_model

from .dicom_film import CR, film_bytes, film_dataset, pixels_of, write_film
from .node_process import NodeProcess
from .orthanc import MISSING, Orthanc, free_port, until
from .test_results import heat_of, result_of

pytestmark = [
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    # pynetdicom leaves the socket of a failed call to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*<socket:pytest.PytestUnraisableExceptionWarning"),
]

RULE = Path(__file__).parents[2] / "docs" / "pacs" / "forward.lua"


@contextmanager
def node(
    model: Path, folder: Path, port: int, to: Destination, overlay: bool = True
) -> Iterator[Spool]:
    """Our node in a thread of this process."""
    saved = open_model(model)
    spool = Spool(folder, reserve=0)
    us = Predictor.of(saved), identify(saved), "CXRLENS", ["ORTHANC"]
    ours = Node(spool, *us, to, first_wait=0.2, overlay=overlay)
    ready = threading.Event()
    ended: list[bool] = []
    thread = threading.Thread(
        target=lambda: ended.append(ours.run("127.0.0.1", port, lambda _: ready.set()))
    )
    thread.start()
    assert ready.wait(30)
    try:
        yield spool
    finally:
        ours.stop()
        thread.join(30)
    assert ended == [True]


def c_store(orthanc: Orthanc) -> StoreNode:
    return StoreNode("ORTHANC", "127.0.0.1", orthanc.dicom, "CXRLENS")


def as_expected(orthanc: Orthanc, films: int) -> None:
    """Each film's study has one capture, one report and at most one overlay; Orthanc holds nothing else."""
    results = orthanc.results()
    assert len(orthanc.instances()) == films + len(results)
    by_study: dict[str, list[str]] = {}
    for result in results:
        by_study.setdefault(result["study"], []).append(result["kind"])
    assert len(by_study) == films
    # A map without a strong region has no overlay.
    assert {tuple(sorted(kinds)) for kinds in by_study.values()} <= {
        ("OT", "SR"),
        ("OT", "PR", "SR"),
    }


def until_delivered(spool: Spool, films: int) -> None:
    until(lambda: sum(1 for _ in spool.done.iterdir()) == films, what="receipts")


def test_a_film_comes_back_with_picture_and_report_by_a_rule(small_run, tmp_path: Path) -> None:
    """As the documentation sets it up: Orthanc forwards by the Lua rule, results come by C-STORE."""
    port = free_port()
    with (
        Orthanc(tmp_path / "orthanc", port, RULE) as orthanc,
        node(small_run.path, tmp_path / "spool", port, c_store(orthanc)) as spool,
    ):
        film = film_dataset(1, PatientName="<b>Müller</b>^Jürgen=山田^太郎")
        file = io.BytesIO()
        film.save_as(file, enforce_file_format=True)
        orthanc.take(file.getvalue())
        orthanc.take(film_bytes(2, kind=CR))
        until_delivered(spool, 2)
        as_expected(orthanc, films=2)
        for result in orthanc.results():
            stored = pydicom.dcmread(io.BytesIO(orthanc.file(result["id"])))
            if stored.StudyInstanceUID == film.StudyInstanceUID:
                assert stored.PatientName == film.PatientName
            if result["kind"] == "OT":
                assert np.ptp(stored.pixel_array) > 200
        # The node's own results are no films: the rule does not send them round again.
        time.sleep(1)
        as_expected(orthanc, films=2)
        until(lambda: spool.counts() == {"waiting": 0, "results": 0, "failed": 0})
        assert {path.stem for path in spool.done.iterdir()} == {
            key_of(str(film_dataset(number).SOPInstanceUID)) for number in (1, 2)
        }


@pytest.mark.slow
def test_a_resend_is_the_same_instance(small_run, tmp_path: Path) -> None:
    port = free_port()
    with (
        Orthanc(tmp_path / "orthanc", port) as orthanc,
        node(small_run.path, tmp_path / "spool", port, c_store(orthanc)) as spool,
    ):
        name = orthanc.take(film_bytes(1))
        orthanc.forward(name)
        (receipt,) = until(lambda: list(spool.done.iterdir()))
        first = json.loads(receipt.read_text())
        receipt_again = receipt.stat().st_ino
        orthanc.forward(name)
        until(lambda: receipt.stat().st_ino != receipt_again, what="a second receipt")
        as_expected(orthanc, films=1)
        assert json.loads(receipt.read_text())["made"] == first["made"]


@pytest.mark.slow
def test_results_of_a_bundle_go_out_by_stow(small_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", port) as orthanc:
        to = StowServer(DicomWeb.at(f"{orthanc.url}/dicom-web"))
        with node(small_bundle, tmp_path / "spool", port, to) as spool:
            orthanc.forward(orthanc.take(film_bytes(1)))
            until_delivered(spool, 1)
            as_expected(orthanc, films=1)


@pytest.mark.slow
def test_the_overlay_can_be_switched_off(small_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", port) as orthanc:
        for number, overlay in ((1, True), (2, False)):
            folder = tmp_path / f"spool-{number}"
            with node(small_bundle, folder, port, c_store(orthanc), overlay) as spool:
                orthanc.forward(orthanc.take(film_bytes(number)))
                until_delivered(spool, 1)
        kinds = {}
        for result in orthanc.results():
            kinds.setdefault(result["study"], set()).add(result["kind"])
        assert sorted(map(sorted, kinds.values())) == [["OT", "PR", "SR"], ["OT", "SR"]]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["C-STORE", "STOW-RS"])
def test_orthanc_takes_an_overlay_and_gives_it_back_whole(by: str, tmp_path: Path) -> None:
    film = film_dataset(1)
    result, heat = result_of(write_film(tmp_path, 1), pixels_of(0)), heat_of(pixels_of(0))
    state = presentation_state(result, heat)
    assert state is not None
    sent = pydicom.dcmread(io.BytesIO(state))
    with Orthanc(tmp_path / "orthanc", free_port()) as orthanc:
        orthanc.take(film_bytes(1))
        to = (
            c_store(orthanc)
            if by == "C-STORE"
            else StowServer(DicomWeb.at(f"{orthanc.url}/dicom-web"))
        )
        with to.connected() as deliver:
            deliver(sent)
        (found,) = orthanc.results()
        assert found["kind"] == "PR"
        (study,) = orthanc.get("/studies?expand")
        assert study["MainDicomTags"]["StudyInstanceUID"] == film.StudyInstanceUID
        stored = pydicom.dcmread(io.BytesIO(orthanc.file(found["id"])))
        assert stored.GraphicAnnotationSequence == sent.GraphicAnnotationSequence
        assert stored.ReferencedSeriesSequence == sent.ReferencedSeriesSequence


@pytest.mark.slow
def test_results_wait_while_orthanc_is_away(small_run, tmp_path: Path) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port).start()
    elsewhere = StoreNode("ORTHANC", "127.0.0.1", free_port(), "CXRLENS")
    names = [orthanc.take(film_bytes(number)) for number in range(3)]
    with node(small_run.path, tmp_path / "spool", port, elsewhere) as spool:
        orthanc.forward(*names)
        orthanc.stop()
        until(lambda: spool.counts() == {"waiting": 0, "results": 3, "failed": 0})
    orthanc.start()
    try:
        with node(small_run.path, tmp_path / "spool", port, c_store(orthanc)) as spool:
            until_delivered(spool, 3)
            as_expected(orthanc, films=3)
            until(lambda: spool.counts() == {"waiting": 0, "results": 0, "failed": 0})
    finally:
        orthanc.stop()


@pytest.mark.slow
def test_kills_and_restarts_in_the_middle_lose_and_double_nothing(
    small_run, tmp_path: Path
) -> None:
    """The command itself: killed while films come, Orthanc stopped while results go, then in order."""
    port, films = free_port(), 30
    orthanc = Orthanc(tmp_path / "orthanc", port).start()
    ours = NodeProcess(
        small_run.path,
        tmp_path / "spool",
        *("--to", f"ORTHANC@127.0.0.1:{orthanc.dicom}"),
        port=port,
    )
    try:
        names = [orthanc.take(film_bytes(number)) for number in range(films)]
        ours.start()
        orthanc.forward(*names)  # returns when all are acknowledged
        ours.kill()
        assert sum(ours.in_spool()[place] for place in ("waiting", "results", "done")) >= films
        ours.start()
        until(lambda: ours.in_spool()["done"] > 0, what=ours.said()[-2000:])
        ours.kill()
        orthanc.stop()
        ours.start()
        until(lambda: ours.in_spool()["waiting"] == 0, what=ours.said()[-2000:])
        orthanc.start()
        until(lambda: ours.in_spool()["done"] == films, what=ours.said()[-2000:])
        assert ours.stop() == 0
        assert ours.in_spool() == {
            **dict.fromkeys(("incoming", "waiting", "results", "failed"), 0),
            "done": films,
        }
        as_expected(orthanc, films)
        said = ours.said()
        for private in ("Rossi", "Maria", "MRN0042", "19700101", "1.2.826.0.1.3680043.10.511"):
            assert private not in said
        assert "Traceback" not in said
    finally:
        orthanc.stop()
        if ours.process is not None:
            ours.process.send_signal(signal.SIGKILL)
            ours.process.wait(10)


@pytest.mark.slow
def test_a_burst_of_two_hundred_films(small_run, tmp_path: Path) -> None:
    port, films = free_port(), 200
    with (
        Orthanc(tmp_path / "orthanc", port) as orthanc,
        node(small_run.path, tmp_path / "spool", port, c_store(orthanc)) as spool,
    ):
        names = [orthanc.take(film_bytes(number)) for number in range(films)]
        orthanc.forward(*names)
        until(lambda: sum(1 for _ in spool.done.iterdir()) == films, 300, "receipts")
        as_expected(orthanc, films)
