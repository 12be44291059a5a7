"""Many clients at once, clients that hang up, uploads without end: against a real server."""

import asyncio
import dataclasses
import http.client
import resource
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.prediction import Prediction, Predictor
from cxrlens.progress import Progress
from cxrlens.serving.api import create_app
from cxrlens.serving.limits import LEAST_MEMORY, BusyError, Limits, Places
from cxrlens.serving.work import Batcher, Engine, Jobs, to_show
from tests.serving.live_server import live, port_of


def multipart(film: bytes) -> tuple[bytes, str]:
    head = b'--x\r\ncontent-disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
    return head + film + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def held(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Predictor, threading.Event, list[int]]]:
    """The model, the event that lets it go on, and the sizes of its batches."""
    go_on, sizes = threading.Event(), []
    real = predictor.predict_many

    def waiting(films: list[NDArray[np.uint8]]) -> Iterator[Prediction | FilmError]:
        sizes.append(len(films))
        assert go_on.wait(60)
        return real(films)

    monkeypatch.setattr(predictor, "predict_many", waiting)
    yield predictor, go_on, sizes
    go_on.set()


@pytest.mark.slow
def test_films_that_wait_go_together(
    held: tuple[Predictor, threading.Event, list[int]], card: ModelCard, film: bytes
) -> None:
    predictor, go_on, sizes = held
    app = create_app(predictor, card, Limits(batch=4))
    engine: Engine = app.state.engine
    with live(app) as address, ThreadPoolExecutor(7) as pool:
        first = pool.submit(httpx.post, f"{address}/predict", files={"film": film}, timeout=30)
        until(lambda: sizes == [1])
        rest = [
            pool.submit(httpx.post, f"{address}/predict", files={"film": film}, timeout=30)
            for _ in range(6)
        ]
        until(lambda: engine.places.taken == 7 and engine.batcher.waiting == 6)
        go_on.set()
        answers = [one.result() for one in (first, *rest)]
    assert sizes == [1, 4, 2]
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.json()["films"][0]["predicted"]) for answer in answers}) == 1


def test_beyond_the_queue_one_is_told_when_to_come_again(
    held: tuple[Predictor, threading.Event, list[int]], card: ModelCard, film: bytes
) -> None:
    predictor, go_on, _ = held
    limits = Limits(queue=8)
    app = create_app(predictor, card, limits)
    body, kind = multipart(film)
    # One client for all: making two hundred takes longer than what is tested.
    with (
        live(app) as address,
        httpx.Client(timeout=60, limits=httpx.Limits(max_connections=60)) as client,
        ThreadPoolExecutor(60) as pool,
    ):

        def ask(_: int) -> httpx.Response:
            head = {"content-type": kind}
            return client.post(f"{address}/predict", content=body, headers=head)

        asked = [pool.submit(ask, number) for number in range(200)]
        until(lambda: sum(one.done() for one in asked) >= 200 - 8)
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200
        go_on.set()
        answers = [one.result() for one in asked]
        statuses = [answer.status_code for answer in answers]
        assert sorted(set(statuses)) == [200, 503]
        assert statuses.count(200) == 8
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert int(busy.headers["retry-after"]) >= 1
        assert ask(0).status_code == 200  # every place is free again
        assert app.state.engine.places.taken == 0


def test_a_client_that_hangs_up_frees_its_place(
    held: tuple[Predictor, threading.Event, list[int]], card: ModelCard, film: bytes
) -> None:
    predictor, go_on, sizes = held
    app = create_app(predictor, card)
    engine: Engine = app.state.engine
    body, kind = multipart(film)
    with live(app) as address:

        def ask(content: bytes) -> http.client.HTTPConnection:
            line = http.client.HTTPConnection("127.0.0.1", port_of(address))
            line.putrequest("POST", "/predict")
            line.putheader("content-type", kind)
            line.putheader("content-length", str(len(body)))
            line.endheaders()
            line.send(content)
            return line

        worked_on = ask(body)
        until(lambda: sizes == [1])
        waits = ask(body)
        until(lambda: engine.batcher.waiting == 1)
        half_way = ask(body[:50])
        until(lambda: engine.places.taken == 3)
        for line in (worked_on, waits, half_way):
            line.close()
        until(lambda: engine.places.taken == 0)
        go_on.set()
        assert httpx.post(f"{address}/predict", files={"film": film}, timeout=60).status_code == 200
        assert 'status="499"} 3.0' in httpx.get(f"{address}/metrics", timeout=60).text
    assert sizes == [1, 1]  # the one that waited never reached the network


