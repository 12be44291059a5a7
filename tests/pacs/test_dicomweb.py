"""A study list over DICOMweb, film by film into a table, whatever the PACS does meanwhile."""

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests
from typer.testing import CliRunner, Result

from cxrlens.cli import app
from cxrlens.errors import CxrlensError
from cxrlens.pacs.dicomweb import LOGIN, TOKEN, DicomWeb, StudyList
from cxrlens.prediction import Predictor
from tests.serving.certificate import certificate
from tests.test_house import loaded_by

from .dicom_film import CR, CT, film_bytes, film_dataset
from .dicomweb_server import Server
from .orthanc import MISSING, Orthanc, free_port

BUNDLE = Path(__file__).parents[1] / "artefacts" / "first" / "bundle"
SINCE = ["--since", "2024-02-01"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyList.__init__, "__defaults__", ((0.0, 0.0),))
    for variable in (TOKEN, LOGIN):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(10).open() as server:
        yield server


def predict(url: str, table: Path, *more: str) -> Result:
    told = ["predict", "--qido", url, *SINCE, "--csv", str(table), "--model", str(BUNDLE), *more]
    return CliRunner().invoke(app, told)


def test_every_film_of_the_list_is_predicted(server: Server, tmp_path: Path) -> None:
    server.films += [film_dataset(20, StudyDate="20240131"), film_dataset(21, kind=CT)]
    server.films.append(film_dataset(22, ViewPosition="LL"))
    server.films.append(film_dataset(23, BodyPartExamined="HAND", study=1))
    server.films.append(film_dataset(24, kind=CR, study=1))
    done = predict(server.url, tmp_path / "a.csv")
    assert done.exit_code == 0, done.output
    assert "11 films" in done.output
    assert "passed over by their headers: 1 " in done.output
    table = pd.read_csv(tmp_path / "a.csv")
    films = [*server.films[:10], server.films[-1]]
    assert set(table["image"]) == {
        f"{server.url}/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}"
        f"/instances/{film.SOPInstanceUID}"
        for film in films
    }
    (tmp_path / "film.dcm").write_bytes(film_bytes(4))
    one = Predictor.load(BUNDLE).predict(tmp_path / "film.dcm")
    row = table[table["image"].str.endswith(".3.4")].iloc[0]
    assert row["score_tuberculosis"] == pytest.approx(one.scores["tuberculosis"])
    # What came since: the finished table grows.
    server.films.append(film_dataset(30))
    fetched = len([path for path in server.asked if path.count("/") == 6])
    assert fetched == 11
    assert predict(server.url, tmp_path / "a.csv", "--resume").exit_code == 0
    assert len(pd.read_csv(tmp_path / "a.csv")) == 12
    assert len([path for path in server.asked if path.count("/") == 6]) == fetched + 1


@pytest.mark.parametrize("status", [0, 503, 401])
def test_a_pacs_that_stops_half_way_is_gone_on_with(
    status: int, server: Server, tmp_path: Path
) -> None:
    fifth = server.films[5].SOPInstanceUID
    gone: list[str] = []

    def stops(path: str) -> int:
        if gone or path.endswith(fifth):
            gone.append(path)
        return status if gone else 200

    server.status = stops
    stopped = predict(server.url, tmp_path / "a.csv")
    assert stopped.exit_code == 1
    assert "--resume goes on" in stopped.output
    assert "skipped" not in stopped.output
    assert len((tmp_path / "a.csv.part").read_text().splitlines()) == 1 + 5
    assert not (tmp_path / "a.csv").exists()
    unasked = predict(server.url, tmp_path / "a.csv")
    assert "is left of an interrupted call: say --resume" in str(unasked.exception)
    server.status = lambda path: 200
    server.asked.clear()
    assert predict(server.url, tmp_path / "a.csv", "--resume").exit_code == 0
    assert len(set(pd.read_csv(tmp_path / "a.csv")["image"])) == 10
    assert len([path for path in server.asked if path.count("/") == 6]) == 5


