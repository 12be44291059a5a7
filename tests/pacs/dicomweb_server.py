"""A small DICOMweb server: some films in memory, short pages, and whatever goes wrong when a test says so."""

import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pydicom

from .dicom_film import film_dataset

ROOT = "/dicom-web"


class Server:
    """Answers QIDO-RS and WADO-RS about films; a study has the series of one film each."""

    def __init__(self, films: int, page: int = 3) -> None:
        self.films = [film_dataset(number) for number in range(films)]
        self.page = page
        self.asked: list[str] = []
        self.signed: set[str] = set()
        self.url = ""
        self.status: Callable[[str], int] = lambda path: 200
        """The HTTP status for a path; 0 hangs up."""

    def found(self, path: str, wanted: dict[str, list[str]]) -> list[dict] | None:
        _, _, *rest = path.split("/")
        films = self.films
        if len(rest) > 1:
            films = [film for film in films if film.StudyInstanceUID == rest[1]]
        if len(rest) > 3:
            films = [film for film in films if film.SeriesInstanceUID == rest[3]]
        if "StudyDate" in wanted:
            since = wanted["StudyDate"][0].rstrip("-")
            films = [film for film in films if film.StudyDate >= since]
        level = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[len(rest) // 2]
        entries = {}
        for film in films:
            entry = pydicom.Dataset()
            entry.ModalitiesInStudy = film.Modality
            for keyword in (level, "Modality", "SOPClassUID", *wanted.get("includefield", ())):
                if keyword in film:
                    entry[keyword] = film[keyword]
            entries[str(film[level].value)] = entry.to_json_dict()
        return list(entries.values())

    def answer(self, target: str) -> tuple[str, bytes]:
        parts = urlsplit(target)
        wanted = parse_qs(parts.query)
        path = parts.path.removeprefix(ROOT)
        if path.count("/") == 6:
            file = io.BytesIO()
            uid = path.rpartition("/")[2]
            film = next(film for film in self.films if film.SOPInstanceUID == uid)
            film.save_as(file, enforce_file_format=True)
            head, end = b"--:.\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n--:.--\r\n"
            kind = 'multipart/related; boundary=":."; type="application/dicom"'
            return kind, head + file.getvalue() + end
        found = self.found("/dicom-web" + path, wanted)
        start = int(wanted["offset"][0]) if "offset" in wanted else 0
        page = found[start : start + min(self.page, int(wanted["limit"][0]))]
        return "application/dicom+json", json.dumps(page).encode() if page else b""

    @contextmanager
    def open(self, tls: ssl.SSLContext | None = None) -> Iterator["Server"]:
        ours = self

        class Handler(BaseHTTPRequestHandler):
            # Head and body go out by themselves; Nagle would wait 40 ms between them.
            disable_nagle_algorithm = True

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urlsplit(self.path).path.removeprefix(ROOT)
                ours.asked.append(path)
                ours.signed.add(self.headers.get("Authorization", ""))
                status = ours.status(path)
                if not status:
                    self.close_connection = True
                    return
                kind, body = ours.answer(self.path) if status == 200 else ("text/plain", b"no")
                self.send_response(status if body else 204)
                self.send_header("Content-Type", kind)
                if body:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *said: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *about: None  # type: ignore[method-assign]  # who hangs up says why
        if tls:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{server.server_address[1]}{ROOT}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