def test_two_gigabytes_are_cut_off_early(
    predictor: Predictor, card: ModelCard, film: bytes
) -> None:
    with live(create_app(predictor, card)) as address:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        declared = http.client.HTTPConnection("127.0.0.1", port_of(address))
        declared.putrequest("POST", "/predict")
        declared.putheader("content-type", "multipart/form-data; boundary=x")
        declared.putheader("content-length", str(2**31))
        declared.endheaders()
        assert declared.getresponse().status == 413  # before a byte of it was sent
        declared.close()

        line = socket.create_connection(("127.0.0.1", port_of(address)))
        line.sendall(
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
            b"content-type: multipart/form-data; boundary=x\r\n\r\n"
        )
        head = multipart(b"")[0].removesuffix(b"\r\n--x--\r\n")
        line.sendall(b"%x\r\n%s\r\n" % (len(head), head))
        chunk = b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
        sent = 0
        with pytest.raises(OSError):
            for _ in range(2048):
                line.sendall(chunk)
                sent += 1
        line.close()
        assert 60 < sent < 200
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 400 * 1024  # kilobytes
        assert httpx.post(f"{address}/predict", files={"film": film}, timeout=60).status_code == 200


def test_a_slow_upload_ends(predictor: Predictor, card: ModelCard) -> None:
    with live(create_app(predictor, card, Limits(upload_seconds=0.2))) as address:
        line = http.client.HTTPConnection("127.0.0.1", port_of(address))
        line.putrequest("POST", "/predict")
        line.putheader("content-type", "multipart/form-data; boundary=x")
        line.putheader("content-length", "1000")
        line.endheaders()
        line.send(b"--x\r\n")
        assert line.getresponse().status == 408


def test_a_slow_answer_ends(
    held: tuple[Predictor, threading.Event, list[int]], card: ModelCard, film: bytes
) -> None:
    predictor, go_on, _ = held
    with live(create_app(predictor, card, Limits(answer_seconds=0.2))) as address:
        late = httpx.post(f"{address}/predict", files={"film": film}, timeout=60)
        assert (late.status_code, late.headers["retry-after"]) == (504, "10")
        go_on.set()


def test_a_fault_in_the_network_reaches_those_who_wait_and_no_others() -> None:
    def predict(films: list[NDArray[np.uint8]]) -> list[Prediction | FilmError]:
        if films[0].size == 1:
            raise ZeroDivisionError
        return [FilmError("no film") for _ in films]

    async def asked() -> list[Prediction | BaseException]:
        batcher = Batcher(predict)
        films = (np.zeros((side, side), np.uint8) for side in (1, 2))
        answers = [
            await asyncio.gather(batcher.predict(film), return_exceptions=True) for film in films
        ]
        batcher.close()
        return [answer for (answer,) in answers]

    broken, other = asyncio.run(asked())
    assert isinstance(broken, ZeroDivisionError)
    assert isinstance(other, FilmError)


def test_places_are_counted() -> None:
    places = Places(3)
    with places.hold(2), pytest.raises(BusyError, match="come again"), places.hold(2):
        pass
    with places.hold(1) as more:
        more(2)
        assert places.taken == 3
        with pytest.raises(BusyError):
            more(1)
        with places.hold(1, beyond=True):
            assert places.taken == 4
    assert places.taken == 0


