"""A real Orthanc, started by a test on free ports with a storage of its own."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")
PLUGIN = next(
    (
        path
        for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
        for path in Path(folder).glob("libOrthancDicomWeb.so*")
    ),
    None,
)
MISSING = None if BINARY and PLUGIN else "needs Debian's orthanc and orthanc-dicomweb"
PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(reached, seconds: float = PATIENCE, what: str = ""):
    """Wait for a true value and give it."""
    end = time.monotonic() + seconds
    while not (value := reached()):
        assert time.monotonic() < end, f"nothing after {seconds} s: {what or reached}"
        time.sleep(0.1)
    return value


class Orthanc:
    """A PACS that knows a node of ours, optionally with a Lua rule that forwards to it."""

    def __init__(self, folder: Path, node_port: int, lua: Path | None = None) -> None:
        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "orthanc.json"
        self.config.write_text(
            json.dumps(
                {
                    "Name": "test",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self.http,
                    "DicomPort": self.dicom,
                    "DicomAet": "ORTHANC",
                    "DicomCheckCalledAet": True,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {"cxrlens": ["CXRLENS", "127.0.0.1", node_port]},
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    "LuaScripts": [str(lua)] if lua else [],
                    "StableAge": 1,
                    "DicomScpTimeout": 30,
                }
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Orthanc":
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(BINARY), str(self.config)], stdout=log, stderr=log, cwd=self.folder
            )
        until(self.answers, what=f"Orthanc: {(self.folder / 'log').read_text()[-2000:]}")
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def __enter__(self) -> "Orthanc":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            return bool(self.get("/system"))
        except (urllib.error.URLError, OSError):
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def file(self, instance: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/instances/{instance}/file", timeout=30) as answer:
            return answer.read()

    def post(self, path: str, data: bytes | str):
        body = data.encode() if isinstance(data, str) else data
        request = urllib.request.Request(self.url + path, body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def take(self, film: bytes) -> str:
        """Store a film through REST; gives Orthanc's name of the instance."""
        return self.post("/instances", film)["ID"]

    def forward(self, *instances: str) -> None:
        """Have Orthanc send instances to the node by C-STORE."""
        self.post("/modalities/cxrlens/store", json.dumps(list(instances)))

    def instances(self) -> list[dict]:
        return self.get("/instances?expand")

    def results(self) -> list[dict]:
        """Instances that the node sent, with study and class among their tags."""
        found = []
        for series in self.get("/series?expand"):
            if series["MainDicomTags"].get("Modality") in ("OT", "SR", "PR"):
                kind = series["MainDicomTags"]["Modality"]
                found += [
                    {"id": name, "kind": kind, "study": series["ParentStudy"]}
                    for name in series["Instances"]
                ]
        return found
