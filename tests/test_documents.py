"""The documents' promises: what each says to type is typed here, page by page, and does what it says."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import pandas as pd
import pytest
import typer

from cxrlens.cli import app
from cxrlens.collections.collection import LABELS
from cxrlens.explanation.method import Method, Question
from cxrlens.phantoms import draw_phantom, write_phantoms
from tests.pacs.dicom_film import film_bytes
from tests.pacs.orthanc import MISSING, Orthanc, free_port, until

ROOT = Path(__file__).parents[1]
ARTEFACTS = ROOT / "tests" / "artefacts" / "first"
FREE = next(ROOT.glob("models/evidence-lungs-free/src/*/*/bundle.json")).parent
"""The wheel that CI does not install, since of two installed ones none would answer by itself."""

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "THREATS.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*/README.md")),
]

NOT_TYPED = {
    "python3 -m venv": "makes the environment that this test runs in: CI types the README's first two, "
    "and tests/serving/test_core_install.py installs what the third does",
    "pip install": "installs, as CI did before",
    "python -m pip install": "installs, as CI did before",
    "python3 -m pip --python /opt/cxrlens": "installs, as CI did before",
    "useradd --system cxrlens": "changes the machine, as root",
    "cp docs/pacs/cxrlens-node.service": "needs systemd",
    ".venv/bin/ruff check": "lint and the tests themselves, which CI runs",
}
"""Every line of a block that is not run, by its beginning, and why."""

NO_CODE = {"text": "shows what is printed"}
"""Every language of a block that is not run, and why."""

SHORTER = {
    "tune lite0-ffn films.csv -o studies/lite0-ffn --trials 30 --set side=160": "tune lite0-ffn films.csv "
    "-o studies/lite0-ffn --trials 2 --set side=64 --set training.max_epochs=1",
    "train evidence-lite0 ": "train evidence-lite0 --set training.max_epochs=1 ",
    "train lite0-ffn ": "train lite0-ffn --set training.max_epochs=1 ",
}
"""Trainings of hours, and what is typed in their place."""


LONG = 1800
"""Seconds that a machine may take for one line which others keep busy."""


@dataclass(frozen=True)
class Block:
    """A block of code of a document: its language ("" where none is told) and its text."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """What is typed into a shell, a command a line."""
        if self.language not in ("", "sh", "console"):
            return []
        whole = self.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ") for line in whole if line.strip()]


def blocks(document: Path) -> list[Block]:
    """Give a document's blocks in order; one within a list is brought to the left."""
    found = re.finditer(
        r"^( *)```(\w*)\n(.*?)^\1```$",
        document.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [Block(one[2], re.sub(rf"^{one[1]}", "", one[3], flags=re.MULTILINE)) for one in found]


UNITS = sorted((ROOT / "docs").rglob("*.service"))
PAGES = [document for document in DOCUMENTS if blocks(document)]
LINES = [line for page in PAGES for block in blocks(page) for line in block.lines]


def written_by(command: str) -> list[str]:
    """Give the files and folders that a command says it writes."""
    return re.findall(r"(?:-o|--csv|--json|--card|-keyout|-out|>) ([\w./-]*\w)", command)


@dataclass
class Reader:
    """Somebody who types a page's blocks one after the other, in a folder that holds what they speak of."""

    folder: Path
    places: dict[str, str]
    """Addresses and folders of the page that are others on this machine."""
    orthanc: Orthanc
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Servers by their port; one takes the place of that which stood there."""

    @property
    def environment(self) -> dict[str, str]:
        """The reader's own home and certificate, and this test's cxrlens."""
        pem = self.folder / "cert.pem"
        trusted = {"CURL_CA_BUNDLE": str(pem), "SSL_CERT_FILE": str(pem)} if pem.exists() else {}
        return {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "CXRLENS_CACHE": str(self.folder.parent / "cache"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            **trusted,
        }

    def here(self, text: str) -> str:
        for there, ours in self.places.items():
            text = text.replace(there, ours)
        return text

    def reads(self, block: Block) -> None:
        if block.language in NO_CODE:
            return
        for line in block.lines:
            if not line.startswith(tuple(NOT_TYPED)):
                self.types(line)
        if not block.lines:
            {"python": self.runs, "js": self.pastes, "json": self.configures}[block.language](
                self.here(block.text)
            )

    def types(self, line: str) -> None:
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        if re.match(r"cxrlens (serve|dicom-node)(?!.*--help)", line):
            self.starts(line)
            return
        self.done("bash", "-c", self.here(line))
        self.wrote(written_by(line))

    def runs(self, program: str) -> None:
        self.done(sys.executable, "-c", program)
        self.wrote(re.findall(r'(?:save|write_\w+)\((?:\w+, )?"([^"]+)"\)', program))

    def done(self, *command: str) -> None:
        said = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        assert said.returncode == 0, f"{command[-1]}\n{said.stdout}{said.stderr}"

    def wrote(self, names: list[str]) -> None:
        assert [name for name in names if not (self.folder / name).exists()] == []

    def starts(self, line: str) -> None:
        """Start a server on the port that the page's other blocks ask, and wait until it listens."""
        port = free_port()
        if known := "11112" if "dicom-node" in line else "model.example:8000" * ("--tls" in line):
            port = int(self.places[known].rpartition(":")[2])
        self.ends(port)
        log = self.folder / f"{port}.log"
        command = ["bash", "-c", f"exec {self.here(line)} --port {port}"]
        with log.open("wb") as said:
            server = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=said
            )
        self.running[port] = server

        def listens() -> bool:
            assert server.poll() is None, f"{line}\n{log.read_text()}"
            with socket.socket() as caller:
                return caller.connect_ex(("127.0.0.1", port)) == 0

        until(listens, LONG, line)

    def ends(self, port: int) -> None:
        if server := self.running.pop(port, None):
            server.terminate()
            server.wait(60)

    def configures(self, text: str) -> None:
        """Start Orthanc with the keys of a block beside its own."""
        self.orthanc.stop()
        config = self.orthanc.config
        config.write_text(json.dumps({**json.loads(config.read_text()), **json.loads(text)}))
        self.orthanc.start()

    def pastes(self, program: str) -> None:
        """Paste a program into the console of the server's page, with the names that it speaks of."""
        sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
        film = list((self.folder / "film.dcm").read_bytes())
        token = (self.folder / "token").read_text().strip()
        said: list[str] = []
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(ignore_https_errors=True)
            page.on("console", lambda message: said.append(message.text))
            page.goto(f"https://{self.places['model.example:8000']}")
            page.evaluate(
                "async ([bytes, token]) => { const file = new File([new Uint8Array(bytes)], 'film.dcm');\n"
                f"{program} }}",
                [film, token],
            )
            until(lambda: any("predicted" in line for line in said), LONG, str(said))
            browser.close()

    def leaves(self) -> None:
        for port in [*self.running]:
            self.ends(port)
        self.orthanc.stop()


