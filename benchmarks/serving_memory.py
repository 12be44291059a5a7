"""What the server's memory comes to under two attacks, with the bounds of `--memory` and before there were any.

    python benchmarks/serving_memory.py RUN [--before SRC]

`cxrlens serve` runs in a process of its own. Eight clients begin requests of 16 drawn films of 12 MB and never
end them; then 14 slow explanations of films of 16 million pixels are asked for, one after another, and kept. Peak
memory is the kernel's own figure for the process (VmHWM). SRC is the src folder of an older checkout, measured
in the same way. Writes results/serving_memory.json and the table in docs/serving.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxrlens.files import write_text
from record import DOCS, keep, kept, markdown, stamp
from serving_load import KIND, serving

MEGABYTE = 2**20
UPLOADS, FILMS, FILM_BYTES = 8, 16, 12 * MEGABYTE
JOBS, SIDE = 14, 4000


def memory(process: int) -> dict[str, float]:
    """Memory now and at its peak, in MB."""
    said = Path(f"/proc/{process}/status").read_text()
    return {
        name: round(int(re.search(rf"{field}:\s+(\d+)", said)[1]) / 1024)  # type: ignore[index]
        for name, field in (("now", "VmRSS"), ("peak", "VmHWM"))
    }


def unfinished(port: int) -> tuple[socket.socket, int]:
    """Send all of a request but its last bytes; the status, if it was turned away."""
    part = b'--x\r\ncontent-disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
    line = socket.create_connection(("127.0.0.1", port), timeout=20)
    whole = FILMS * (FILM_BYTES + len(part) + 2)
    line.sendall(
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: {KIND}\r\n"
        f"content-length: {whole + 100}\r\n\r\n".encode()
    )
    film = bytes(FILM_BYTES)
    try:
        for _ in range(FILMS):
            line.sendall(part + film + b"\r\n")
    except OSError:  # hung up on
        pass
    line.settimeout(0.5)
    try:
        said = line.recv(100)
    except OSError:
        said = b""
    found = re.match(rb"HTTP/1.1 (\d+)", said)
    return line, int(found[1]) if found else 0


def uploads(port: int, process: int) -> dict[str, Any]:
    before = memory(process)
    answers: list[tuple[socket.socket, int]] = []
    clients = [
        threading.Thread(target=lambda: answers.append(unfinished(port))) for _ in range(UPLOADS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    after = memory(process)
    for line, _ in answers:
        line.close()
    return {
        "idle_mb": before["now"],
        "peak_mb": after["peak"],
        "turned_away": sum(status == 503 for _, status in answers),
    }


def asked(port: int, verb: str, path: str, content: bytes = b"") -> dict[str, Any]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    line.request(verb, path, content, {"content-type": KIND} if content else {})
    answer = line.getresponse()
    said: dict[str, Any] = json.loads(answer.read())
    line.close()
    return {**said, "code": answer.status}


def explanations(port: int, process: int) -> dict[str, Any]:
    rows = np.linspace(0, 255, SIDE, dtype=np.uint8)
    png = cv2.imencode(".png", np.tile(rows, (SIDE, 1)))[1].tobytes()
    part = '--x\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n'
    body = (
        part.format("film", '; filename="a.png"').encode()
        + png
        + b"\r\n"
        + part.format("method", "").encode()
        + b"occlusion\r\n--x--\r\n"
    )
    before, jobs = memory(process), []
    for _ in range(JOBS):
        job = asked(port, "POST", "/explain", body)
        jobs.append(job["id"])
        while asked(port, "GET", f"/jobs/{job['id']}")["status"] in ("waiting", "running"):
            time.sleep(0.2)
    after = memory(process)
    kept_jobs = sum(asked(port, "GET", f"/jobs/{job}")["status"] == "done" for job in jobs)
    return {
        "idle_mb": before["now"],
        "peak_mb": after["peak"],
        "afterwards_mb": after["now"],
        "maps_kept": kept_jobs,
    }


def measured(run: Path, source: Path | None) -> dict[str, Any]:
    if source:
        os.environ["PYTHONPATH"] = str(source)
    found = {}
    for name, attack in (("uploads", uploads), ("explanations", explanations)):
        with serving(run, 16) as (port, process):
            found[name] = attack(port, process)
    return found


def table(content: dict[str, Any]) -> str:
    rows = []
    for when in ("before", "now"):
        if found := content.get(when):
            rows.append(
                {
                    "": "without bounds" if when == "before" else "`--memory 1024`",
                    "uploads: peak, MB": found["uploads"]["peak_mb"],
                    "turned away": f"{found['uploads']['turned_away']} of {UPLOADS}",
                    "explanations: peak, MB": found["explanations"]["peak_mb"],
                    "afterwards, MB": found["explanations"]["afterwards_mb"],
                    "maps kept": f"{found['explanations']['maps_kept']} of {JOBS}",
                }
            )
    idle = content["now"]["uploads"]["idle_mb"]
    return (
        f"{markdown(pd.DataFrame(rows))}\n\nOne run each. {UPLOADS} requests of {FILMS} films of "
        f"{FILM_BYTES // MEGABYTE} MB that never end; {JOBS} slow explanations of a film of {SIDE} × {SIDE} pixels, one after "
        f"another. The idle server takes {idle:g} MB. {stamp(content['machine'])}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path, metavar="SRC", help="src of an older checkout")
    options = parser.parse_args()
    content = {"now": measured(options.run, None)}
    before = kept("serving_memory").get("before")
    if options.before:
        before = measured(options.run, options.before)
    if before:
        content["before"] = before
    keep("serving_memory", content)
    text = table(kept("serving_memory"))
    page = DOCS / "serving.md"
    marked = re.compile(r"(<!-- serving_memory -->\n).*?(\n<!-- end -->)", re.DOTALL)
    write_text(page, marked.sub(lambda found: found[1] + text + found[2], page.read_text("utf-8")))
    print(text)


if __name__ == "__main__":
    main()
