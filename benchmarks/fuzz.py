"""Damaged films, tables, forms and PDUs: whether any ends the program, ends in a traceback, or takes long.

    python benchmarks/fuzz.py [--inputs 20000] [--workers 2] [--minutes M] [--seed 0] [--add]
                              [--only KIND ...] [--from NUMBER]

Seeds are drawn films in every format and transfer syntax, tables in every dialect, multipart forms and
associations. One input in ten is left whole and must be accepted; of the rest one in three is damaged anywhere,
one behind its header, and one keeps its form (lengths, tags and numbers become others). Workers are processes
that may take 4 GB and are started anew where one ends; what ended it is counted and named by kind and number, so
that `--only KIND --from NUMBER --inputs 1 --dry` shows it again. Time is processor time, of the worker and of the
decoders it started, so that a busy machine is not taken for a slow program; an input that does not end in an hour
of the clock is an abort. SIGTERM, Ctrl-C or the end of --minutes lets the inputs at work end and writes what there
is; `--add` adds to the kept result under a seed of its own. Our own files have a script of their own, damage_own_files.py. Writes
results/fuzz.json and .md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import RESULTS, keep, kept, machine, markdown, stamp

from cxrlens.errors import CxrlensError

SECONDS, BYTES = 10.0, 1 << 30
LIMIT = 4 << 30
PART = 1000
"""Inputs of one worker process, whose start costs as much as some hundred of them."""

CLOCK = 3600
"""Seconds of the clock after which an input counts as hanging: on a busy machine many minutes pass without a
second of processor time."""


def films() -> list[bytes]:
    """Draw whole films, one a format and transfer syntax."""
    from PIL import Image
    from pydicom import uid
    from tests.radiographs.dicom_films import (
        dataset_of,
        jpeg2k,
        jpeg8,
        jpeg_lossless,
        native,
        written,
    )

    from cxrlens.phantoms import draw_phantom

    grey = draw_phantom(1, "pneumonia", 128).film
    deep = grey.astype(np.uint16) * 16
    made = []
    for form, options in (
        *(("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("TIFF", {}), ("BMP", {})),
        *(("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {})),
    ):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, form, **options)
        made.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    made.append(file.getvalue())
    made.append(native(deep, 12, PixelPaddingValue=0, RescaleIntercept=-5, RescaleSlope=2))
    made.append(native(grey, 8, PhotometricInterpretation="MONOCHROME1"))
    for bits, coded, syntax in (
        (8, jpeg8(grey), uid.JPEGBaseline8Bit),
        (12, jpeg_lossless(deep, 12), uid.JPEGLosslessSV1),
        (12, jpeg2k(deep, 12), uid.JPEG2000Lossless),
    ):
        made.append(written(dataset_of(grey if bits == 8 else deep, bits), coded, syntax))
    made.append(written(dataset_of(deep, 12), deep.tobytes(), uid.DeflatedExplicitVRLittleEndian))
    return made


def tables() -> list[bytes]:
    """Write a small collection in several dialects."""
    rows = [
        f"f{number}.png,{('normal', 'pneumonia', 'tuberculosis')[number % 3]},p{number // 2},PA"
        for number in range(24)
    ]
    plain = "\n".join(["image,label,patient,view", *rows]) + "\n"
    return [
        plain.encode(),
        plain.replace(",", ";").encode(),
        plain.replace(",", "\t").encode("utf-16"),
        plain.replace("p3", "p\u00e9").encode("cp1252"),
        plain.replace("f1.png", '"f,1.png"').encode("utf-8-sig"),
    ]


def forms() -> list[bytes]:
    """Write multipart forms with films and fields."""
    head = b'--b\r\nContent-Disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="method"\r\n\r\ngradcam\r\n'
    return [head + film[:2000] + b"\r\n" + field + b"--b--\r\n" for film in films()[:3]]


def pdus() -> list[bytes]:
    """Write what callers of a node begin with: an association, an echo, a film, a release."""
    from pydicom import uid
    from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
    from pynetdicom.dimse_primitives import C_ECHO, C_STORE
    from pynetdicom.dsutils import encode
    from pynetdicom.pdu import P_DATA_TF
    from tests.pacs.dicom_peers import association_request
    from tests.radiographs.dicom_films import CR, dataset_of

    def data(message: Any, primitive: Any, context: int) -> bytes:
        message.primitive_to_message(primitive)
        parts = []
        for fragment in message.encode_msg(context, 16382):
            part = P_DATA_TF()
            part.from_primitive(fragment)
            parts.append(part.encode())
        return b"".join(parts)

    pixels = np.arange(4096, dtype=np.uint8).reshape(64, 64)
    film = dataset_of(pixels, 8, SOPInstanceUID="1.2.3.4")
    film.PixelData = pixels.tobytes()
    echo, store = C_ECHO(), C_STORE()
    echo.MessageID = store.MessageID = 1
    echo.AffectedSOPClassUID, store.AffectedSOPClassUID = uid.UID("1.2.840.10008.1.1"), CR
    store.AffectedSOPInstanceUID, store.Priority = "1.2.3.4", 2
    store.DataSet = io.BytesIO(encode(film, False, True))
    request = association_request(CR)
    return [
        request,
        request + data(C_ECHO_RQ(), echo, 1),
        request + data(C_STORE_RQ(), store, 3),
        request + b"\x05\x00" + (4).to_bytes(4, "big") + bytes(4),
    ]


def damaged(whole: bytes, random_: random.Random) -> tuple[bytes, str]:
    """Damage a seed in one of three ways, or leave it."""
    way = random_.choices(("whole", "anywhere", "behind", "form"), (10, 30, 30, 30))[0]
    data = bytearray(whole)
    if way == "whole":
        return whole, way
    first = len(data) // 10 if way == "behind" else 0
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        at = random_.randrange(first, max(first + 1, len(data)))
        kind = random_.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << random_.randrange(8)
        elif kind == 1:
            data[at : at + random_.choice((1, 2, 4))] = random_.choice(
                (b"\xff\xff", b"\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")
            )
        elif kind == 2 and way != "form":
            del data[at : at + random_.choice((1, 8, 64, 512))]
        elif kind == 3:
            data[at:at] = bytes(random_.choices(range(256), k=random_.choice((1, 8, 64))))
        elif kind == 4 and way != "form":
            del data[at:]
        else:
            other = random_.randrange(max(1, len(data)))
            piece = data[other : other + random_.choice((4, 16, 64))]
            data[at : at + len(piece)] = piece
    return bytes(data), way


def read_film(data: bytes, folder: Path) -> None:
    """Decode a film, and look at it as `check` does."""
    from cxrlens.quality.chain import Chain
    from cxrlens.radiographs.read import decode_radiograph

    del folder
    Chain.named("report").check(decode_radiograph(data, "the film", 50_000_000))


def read_table(data: bytes, folder: Path) -> None:
    """Read a collection and split it."""
    from cxrlens.collections.collection import read_collection
    from cxrlens.collections.combine import split

    if not (folder / "f0.png").exists():
        import cv2

        for number in range(24):
            cv2.imwrite(str(folder / f"f{number}.png"), np.full((8, 8), 9 * number, np.uint8))
        (folder / "f,1.png").write_bytes((folder / "f1.png").read_bytes())
    path = folder / "films.csv"
    path.write_bytes(data)
    split(read_collection(path), 0)


def read_form(data: bytes, folder: Path) -> None:
    """Read a multipart form as the server does."""
    import asyncio

    from starlette.exceptions import HTTPException

    from cxrlens.serving.limits import Limits, read_upload

    async def stream() -> Any:
        for start in range(0, len(data), 700):
            yield data[start : start + 700]

    del folder
    try:
        asyncio.run(
            read_upload("multipart/form-data; boundary=b", stream(), Limits(), lambda count: None)
        )
    except HTTPException as error:
        raise CxrlensError(str(error)) from error


def call_node(data: bytes, folder: Path) -> None:
    """Send bytes to a node that accepts them or not, and see that it still answers an echo."""
    import socket

    from pynetdicom import AE

    port, answer = _node(folder), b""
    with socket.create_connection(("127.0.0.1", port), 5) as caller:
        # What comes before the association is answered is no dialogue.
        request = 6 + int.from_bytes(data[2:6], "big")
        for begins, ends in ((0, request), (request, len(data))):
            caller.settimeout(5 if data in _whole and not begins else 0.05)
            with contextlib.suppress(TimeoutError, ConnectionError):
                caller.sendall(data[begins:ends])
                answer += caller.recv(4096)
    ae = AE(ae_title="TESTER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", port, ae_title="CXRLENS")
    if not association.is_established:
        raise RuntimeError("the node answers nobody any more")
    association.send_c_echo()
    association.release()
    if answer[:1] != b"\x02":
        raise CxrlensError("no association was accepted")


_port: list[int] = []
_whole: list[bytes] = []
_faults: list[BaseException] = []
"""Of the node's threads."""