BOXES = {
    "categories": [{"id": 1, "name": "ActiveTuberculosis"}],
    "images": [
        {"id": film, "file_name": f"tb/{film}_1.png", "width": 128, "height": 128}
        for film in range(12)
    ],
    "annotations": [
        {"image_id": film, "category_id": 1, "bbox": [20, 20, 40, 40]} for film in range(12)
    ],
}
"""Of the films that are laid out as TBX11K's, in its own form."""


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of, under the names that they give it; capitals are the reader's own choice."""
    folder = tmp_path_factory.mktemp("pages") / "laid-out"
    films = pd.read_csv(write_phantoms(folder, 60, seed=5, side=128))
    places = films.groupby("patient").ngroup() % 6
    films["source"] = places.map({4: "shenzhen", 5: "sakha"}).fillna("kermany")
    films.to_csv(folder / "films.csv", index=False)
    for film in films.itertuples():
        (folder / "labelled" / film.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / film.image, folder / "labelled" / film.label)
    shutil.copytree(folder, folder / "cxrlens-demo" / "films", ignore=lambda *_: {"cxrlens-demo"})
    for run in ("runs/NAME", "runs/lite0-ffn", "runs/resnet-focal", "cxrlens-demo/run"):
        shutil.copytree(ARTEFACTS / "run", folder / run)
    shutil.copytree(ARTEFACTS / "films", folder / "runs" / "films")
    shutil.copytree(ARTEFACTS / "bundle", folder / "MODEL")
    read = pd.read_csv(ARTEFACTS / "films" / "films.csv").assign(predicted="normal")
    read["image"], read.loc[40:, "label"] = "runs/films/" + read["image"], None
    read[["image", "predicted", "label"]].to_csv(folder / "corrected.csv", index=False)
    for split, name in (("test", "theirs"), ("validation", "theirs-validation")):
        shutil.copy(ARTEFACTS / "run" / f"predictions-{split}.csv", folder / f"{name}.csv")

    drawn = [
        "film.png",
        *(f"chest_xray/train/NORMAL/IM-{number}-1_0.png" for number in range(2)),
        *(f"chest_xray/train/PNEUMONIA/person{number}_virus_1.png" for number in range(12)),
        *(f"nlm/MontgomerySet/CXR_png/MCUCXR_{number:04}_{number % 2}.png" for number in range(4)),
        *(
            f"TBX11K/imgs/{kind}/{number}_{kind == 'tb':d}.png"
            for number in range(12)
            for kind in ("health", "tb")
        ),
    ]
    for number, name in enumerate(drawn):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        label = LABELS[0 if "_0." in name else 1 + ("PNEUMONIA" not in name)]
        cv2.imwrite(str(folder / name), draw_phantom(number, label, 128).film)
    shutil.copy(folder / "film.png", folder / "FILM")
    (folder / "nlm" / "MontgomerySet" / "ClinicalReadings").mkdir()
    told = folder / "TBX11K" / "annotations" / "json" / "TBX11K_trainval.json"
    told.parent.mkdir(parents=True)
    told.write_text(json.dumps(BOXES))
    (folder / "film.dcm").write_bytes(film_bytes(1, StudyDate="20260301"))
    (folder / "export").mkdir()
    for number in range(3):
        (folder / "export" / f"{number}.dcm").write_bytes(film_bytes(number))
    shutil.copy(ROOT / "docs" / "pacs" / "forward.lua", folder)
    (folder / "salt.txt").write_text("a salt that nobody guesses")
    return folder


