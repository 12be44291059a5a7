"""Damaged films, tables, forms and PDUs: whether any ends the program, ends in a traceback, or takes long.

    python benchmarks/fuzz.py [--inputs 20000] [--workers 2] [--minutes M] [--seed 0] [--only KIND ...]

Seeds are drawn films in every format and transfer syntax, tables in every dialect, multipart forms and
associations. One input in ten is left whole and must be accepted; of the rest one in three is damaged anywhere,
one behind its header, and one keeps its form (lengths, tags and numbers become others). Workers are processes
that may take 4 GB and are started anew where one ends; what ended it is counted and named by kind and number, so
that `--only KIND --from NUMBER --inputs 1` shows it again. Our own files have a script of their own,
damage_own_files.py. Writes results/fuzz.json and .md.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
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

from cxrlens.errors import CxrlensError

SECONDS, BYTES = 10.0, 1 << 30
LIMIT = 4 << 30
PART = 250
"""Inputs of one worker process."""


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
    """Write what callers of a node begin with: an association request, an echo, an abort."""
    from tests.pacs.dicom_peers import association_request

    request = association_request()
    return [request, request + b"\x04\x00" + (20).to_bytes(4, "big") + bytes(20)]


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
    """Send bytes to a node, and see that it still answers an echo."""
    import socket

    from pynetdicom import AE

    port = _node(folder)
    with socket.create_connection(("127.0.0.1", port), 5) as caller:
        caller.sendall(data)
        caller.settimeout(0.05)
        try:
            caller.recv(4096)
        except TimeoutError:
            pass
        except ConnectionError:
            pass
    ae = AE(ae_title="TESTER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", port, ae_title="CXRLENS")
    if not association.is_established:
        raise RuntimeError("the node answers nobody any more")
    association.send_c_echo()
    association.release()


_port: list[int] = []


def _node(folder: Path) -> int:
    """Start a node's receiver in this process once; give its port."""
    if not _port:
        from cxrlens.pacs.node import open_log
        from cxrlens.pacs.receiver import Receiver
        from cxrlens.pacs.spool import Spool

        open_log()
        receiver = Receiver(Spool(folder / "spool", 0), "CXRLENS", ["TESTER"], lambda: None)
        _port.append(receiver.start("127.0.0.1", 0))
    return _port[0]


KINDS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes, Path], None], int]] = {
    "film": (films, read_film, 60),
    "table": (tables, read_table, 25),
    "form": (forms, read_form, 10),
    "PDU": (pdus, call_node, 5),
}
"""Seeds, what is done with an input, and the kind's share of all inputs in percent."""


def work(kind: str, first: int, count: int, seed: int) -> None:
    """Be a worker: a JSON line an input."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    seeds, do, _ = KINDS[kind]
    whole = seeds()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            random_ = random.Random(f"{seed} {kind} {number}")
            data, way = damaged(random_.choice(whole), random_)
            print(json.dumps({"begin": number}), flush=True)
            began = time.process_time()
            try:
                do(data, Path(folder))
                end = "accepted"
            except CxrlensError as error:
                end = "refused" if len(str(error)) < 2000 else "long sentence"
            except Exception:  # noqa: BLE001 - this is what is looked for
                end = "traceback"
                print(traceback.format_exc(), file=sys.stderr)
            told = {
                "number": number,
                "way": way,
                "end": end,
                "seconds": round(time.process_time() - began, 3),
                "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
            print(json.dumps(told), flush=True)
    sys.stdout.flush()
    # The node's threads would hold the process up.
    import os

    os._exit(0)


@dataclass
class Tally:
    """How the inputs of one kind ended."""

    kind: str
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

    def content(self) -> dict[str, Any]:
        """Give what the result file keeps."""
        ways = Counter[str]()
        for way, count in self.ways.items():
            ways[way.partition(",")[0]] += count
        shares = {way: round(count / self.inputs, 3) for way, count in ways.items()}
        told = {"inputs": self.inputs, "ends": dict(self.ends), "ways": dict(self.ways)}
        return {**told, "share of each way": shares, **self.worst, "named": self.named[:50]}


def fuzz(
    counts: dict[str, int], seed: int, workers: int, first: int, until: float
) -> dict[str, Tally]:
    """Run inputs of each kind in workers, the kinds by turns, as many as the time allows."""
    tallies = {kind: Tally(kind) for kind in counts}
    parts = sorted(
        (
            ((at - first) / count, kind, at, min(PART, first + count - at))
            for kind, count in counts.items()
            for at in range(first, first + count, PART)
        ),
        reverse=True,
    )
    running: list[tuple[subprocess.Popen[str], str, int, int]] = []
    while parts or running:
        while parts and len(running) < workers and time.monotonic() < until:
            _, kind, at, many = parts.pop()
            command = [sys.executable, __file__, "--worker", kind, str(at), str(many), str(seed)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            running.append((subprocess.Popen(command, text=True, **pipes), kind, at, many))
        if not running:
            break
        process, kind, at, many = running.pop(0)
        out, err = process.communicate()
        last = at - 1
        for line in out.splitlines():
            told = json.loads(line)
            if "begin" in told:
                last = told["begin"]
            else:
                tallies[kind].add(told)
        if process.returncode != 0:
            tallies[kind].inputs += 1
            tallies[kind].ends["abort"] += 1
            tallies[kind].named.append(f"{kind} {last}: it ended with {process.returncode}")
            if last + 1 < at + many:
                parts.append((0.0, kind, last + 1, at + many - last - 1))
        sys.stderr.write(err[-2000:])
    return tallies


def main() -> None:
    from record import RESULTS, keep, machine, markdown, stamp

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", choices=list(KINDS))
    given = parser.parse_args()
    began = time.monotonic()
    counts = {kind: given.inputs * share // 100 for kind, (_, _, share) in KINDS.items()}
    if given.only:
        counts = dict.fromkeys(given.only, given.inputs)
    until = began + 60 * given.minutes
    found = fuzz(counts, given.seed, given.workers, given.first, until)
    seconds = round(time.monotonic() - began)
    for kind, tally in found.items():
        print(kind, tally.content(), flush=True)
    if given.only:
        return
    asked = {"seed": given.seed, "workers": given.workers, "asked for": given.inputs}
    kinds = {kind: tally.content() for kind, tally in found.items()}
    run = sum(tally.inputs for tally in found.values())
    keep("fuzz", {**asked, "inputs": run, "seconds": seconds, "kinds": kinds})
    counted = ("accepted", "refused", "traceback", "abort", "over 10 s", "over 1 GB")
    table = pd.DataFrame(
        [
            {
                "input": kind,
                "inputs": f"{tally.inputs:,}",
                **{end: f"{tally.ends.get(end, 0):,}" for end in counted},
                "longest, s": tally.worst["seconds"],
                "most memory, MB": round(tally.worst["bytes"] / 1e6),
            }
            for kind, tally in found.items()
        ]
    )
    text = (
        f"{markdown(table)}\n\n{run:,} inputs, seed {given.seed}, {seconds:,} s, "
        f"workers: {given.workers}. {stamp(machine())}\n"
    )
    (RESULTS / "fuzz.md").write_text(text)
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        main()