def test_one_setting_scales_every_share_and_must_hold_a_film() -> None:
    half, whole = Limits(memory=2**29), Limits(memory=2**30)
    for share in ("upload_bytes", "decoded_bytes", "kept_bytes"):
        assert 2 * getattr(half, share) == getattr(whole, share)
    assert whole.upload_bytes + whole.decoded_bytes + whole.kept_bytes == whole.memory
    assert whole.request_bytes <= whole.upload_bytes
    with pytest.raises(CxrlensError, match="set --memory to 257 or more"):
        Limits(memory=2**28)


def test_uploads_beyond_the_memory_are_turned_away_as_their_bytes_arrive(
    predictor: Predictor, card: ModelCard, film: bytes
) -> None:
    app = create_app(predictor, card, Limits(upload_seconds=2))
    engine: Engine = app.state.engine
    engine.uploads.count = 100_000
    body, kind = multipart(bytes(60_000))
    with live(app) as address:

        def begun(declared: int) -> http.client.HTTPConnection:
            line = http.client.HTTPConnection("127.0.0.1", port_of(address))
            line.putrequest("POST", "/predict")
            line.putheader("content-type", kind)
            line.putheader("content-length", str(declared))
            line.endheaders()
            line.send(body[:-10])
            return line

        slow = begun(len(body))
        until(lambda: engine.uploads.taken > 50_000)
        refused = begun(len(body)).getresponse()
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        slow.close()  # hung up
        until(lambda: engine.uploads.taken == 0)
        late = begun(len(body))
        assert late.getresponse().status == 408
        assert httpx.post(f"{address}/predict", files={"film": film}, timeout=60).status_code == 200
        assert (
            httpx.post(f"{address}/predict", files={"film": b"none"}, timeout=60).status_code == 422
        )
        assert (engine.uploads.taken, engine.decoded.taken) == (0, 0)
        assert (
            'cxrlens_held_bytes{share="uploads"} 0.0'
            in httpx.get(f"{address}/metrics", timeout=60).text
        )


def test_a_film_is_decoded_when_there_is_room_for_it(
    held: tuple[Predictor, threading.Event, list[int]], card: ModelCard, film: bytes
) -> None:
    predictor, go_on, sizes = held
    app = create_app(predictor, card)
    engine: Engine = app.state.engine
    engine.decoded.count = 1
    with live(app) as address, ThreadPoolExecutor(2) as pool:

        def ask() -> int:
            return httpx.post(f"{address}/predict", files={"film": film}, timeout=30).status_code

        first = pool.submit(ask)
        until(lambda: sizes == [1])
        second = pool.submit(ask)
        until(lambda: engine.places.taken == 2)
        time.sleep(0.1)
        assert (engine.batcher.waiting, engine.decoded.taken) == (0, 64 * 64)
        go_on.set()
        assert (first.result(), second.result()) == (200, 200)
    assert sizes == [1, 1]
    assert engine.decoded.taken == 0


def test_a_film_that_nobody_waits_for_is_let_go() -> None:
    go_on = threading.Event()

    def predict(films: list[NDArray[np.uint8]]) -> list[Prediction | FilmError]:
        assert go_on.wait(60)
        return [FilmError("no film") for _ in films]

    async def asked() -> None:
        batcher = Batcher(predict)
        films = [np.zeros((2, 2), np.uint8) for _ in range(2)]
        gone = [weakref.ref(film) for film in films]
        first = asyncio.create_task(batcher.predict(films[0]))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.predict(films[1]))
        await asyncio.sleep(0.05)
        assert batcher.waiting == 1
        del films
        second.cancel()
        await asyncio.wait([second])
        assert gone[1]() is None
        go_on.set()
        with pytest.raises(FilmError):
            await first
        await asyncio.sleep(0.05)
        assert gone[0]() is None
        batcher.close()

    asyncio.run(asked())


