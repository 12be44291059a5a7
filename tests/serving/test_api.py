"""What the API answers: types, faults, headers, tokens, and that nothing of a patient is left anywhere."""

import base64
import io
import logging
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from cxrlens.collections.collection import Collection
from cxrlens.evaluation.card import ModelCard, card_of
from cxrlens.prediction import Predictor
from cxrlens.prediction.trust import REASONS
from cxrlens.quality.chain import Chain
from cxrlens.runs import Run, open_model
from cxrlens.serving.api import create_app
from cxrlens.serving.limits import Limits
from tests.radiographs.dicom_films import native
from tests.serving.live_server import live

TOKEN = "a-token-of-some-length"
CLASSES = ["normal", "pneumonia", "tuberculosis"]


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


@pytest.fixture(scope="module")
def guarded(predictor: Predictor, card: ModelCard) -> Iterator[httpx.Client]:
    app = create_app(predictor, card, token=TOKEN)
    with live(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def test_a_film_is_predicted_as_the_predictor_does(
    client: httpx.Client, predictor: Predictor, phantoms: Collection
) -> None:
    images = [Path(image) for image in phantoms.films["image"].head(5)]
    files = [("film", (image.name, image.read_bytes())) for image in images]
    answer = client.post("/predict", files=files, params={"seen": True})
    assert answer.status_code == 200
    content = answer.json()
    assert content["notice"].startswith("Research use only")
    assert [one["name"] for one in content["films"]] == [image.name for image in images]
    for image, one in zip(images, content["films"], strict=True):
        expected = predictor.predict(image)
        assert one["predicted"] == expected.predicted
        assert one["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert one["findings"][0] == {
            "defect": "negative",
            "present": expected.examination.findings["negative"].present,
            "score": expected.examination.findings["negative"].score,
        }
        seen = pixels_of(base64.b64decode(one["seen"]["png"]))
        assert np.array_equal(seen, expected.examination.pixels)


def test_dicom_is_shown_and_predicted(client: httpx.Client, film: bytes) -> None:
    grey = pixels_of(film).astype(np.uint16) * 16
    dicom = native(grey, 12, PatientName="<img src=x onerror=alert(1)>")
    shown = client.post("/film", files={"film": ("a.dcm", dicom)})
    assert shown.headers["content-type"] == "image/png"
    assert pixels_of(shown.content).shape == (64, 64)
    assert shown.headers["x-film-width"] == "64"
    assert "PatientName" not in shown.text
    assert client.post("/predict", files={"film": dicom}).status_code == 200


def test_a_lateral_film_is_refused(client: httpx.Client, film: bytes) -> None:
    answer = client.post("/predict", files={"film": native(pixels_of(film), 8, ViewPosition="LL")})
    assert "not a frontal film (view LL)" in answer.text
    assert "probabilities" not in answer.text


def test_a_bundle_serves_as_its_run(
    client: httpx.Client, small_bundle: Path, film: bytes, card: ModelCard
) -> None:
    bundled = Predictor.load(small_bundle)
    with (
        live(create_app(bundled, card_of(open_model(small_bundle)))) as address,
        httpx.Client(base_url=address, timeout=60) as other,
    ):
        own, its = (
            one.post("/predict", files={"film": film}).json()["films"][0]["probabilities"]
            for one in (client, other)
        )
        assert its == pytest.approx(own, abs=1e-4)
        answer = other.post("/explain", files={"film": film}, data={"as": "map"})
        assert pixels_of(answer.content).shape == (64, 64)
        assert other.get("/model").json()["name"]


@pytest.mark.parametrize(("form", "shape"), [("overlay", (64, 64, 3)), ("map", (64, 64))])
def test_grad_cam_comes_at_once(
    client: httpx.Client, film: bytes, form: str, shape: tuple[int, ...]
) -> None:
    data = {"method": "gradcam", "target": "tuberculosis", "as": form}
    answer = client.post("/explain", files={"film": film}, data=data)
    assert answer.status_code == 200
    assert pixels_of(answer.content).shape == shape


def test_a_map_in_json_is_the_predictor_s(
    client: httpx.Client, predictor: Predictor, film: bytes
) -> None:
    answer = client.post("/explain", files={"film": film}, data={"target": "pneumonia"}).json()
    expected = predictor.predict(pixels_of(film)).explain("gradcam", "pneumonia")
    assert (answer["method"], answer["target"], answer["signed"]) == ("gradcam", "pneumonia", False)
    found = pixels_of(base64.b64decode(answer["png"])) / 255
    assert found == pytest.approx(expected.values, abs=0.01)


@pytest.mark.parametrize("method", ["lime", "occlusion"])
def test_slow_methods_are_jobs(client: httpx.Client, film: bytes, method: str) -> None:
    data = {"method": method, "target": "normal"}
    asked = client.post("/explain", files={"film": film}, data=data)
    assert asked.status_code == 202
    place = asked.headers["location"]
    said = client.get(place).json()
    while said["status"] in ("waiting", "running"):
        early = client.get(f"{place}/result")
        assert early.status_code in (200, 409)
        said = client.get(place).json()
    assert (said["status"], said["done"] > 1, said["done"]) == ("done", True, said["of"])
    found = client.get(f"{place}/result").json()
    assert (found["method"], found["target"], found["signed"]) == (method, "normal", True)
    assert pixels_of(base64.b64decode(found["png"])).shape == (64, 64)
    assert client.get(f"{place}/result?as=overlay").headers["content-type"] == "image/png"
    client.delete(place)
    assert client.get(f"{place}/result").status_code == 409
    assert client.get("/jobs/none").status_code == 404


def bomb(side: int) -> bytes:
    """A PNG of side × side black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def ct() -> bytes:
    return native(np.zeros((64, 64), np.uint16), 12, Modality="CT")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"nothing of a film", "no PNG, JPEG, TIFF, BMP, WebP or DICOM"),
        (bomb(30_000), "pixels"),
        (ct(), "CT"),
    ],
    ids=["empty", "text", "bomb", "ct"],
)
def test_a_film_that_cannot_be_read_is_one_sentence(
    client: httpx.Client, data: bytes, sentence: str
) -> None:
    for route in ("/predict", "/film", "/explain"):
        answer = client.post(route, files={"film": ("Doe^Jane.png", data)})
        assert answer.status_code == 422
        assert sentence in answer.json()["error"]
        assert "Doe" not in answer.text


BROKEN_FORM = """
import asyncio
from cxrlens.serving.limits import Limits, read_upload

async def form():
    yield b"--b\\r\\nDoe: x\\rJane"

try:
    asyncio.run(read_upload("multipart/form-data; boundary=b", form(), Limits(), print))
except Exception as error:
    print(error)
"""


def test_what_is_broken_in_a_form_is_not_logged() -> None:
    command = [sys.executable, "-c", BROKEN_FORM]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the multipart form is broken" in said.stdout
    assert said.stderr == ""


def test_a_broken_film_among_many_takes_none_with_it(client: httpx.Client, film: bytes) -> None:
    files = [("film", ("a.png", film)), ("film", ("b.png", b"broken")), ("film", ("c.png", film))]
    first, broken, last = client.post("/predict", files=files).json()["films"]
    assert first["probabilities"] == last["probabilities"]
    assert broken["error"].startswith("film 2 is no PNG")
    assert broken["predicted"] is None


@pytest.mark.usefixtures("thin_films_break_a_step")
def test_a_film_that_a_step_fails_on_takes_none_with_it(
    client: httpx.Client, film: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    thin = cv2.imencode(".png", np.full((5000, 1), 90, np.uint8))[1].tobytes()
    files = [("film", ("a.png", film)), ("film", ("thin.png", thin)), ("film", ("c.png", film))]
    first, fault, last = client.post("/predict", files=files).json()["films"]
    assert first["probabilities"] == last["probabilities"] is not None
    assert fault["error"].startswith("the film cannot be worked on (ZeroDivisionError at conftest")
    assert "ZeroDivisionError" in caplog.text  # with its traceback, for who runs the server


def test_a_photograph_in_colour_is_doubted(client: httpx.Client) -> None:
    rng = np.random.default_rng(0)
    colours = np.repeat(np.repeat(rng.integers(0, 256, (4, 4, 3), np.uint8), 40, 0), 40, 1)
    data = cv2.imencode(".jpg", colours)[1].tobytes()
    (answer,) = client.post("/predict", files={"film": data}).json()["films"]
    found = {one["defect"] for one in answer["findings"] if one["present"]}
    assert (answer["width"], found & {"not_a_chest", "noisy", "negative"} != set()) == (160, True)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.dcm", "a.dcm"),
        ("..", "film"),
        ("<script>alert(1)</script>.png", "script>.png"),
        ("<b onclick=x>.png", "<b onclick=x>.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("x" * 500, "x" * 120),
    ],
)
def test_names_are_shown_and_never_used(
    client: httpx.Client, film: bytes, name: str, shown: str
) -> None:
    answer = client.post("/predict", files={"film": (name, film)})
    assert answer.json()["films"][0]["name"] == shown
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_bears_the_headers(client: httpx.Client) -> None:
    for path in ("/", "/health", "/static/main.js", "/none", "/static/../api.py", "/jobs/none"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    assert client.get("/model").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/static/..%2f..%2fapi.py", "/static/%2e%2e/door.py", "/static/", "/static/a%00.js"]
)
def test_only_the_page_s_own_files_are_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("sent", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", "Bearer \xe9"])
def test_without_the_token_nothing_is_said(
    guarded: httpx.Client, film: bytes, sent: str | None
) -> None:
    headers = {} if sent is None else {"authorization": sent.encode("latin-1")}
    for path in ("/model", "/metrics", "/abilities", "/jobs/x"):
        answer = guarded.get(path, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert guarded.post("/predict", files={"film": film}, headers=headers).status_code == 401
    assert guarded.get("/health").json() == {"status": "ok", "token": True}
    assert guarded.get("/").status_code == 200


def test_with_the_token_all_is_said(guarded: httpx.Client, film: bytes) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "model.hospital.example"}
    assert guarded.post("/predict", files={"film": film}, headers=headers).status_code == 200


def test_other_names_and_other_sites_are_refused(client: httpx.Client) -> None:
    rebound = client.get("/model", headers={"host": "evil.example"})
    assert (rebound.status_code, "--allow-host" in rebound.text) == (421, True)
    for host in ("[::1]evil", "[::1]@evil", "127.0.0.1:8000:evil", "localhost/evil", "[::1", "::1"):
        assert client.get("/model", headers={"host": host}).status_code == 421
    for host in ("[::1]", "[::1]:8000", "LOCALHOST:1", "127.0.0.1"):
        assert client.get("/model", headers={"host": host}).status_code == 200
    assert client.get("/model", headers={"origin": "https://evil.example"}).status_code == 403
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    assert client.get("/model", headers={"origin": own}).status_code == 200


def test_another_origin_may_ask_where_it_is_allowed(
    predictor: Predictor, card: ModelCard, film: bytes
) -> None:
    origin = "https://pacs.example"
    with live(create_app(predictor, card, token=TOKEN, origins=[origin])) as address:
        asked = httpx.options(
            f"{address}/predict",
            headers={
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            },
        )
        assert asked.headers["access-control-allow-origin"] == origin
        headers = {"origin": origin, "authorization": f"Bearer {TOKEN}"}
        answer = httpx.post(f"{address}/predict", files={"film": film}, headers=headers, timeout=60)
        assert answer.headers["access-control-allow-origin"] == origin


def test_the_card_says_who_and_how_well(client: httpx.Client, small_run: Run) -> None:
    card = client.get("/model").json()
    assert card["backbone"] == "resnet"
    assert "drawn by a program" in card["population"]
    assert {row["label"] for row in card["trained_on"]} == set(CLASSES)
    learnt = small_run.collection().split("train")
    assert sum(row["films"] for row in card["trained_on"]) == len(learnt)
    figures = {one["name"]: one for one in card["tested"]["figures"]}
    tested = small_run.metrics()["test"]
    assert figures["Accuracy"]["value"] == tested["accuracy"]
    assert figures["Accuracy"]["low"] == tested["intervals"]["by_name"]["accuracy"]["low"]
    assert any("0.9 does not mean" in warning for warning in card["warnings"])


def test_the_whole_card_is_a_page(client: httpx.Client) -> None:
    page = client.get("/model/card")
    assert "CLAIM 2024" in page.text
    assert "warning alarm" in page.text
    assert "script-src" not in page.headers["content-security-policy"]


def test_a_bundle_brings_its_card_and_its_run_s_digest(
    card: ModelCard, small_run: Run, small_bundle: Path
) -> None:
    brought = card_of(open_model(small_bundle))
    assert brought == card
    assert brought.digest == open_model(small_bundle).digest == open_model(small_run.path).digest


def test_the_age_is_told_and_one_that_is_too_young_is_unsure(
    counted: Predictor, card: ModelCard
) -> None:
    tagged = pydicom.dcmread(io.BytesIO(native(np.full((64, 64), 900, np.uint16), 12)))
    tagged.PatientAge = "002Y"
    file = io.BytesIO()
    tagged.save_as(file)
    ages = dict.fromkeys(counted.classes, 12.0)
    model = replace(counted, trust=replace(counted.trust, youngest_of=ages))
    with (
        live(create_app(model, card)) as address,
        httpx.Client(base_url=address, timeout=60) as own,
    ):
        (answer,) = own.post("/predict", files={"film": file.getvalue()}).json()["films"]
    assert (answer["age"], answer["predicted"]) == (2.0, "unsure")
    assert answer["reason"] == "age"


def test_a_film_in_colours_is_unsure(predictor: Predictor, card: ModelCard, film: bytes) -> None:
    grey = cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_GRAYSCALE)
    warm = np.clip(grey[..., None] * [0.8, 0.95, 1.1] + 20, 0, 255).astype(np.uint8)
    picture = cv2.imencode(".png", warm)[1].tobytes()
    model = replace(predictor, chain=Chain.named("none", predictor.chain.side))
    with (
        live(create_app(model, card)) as address,
        httpx.Client(base_url=address, timeout=60) as own,
    ):
        (answer,) = own.post("/predict", files={"film": picture}).json()["films"]
    assert "photographed" in {of["defect"] for of in answer["findings"] if of["present"]}
    assert answer["predicted"] == "unsure"


def test_thresholds_are_those_of_the_curve_and_what_if_has_an_answer_for_each(
    client: httpx.Client, counted: Predictor, card: ModelCard, film: bytes
) -> None:
    assert client.get("/thresholds").json()["diseases"] == {}
    with (
        live(create_app(counted, card)) as address,
        httpx.Client(base_url=address, timeout=60) as own,
    ):
        told = own.get("/thresholds").json()
        plain, asked = (
            own.post(f"/predict{query}", files={"film": film}).json()["films"][0]
            for query in ("", "?what_if=true")
        )
    assert told["digest"] == card.digest
    assert plain["what_if"] == {}
    assert {**asked, "what_if": {}} == plain
    for name, curve in counted.trust.curves.items():
        answer = told["diseases"][name]
        assert answer["own"] == counted.trust.thresholds[name]
        assert answer["own"] in [one["score"] for one in answer["thresholds"]]
        assert answer["normal_patients"] == curve.normal_patients
        sensitivities = [[*one["sensitivity"].values()] for one in answer["thresholds"]]
        assert sensitivities == [[*rate] for rate in curve.sensitivities]
        specificities = [one["specificity"]["value"] for one in answer["thresholds"]]
        assert specificities == sorted(specificities)
        assert len(asked["what_if"][name]) == len(curve.thresholds)


def test_openapi_has_types_and_examples(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    assert {"/predict", "/film", "/explain", "/jobs/{job}", "/model", "/health", "/metrics"} <= set(
        api["paths"]
    )
    schemas = api["components"]["schemas"]
    for name in ("ModelCard", "FilmAnswer", "HeatMapAnswer", "JobAnswer", "Fault"):
        assert schemas[name]["example"]
    form = api["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["required"] == ["film"]
    assert form["schema"]["properties"]["film"]["minItems"] == 1
    documented = {401, 403, 421, 400, 408, 413, 415, 422, 503, 504}
    for route in ("/predict", "/film", "/explain"):
        assert documented <= set(map(int, api["paths"][route]["post"]["responses"]))
    assert "http" not in client.get("/docs").text.replace("http-equiv", "")


def test_metrics_count_films_and_never_name_them(
    predictor: Predictor, card: ModelCard, film: bytes
) -> None:
    with (
        live(create_app(predictor, card)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        client.post("/predict", files={"film": ("Doe^Jane.png", film)})
        for route in ("/predict", "/explain", "/film"):
            client.post(route, files={"film": ("Doe^Jane.png", b"broken")})
        client.get("/etc/secret")
        text = client.get("/metrics").text
    assert 'cxrlens_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'cxrlens_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'cxrlens_requests_total{route="other",status="404"} 1.0' in text
    assert "cxrlens_films_unread_total 3.0" in text
    shares = [line for line in text.splitlines() if line.startswith("cxrlens_unsure_share{")]
    assert len(shares) == len(REASONS)
    assert "cxrlens_score_drift_alarm 0.0" in text
    assert "Doe" not in text
    assert "secret" not in text


def test_the_log_names_no_film_and_the_disk_keeps_none(
    predictor: Predictor,
    card: ModelCard,
    film: bytes,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    big = film + bytes(3_000_000)
    with caplog.at_level(logging.DEBUG), live(create_app(predictor, card)) as address:
        for data in (film, big, b"broken"):
            files = {"film": ("Doe^Jane.png", data)}
            httpx.post(f"{address}/predict?patient=Doe", files=files, timeout=60)
            httpx.post(f"{address}/explain", files=files, data={"target": "Doe"}, timeout=60)
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("cxrlens")]
    assert any(line.startswith("POST /predict 200") for line in lines)
    assert not any("Doe" in line or "127.0.0.1" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"method": "guess"}, "unknown method 'guess'"),
        ({"target": "covid"}, "unknown class 'covid'"),
        ({"as": "gif"}, "unknown form 'gif'"),
        ({"palette": "mauve"}, "unknown palette 'mauve'"),
    ],
)
def test_unknown_values_are_named(
    client: httpx.Client, film: bytes, fields: dict[str, str], sentence: str
) -> None:
    answer = client.post("/explain", files={"film": film}, data=fields)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_forms_that_are_none(client: httpx.Client, film: bytes) -> None:
    head = {"content-type": "multipart/form-data; boundary=x"}
    sent: list[tuple[dict[str, str], bytes, int]] = [
        ({"content-type": "application/json"}, b"{}", 415),
        (head, b"nothing", 400),
        (head, b'--x\r\ncontent-disposition: form-data; name="film"; filename="a"\r\n\r\nab', 400),
        (head, b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n', 400),
        (
            head,
            b'--x\r\ncontent-disposition: form-data; name="a"; filename="a"\r\n\r\nb\r\n--x--\r\n',
            400,
        ),
        ({"content-type": "multipart/form-data"}, film, 415),
    ]
    for headers, content, status in sent:
        answer = client.post("/predict", content=content, headers=headers)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize("route", ["/explain", "/film"])
def test_one_film_at_a_time(client: httpx.Client, film: bytes, route: str) -> None:
    answer = client.post(route, files=[("film", film), ("film", film)])
    assert (answer.status_code, "one film at a time" in answer.json()["error"]) == (400, True)


def test_head_is_get_without_its_body(client: httpx.Client) -> None:
    for path in ("/", "/health", "/model"):
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert client.head("/predict").status_code == 405


def test_an_address_that_is_none(client: httpx.Client) -> None:
    for answer, status in ((client.get("/nowhere"), 404), (client.get("/predict"), 405)):
        assert (answer.status_code, "/docs" in answer.json()["error"]) == (status, True)
    assert client.put("/jobs/1").headers["allow"] == "DELETE, GET"


def test_limits_of_bytes_and_films(predictor: Predictor, card: ModelCard, film: bytes) -> None:
    app = create_app(predictor, card, Limits(film_bytes=20_000, films=3, film_pixels=64 * 64 - 1))
    with live(app) as address:
        large = httpx.post(f"{address}/predict", files={"film": bytes(30_000)}, timeout=60)
        assert (large.status_code, "20,000 bytes" in large.text) == (413, True)
        many = httpx.post(f"{address}/predict", files=[("film", film)] * 4, timeout=60)
        assert (many.status_code, "at most 3 films" in many.text) == (413, True)
        wide = httpx.post(f"{address}/predict", files={"film": film}, timeout=60)
        assert (wide.status_code, "pixels" in wide.text) == (422, True)