@pytest.mark.parametrize("status", [0, 404, 500])
def test_a_film_and_a_study_that_fail_hold_up_no_other(
    status: int, server: Server, tmp_path: Path
) -> None:
    film, study = server.films[3].SOPInstanceUID, server.films[7].StudyInstanceUID
    server.status = lambda path: status if path.endswith((film, f"{study}/series")) else 200
    done = predict(server.url, tmp_path / "a.csv")
    assert done.exit_code == 1
    assert done.output.count("skipped") == 2
    assert f"{film}: the server" in done.output
    assert len(pd.read_csv(tmp_path / "a.csv")) == 8


def test_an_answer_that_fails_once_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    seen: set[str] = set()

    def once(path: str) -> int:
        known = path in seen
        seen.add(path)
        return 200 if known else 503

    server.status = once
    assert predict(server.url, tmp_path / "a.csv").exit_code == 0


def test_a_server_that_knows_no_pages_is_no_endless_list(server: Server) -> None:
    found = server.found
    server.page = 1000
    server.found = lambda path, wanted: found(path, wanted | {"offset": ["0"]})  # type: ignore[method-assign]
    studies = StudyList(DicomWeb.at(server.url), datetime.date(2024, 1, 1))
    assert len(list(studies.films())) == 10
    studies.close()