def test_the_oldest_maps_make_room_for_newer_ones(
    predictor: Predictor, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_GRAYSCALE)
    prediction = predictor.predict(np.asarray(pixels, np.uint8))

    def explain(prediction: Prediction, method: str, target: str, progress: Progress) -> HeatMap:
        shown = np.zeros((2048, 2048), np.uint8)
        return HeatMap(shown.astype(np.float32), shown, method, target)

    monkeypatch.setattr(Prediction, "explain", explain)
    limits = Limits(film_bytes=2**20, memory=LEAST_MEMORY)
    jobs = Jobs(limits)
    made = [jobs.start(prediction, "slow", "normal") for _ in range(3)]
    until(lambda: made[-1].status == "done" and not any(job.open for job in made))
    assert [job.status for job in made] == ["failed", "failed", "done"]
    assert "made room for newer ones" in str(made[0].error)
    assert 0 < jobs.kept <= limits.kept_bytes
    assert {job.prediction for job in made} == {None}  # nor the film that came
    assert made[-1].said["probabilities"] == prediction.probabilities
    jobs.close()


def test_large_films_are_explained_at_the_size_of_a_screen(predictor: Predictor) -> None:
    prediction = predictor.predict(np.tile(np.arange(250, dtype=np.uint8), (3000, 10)))
    crop = dataclasses.replace(prediction.examination, cropped=(300, 0, 0, 30))
    shown = to_show(dataclasses.replace(prediction, examination=crop))
    assert shown.film is not None
    assert shown.film.shape == (2048, 1707)
    assert shown.examination.cropped == (205, 0, 0, 20)
    assert shown.explain("gradcam", "normal").values.shape == (2048, 1707)


@pytest.fixture
def stepping(
    predictor: Predictor, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> tuple[Prediction, threading.Semaphore]:
    """A prediction whose explanation takes ten steps, one for each release of the semaphore."""
    pixels = cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_GRAYSCALE)
    prediction = predictor.predict(np.asarray(pixels, np.uint8))
    steps, real = threading.Semaphore(0), Prediction.explain

    def explain(prediction: Prediction, method: str, target: str, progress: Progress) -> HeatMap:
        for done in range(10):
            assert steps.acquire(timeout=60)
            if method == "impossible":
                raise CxrlensError("this model has no maps")
            progress(done + 1, 10)
        return real(prediction, "gradcam", target)

    monkeypatch.setattr(Prediction, "explain", explain)
    return prediction, steps


def test_a_job_tells_how_far_it_is_and_ends(
    stepping: tuple[Prediction, threading.Semaphore],
) -> None:
    prediction, steps = stepping
    jobs = Jobs(Limits(jobs=2))
    job = jobs.start(prediction, "slow", "normal")
    steps.release(3)
    until(lambda: job.done == 3)
    assert (job.status, job.of) == ("running", 10)
    other = jobs.start(prediction, "impossible", "normal")
    assert other.status == "waiting"
    with pytest.raises(BusyError):
        jobs.start(prediction, "slow", "normal")
    steps.release(8)
    until(lambda: other.status == "failed")
    assert job.status == "done"
    assert job.heat is not None
    assert other.error == "this model has no maps"
    jobs.close()


def test_a_job_is_given_up_when_asked_or_forgotten(
    stepping: tuple[Prediction, threading.Semaphore],
) -> None:
    prediction, steps = stepping
    jobs = Jobs(Limits(job_idle_seconds=0.05, job_kept_seconds=0.1))
    job = jobs.start(prediction, "slow", "normal")
    steps.release()
    until(lambda: job.done == 1)
    jobs.cancel(job.id)
    assert (job.status, job.prediction) == ("cancelled", None)
    steps.release()
    forgotten = jobs.start(prediction, "slow", "normal")
    steps.release()
    until(lambda: forgotten.done == 1)
    time.sleep(0.06)
    jobs.sweep()
    assert forgotten.status == "cancelled"
    time.sleep(0.1)
    jobs.sweep()
    assert jobs.get(forgotten.id) is None
    steps.release(20)
    jobs.close()