@pytest.fixture
def reader(page: Path, laid_out: Path) -> Iterator[Reader]:
    """Somebody with what is laid out, but for the files that the page itself has written."""
    folder = laid_out.parent / page.relative_to(ROOT).as_posix().replace("/", "-")
    shutil.copytree(laid_out, folder)
    for block in blocks(page):
        for name in written_by(block.text):
            if (folder / name).is_file():
                (folder / name).unlink()
    node, server = str(free_port()), f"localhost:{free_port()}"
    orthanc = Orthanc(folder / "orthanc", int(node))
    places = {
        "model.example:8000": server,
        "11112": node,
        "127.0.0.1:4242": f"127.0.0.1:{orthanc.dicom}",
        "http://127.0.0.1:8042": orthanc.url,
        "https://pacs/dicom-web": f"{orthanc.url}/dicom-web",
        "/var/spool/cxrlens": str(folder / "spool"),
        "--model evidence-lungs-free": f"--model {FREE}",
        "/etc/orthanc": str(folder),
    }
    reader = Reader(folder, places, orthanc)
    try:
        yield reader
    finally:
        reader.leaves()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_does_what_the_page_says(page: Path, reader: Reader) -> None:
    chromium = None if shutil.which("chromium") else "needs Debian's chromium"
    if lacks := {"pacs.md": MISSING, "serving.md": chromium}.get(page.name):
        pytest.skip(lacks)
    for block in blocks(page):
        reader.reads(block)
    if page.name == "pacs.md":
        until(reader.orthanc.results, LONG, "the node's results in Orthanc")


def test_what_is_not_typed_stands_in_a_document() -> None:
    """Neither table keeps a line that no document has any more."""
    for known in (*NOT_TYPED, *SHORTER):
        assert any(known in line for line in LINES), known


def test_ci_calls_the_readme_s_two_commands() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for block in blocks(ROOT / "README.md")[:2]:
        assert block.text.strip() in lines


@pytest.mark.skipif(not (ROOT / "cxrlens-demo").exists(), reason="run the README's demo first")
def test_the_demo_leaves_what_the_readme_names() -> None:
    told = re.findall(r"cxrlens-demo/[\w./-]*\w", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(told) > 5
    assert [name for name in told if not (ROOT / name).exists()] == []


def headings(document: Path) -> set[str]:
    """Give what a link names a document's sections by."""
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in found)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


def test_every_link_leads_somewhere() -> None:
    link = r"\]\((?!http)([^)#]*)#?([^)]*)\)"
    for document in DOCUMENTS:
        for name, section in re.findall(link, document.read_text(encoding="utf-8")):
            target = document.parent / name if name else document
            assert target.exists(), f"{document.name}: {name}"
            assert not section or section in headings(target), f"{document.name}: {name}#{section}"


def test_every_option_that_a_document_names_exists() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {
        name: {o for p in verb.params for o in (*p.opts, *p.secondary_opts)}
        for name, verb in verbs.items()
    }
    inline = [
        code
        for document in DOCUMENTS
        for code in re.findall(r"`(cxrlens [^`]+)`", document.read_text(encoding="utf-8"))
    ]
    assert len(inline) > 40
    started = [
        "cxrlens" + line
        for unit in UNITS
        for line in re.findall(
            r"^ExecStart=\S+/cxrlens(.+)", unit.read_text().replace("\\\n", ""), re.MULTILINE
        )
    ]
    assert len(started) == len(UNITS) == 2
    typed = [line for line in LINES if line.startswith("cxrlens ")]
    for line in [*inline, *started, *typed]:
        verb, *given = shlex.split(line)[1:]
        if verb in ("VERB", "--help", "--version"):
            continue
        options = {word.partition("=")[0] for word in given if re.match(r"--?[a-z]", word)}
        assert options <= known[verb] | {"--help"}, line


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        here = unit.read_text().replace("/opt/cxrlens/.venv/bin/cxrlens", "/bin/true")
        (tmp_path / unit.name).write_text(here.replace("User=cxrlens", "User=root"))
    command = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


def test_the_worked_example_of_a_method_is_one() -> None:
    made: dict[str, object] = {}
    (example,) = (one for one in blocks(ROOT / "CONTRIBUTING.md") if one.language == "python")
    exec(example.text, made)
    method = made["METHOD"]
    assert isinstance(method, Method)
    film = draw_phantom(1, "tuberculosis", 64).film
    question = Question(film, 2, "tuberculosis", lambda films: films, list, None)
    assert method.explain(question).values.shape == (64, 64)


def test_the_site_is_built_with_one_command(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "for-hospital-engineers.html").is_file()