def test_who_we_are_stands_in_the_environment(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    for variable, secret, header in (
        (LOGIN, "me:s\u017ecret", "Basic bWU6c8W+Y3JldA=="),
        (TOKEN, "0123-secret\n", "Bearer 0123-secret"),
    ):
        monkeypatch.setenv(variable, secret)
        server.signed.clear()
        server.status = lambda path: 401 if path.count("/") == 6 else 200
        done = predict(server.url, tmp_path / f"{variable}.csv")
        assert done.exit_code == 1
        assert server.signed == {header}
        assert f"set {TOKEN}, or {LOGIN}" in done.output
        assert "ecret" not in done.output + caplog.text
    with pytest.raises(CxrlensError, match=f"belongs into the variable {LOGIN}") as refused:
        DicomWeb.at("https://me:secret@pacs/dicom-web")
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(DicomWeb.at("https://pacs"))


def test_what_is_no_dicomweb_root_is_one_sentence(server: Server, tmp_path: Path) -> None:
    for url in ("pacs", "ftp://pacs", "http://", "http://pacs:x"):
        with pytest.raises(CxrlensError, match="name the server's DICOMweb root"):
            DicomWeb.at(url)
    server.status = lambda path: 404
    done = predict(server.url, tmp_path / "a.csv")
    assert "answers with HTTP 404: is this its DICOMweb root?" in done.output
    server.status, server.answer = (lambda path: 200), (lambda target: ("text/html", b"<p>PACS"))  # type: ignore[method-assign]
    done = predict(server.url, tmp_path / "a.csv")
    assert "no DICOM JSON: is this its DICOMweb root?" in done.output
    done = predict(f"http://127.0.0.1:{free_port()}", tmp_path / "a.csv")
    assert done.exit_code == 1
    assert "does not answer" in done.output
    assert not list(tmp_path.iterdir())  # nothing was done, and nothing is in the way


def test_options_that_belong_together() -> None:
    for told, words in (
        (["predict"], "name films, or a PACS"),
        (["predict", "a.png", "--qido", "http://pacs"], "name films, or a PACS"),
        (["predict", "--qido", "http://pacs", *SINCE], "--csv FILE"),
        (["predict", "--qido", "http://pacs", "--csv", "a.csv"], "--since DATE"),
        (["predict", "a.png", "--tls-key", "key.pem"], "a certificate has its key"),
    ):
        done = CliRunner().invoke(app, told)
        assert done.exit_code == 2
        assert words in " ".join(done.output.replace("\u2502", " ").split())


def test_the_dicom_extra_alone_is_enough() -> None:
    loaded = loaded_by("import cxrlens.pacs.node, cxrlens.pacs.dicomweb, cxrlens.serving.tls")
    assert not loaded & {"starlette", "fastapi", "prometheus_client", "torch"}


def test_a_pacs_of_a_private_authority_is_asked_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    pem, key = certificate(tmp_path)
    ours, our_key = certificate(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    table = tmp_path / "a.csv"
    with Server(2).open(context) as server:
        assert server.url.startswith("https://")
        unknown = predict(server.url, table)
        assert unknown.exit_code == 1
        assert "its certificate is not vouched for" in unknown.output
        assert not server.asked
        other = predict(server.url, table, "--tls-ca", str(ours))
        assert "name --tls-ca" in other.output
        done = predict(server.url, table, "--tls-ca", str(pem))
        assert done.exit_code == 0, done.output
        assert len(pd.read_csv(table)) == 2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours)
    told = "--force", "--tls-ca", str(pem)
    with Server(2).open(context) as server:
        assert predict(server.url, table, *told).exit_code == 1
        told += "--tls-certificate", str(ours), "--tls-key", str(our_key)
        done = predict(server.url, table, *told)
        assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_a_list_of_ten_thousand_studies_is_gone_through_though_the_pacs_stops_half_way(
    tmp_path: Path,
) -> None:
    names = [f"1.2.{number}" for number in range(10_000)]
    server = Server(0, page=100)
    answer, film = server.answer, film_bytes(1)

    def found(path: str, wanted: dict[str, list[str]]) -> list[dict]:
        level, listed = "0020000D", names
        if path.endswith("series"):
            level, listed = "0020000E", [f"{path.split('/')[3]}.1"]
        elif path.endswith("instances"):
            level, listed = "00080018", [f"{path.split('/')[3]}.2"]
        modality = {"vr": "CS", "Value": ["CR"]}
        return [{level: {"vr": "UI", "Value": [name]}, "00080060": modality} for name in listed]

    def answered(target: str) -> tuple[str, bytes]:
        return ("application/dicom", film) if target.endswith(".2") else answer(target)

    server.found, server.answer = found, answered  # type: ignore[method-assign]
    gone: list[str] = []

    def stops(path: str) -> int:
        if gone or path.endswith("/1.2.5000.2"):
            gone.append(path)
        return 0 if gone else 200

    server.status = stops
    with server.open():
        stopped = predict(server.url, tmp_path / "a.csv")
        assert stopped.exit_code == 1
        assert "--resume goes on" in stopped.output
        server.status = lambda path: 200
        server.asked.clear()
        done = predict(server.url, tmp_path / "a.csv", "--resume")
    assert done.exit_code == 0, done.output
    images = pd.read_csv(tmp_path / "a.csv")["image"]
    assert [image.split("/")[-1] for image in images] == [f"{name}.2" for name in names]
    fetched = [path for path in server.asked if path.endswith(".2")]
    assert len(fetched) == 5_000


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_films_of_a_real_orthanc(tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc", free_port()).start()
    try:
        root = f"{orthanc.url}/dicom-web"
        for number in range(130):  # more than a page
            orthanc.take(film_bytes(number))
        orthanc.take(film_bytes(200, StudyDate="20240131"))
        orthanc.take(film_bytes(201, kind=CT))
        orthanc.take(film_bytes(202, ViewPosition="LL"))
        orthanc.take(film_bytes(203, kind=CR, study=1))
        done = predict(root, tmp_path / "a.csv")
        assert done.exit_code == 0, done.output
        assert "passed over by their headers: 1 " in done.output
        table = pd.read_csv(tmp_path / "a.csv")
        assert len(set(table["image"])) == 131
        orthanc.stop()
        assert predict(root, tmp_path / "b.csv").exit_code == 1
    finally:
        orthanc.stop()