def _node(folder: Path) -> int:
    """Start a node's receiver in this process once; give its port."""
    if not _port:
        from cxrlens.pacs.node import open_log
        from cxrlens.pacs.receiver import Receiver
        from cxrlens.pacs.spool import Spool

        open_log()
        threading.excepthook = lambda fault: _faults.append(fault.exc_value or SystemExit())
        receiver = Receiver(Spool(folder / "spool", 0), "CXRLENS", ["TESTER"], lambda: None)
        _port.append(receiver.start("127.0.0.1", 0))
        _whole.extend(pdus())
    return _port[0]


KINDS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes, Path], None], int]] = {
    "film": (films, read_film, 60),
    "table": (tables, read_table, 25),
    "form": (forms, read_form, 10),
    "PDU": (pdus, call_node, 5),
}
"""Seeds, what is done with an input, and the kind's share of all inputs in percent."""


def spent() -> tuple[float, int]:
    """Return processor seconds and the most memory of this process and of those it started."""
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    most = max(
        resource.getrusage(who).ru_maxrss * 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        # A thread or a process may have just ended.
        with contextlib.suppress(OSError, IndexError):
            for process in map(Path("/proc").joinpath, child.read_text().split()):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                status = (process / "status").read_text()
                most = max(most, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
    return seconds, most


def work(kind: str, first: int, count: int, seed: int) -> None:
    """Be a worker: a JSON line an input."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    seeds, do, _ = KINDS[kind]
    whole = seeds()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            if stopped.is_set():
                break
            random_ = random.Random(f"{seed} {kind} {number}")
            data, way = damaged(random_.choice(whole), random_)
            print(json.dumps({"begin": number}), flush=True)
            began, _ = spent()
            signal.alarm(CLOCK)
            try:
                do(data, Path(folder))
                end = "accepted"
            except CxrlensError as error:
                end = "refused" if len(str(error)) < 2000 else "long sentence"
            except Exception:  # noqa: BLE001 - this is what is looked for
                end = "traceback"
                print(traceback.format_exc(), file=sys.stderr)
            signal.alarm(0)
            while _faults:
                end = "traceback"
                traceback.print_exception(_faults.pop())
            seconds, most = spent()
            told = {"way": way, "end": end, "seconds": round(seconds - began, 3), "bytes": most}
            print(json.dumps({"number": number, **told}), flush=True)
    sys.stdout.flush()
    # The node's threads would hold the process up.
    from cxrlens.radiographs.decoding import decoders

    decoders.end()
    os._exit(0)


@dataclass
class Tally:
    """How the inputs of one kind ended."""

    kind: str
    seeds: list[int] = field(default_factory=list)
    inputs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "bytes": 0})
    named: list[str] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        """Count one input."""
        self.inputs += 1
        self.ends[told["end"]] += 1
        self.ways[f"{told['way']}, {told['end']}"] += 1
        if told["end"] not in ("accepted", "refused"):
            self.named.append(f"{self.kind} {told['number']}: {told['end']}")
        if told["way"] == "whole" and told["end"] != "accepted":
            self.named.append(f"{self.kind} {told['number']}: a whole input is {told['end']}")
        for key in self.worst:
            self.worst[key] = max(self.worst[key], told[key])
        for key, most, name in (("seconds", SECONDS, "over 10 s"), ("bytes", BYTES, "over 1 GB")):
            if told[key] > most:
                self.ends[name] += 1
                self.named.append(f"{self.kind} {told['number']}: {name}")

    def join(self, kept: dict[str, Any]) -> None:
        """Add what an earlier run kept."""
        self.seeds = [*kept["seeds"], *self.seeds]
        self.inputs += kept["inputs"]
        self.ends.update(kept["ends"])
        self.ways.update(kept["ways"])
        self.named = [*kept["named"], *self.named]
        self.worst = {key: max(kept[key], worst) for key, worst in self.worst.items()}

    def content(self) -> dict[str, Any]:
        """Give what the result file keeps."""
        ways = Counter[str]()
        for way, count in self.ways.items():
            ways[way.partition(",")[0]] += count
        shares = {way: round(count / self.inputs, 3) for way, count in ways.items()}
        told = {
            "seeds": self.seeds,
            "inputs": self.inputs,
            "ends": dict(self.ends),
            "ways": dict(self.ways),
        }
        return {**told, "share of each way": shares, **self.worst, "named": self.named[:99]}


def fuzz(
    counts: dict[str, int], seed: int, workers: int, first: int, minutes: float
) -> dict[str, Tally]:
    """Run inputs of each kind in workers, the kinds by turns, as many as the time allows."""
    tallies = {kind: Tally(kind, [seed]) for kind in counts}
    parts = sorted(
        (
            ((at - first) / count, kind, at, min(PART, first + count - at))
            for kind, count in counts.items()
            for at in range(first, first + count, PART)
        ),
        reverse=True,
    )
    running: list[tuple[subprocess.Popen[str], str, int, int]] = []

    def stop(*_: object) -> None:
        parts.clear()
        for worker, *_ in running:
            worker.terminate()

    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(one, stop)
    if np.isfinite(minutes):
        signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    while parts or running:
        while parts and len(running) < workers:
            _, kind, at, many = parts.pop()
            command = [sys.executable, __file__, "--worker", kind, str(at), str(many), str(seed)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            worker = subprocess.Popen(command, text=True, **pipes)
            running.append((worker, kind, at, many))
        process, kind, at, many = running[0]
        out, err = process.communicate()
        running.pop(0)
        last = at - 1
        for line in out.splitlines():
            told = json.loads(line)
            if "begin" in told:
                last = told["begin"]
            else:
                tallies[kind].add(told)
        if process.returncode not in (0, -signal.SIGTERM):
            tallies[kind].inputs += 1
            tallies[kind].ends["abort"] += 1
            tallies[kind].named.append(f"{kind} {last}: it ended with {process.returncode}")
            if last + 1 < at + many:
                parts.append((0.0, kind, last + 1, at + many - last - 1))
        sys.stderr.write("".join(err[-2000:] for _ in range("Traceback" in err)))
        print(kind, at, dict(tallies[kind].ends), file=sys.stderr, flush=True)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--dry", action="store_true", help="write no result")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    began = time.monotonic()
    shares = {kind: KINDS[kind][2] for kind in given.only}
    counts = {kind: given.inputs * one // sum(shares.values()) for kind, one in shares.items()}
    before = kept("fuzz") if given.add else {"kinds": {}, "seconds": 0}
    if any(given.seed in before["kinds"].get(kind, {"seeds": []})["seeds"] for kind in counts):
        parser.error(f"seed {given.seed} is in the kept result: choose another")
    found = fuzz(counts, given.seed, given.workers, given.first, given.minutes)
    for kind, tally in found.items():
        print(kind, tally.content(), flush=True)
        if kind in before["kinds"]:
            tally.join(before["kinds"][kind])
    if given.dry:
        return
    results = {**before["kinds"], **{kind: tally.content() for kind, tally in found.items()}}
    kinds = {kind: results[kind] for kind in KINDS if kind in results}
    seconds = round(before["seconds"] + time.monotonic() - began)
    write(kinds, seconds, given.workers)


def write(kinds: dict[str, dict[str, Any]], seconds: int, workers: int) -> None:
    """Write ``results/fuzz.json`` and ``.md`` from what `Tally.content` gave of each kind."""
    measure = "processor seconds of the worker and its decoders; the machine was shared"
    run = sum(one["inputs"] for one in kinds.values())
    told = {"workers": workers, "seconds of an input": measure}
    keep("fuzz", {**told, "inputs": run, "seconds": seconds, "kinds": kinds})
    counted = ("accepted", "refused", "traceback", "abort", "over 10 s", "over 1 GB")
    table = pd.DataFrame(
        [
            {
                "input": kind,
                "inputs": f"{one['inputs']:,}",
                **{end: f"{one['ends'].get(end, 0):,}" for end in counted},
                "longest, processor s": one["seconds"],
                "most memory, MB": round(one["bytes"] / 1e6),
                "seeds": ", ".join(map(str, one["seeds"])),
            }
            for kind, one in kinds.items()
        ]
    )
    text = (
        f"{markdown(table)}\n\n{run:,} inputs in {seconds:,} s by the clock of a shared machine, "
        f"workers: {workers}. {stamp(machine())}\n"
    )
    (RESULTS / "fuzz.md").write_text(text)
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        main()
