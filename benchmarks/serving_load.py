"""What batching gains: films a second and waiting times of a server that batches and of one that does not.

    python benchmarks/serving_load.py RUN [--films FOLDER] [--seconds 8]

`cxrlens serve` runs in a process of its own, with --batch 1 and with --batch 16 in turn; 1, 4 and 16 clients
each send one film after another. Without a folder the films are drawn ones of 512 pixels. Writes
results/serving_load.json and the table in docs/serving.md.
"""

from __future__ import annotations

import argparse
import http.client
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlens.files import write_text
from cxrlens.phantoms import write_phantoms
from cxrlens.radiographs.read import find_films
from record import DOCS, keep, kept, markdown, stamp

CLIENTS = (1, 4, 16)
BATCHES = (1, 16)
ROUNDS = 3
KIND = "multipart/form-data; boundary=x"


def body(film: bytes) -> bytes:
    head = b'--x\r\ncontent-disposition: form-data; name="film"; filename="film"\r\n\r\n'
    return head + film + b"\r\n--x--\r\n"


@contextmanager
def serving(run: Path, batch: int) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, on a free port: the port, and the process's number."""
    command = [
        sys.executable,
        "-m",
        "cxrlens",
        "serve",
        "--model",
        str(run),
        "--port",
        "0",
        "--batch",
        str(batch),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = 0
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", line)
        if found:
            port = int(found.group(1))
            break
    assert port, f"the server did not start: {said[-3:]}"
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        ask(http.client.HTTPConnection("127.0.0.1", port), "GET", "/health")
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def ask(line: http.client.HTTPConnection, verb: str, path: str, content: bytes = b"") -> bytes:
    line.request(verb, path, content, {"content-type": KIND} if content else {})
    answer = line.getresponse()
    said = answer.read()
    assert answer.status == 200, said
    return said


def load(port: int, clients: int, films: list[bytes], seconds: float) -> dict[str, float]:
    """Let clients ask for some seconds; films a second, and how long one waits."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port)
        turn = number
        while time.perf_counter() < end:
            start = time.perf_counter()
            ask(line, "POST", "/predict", films[turn % len(films)])
            waits.append(time.perf_counter() - start)
            turn += clients

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    waits.sort()
    return {
        "films_per_second": len(waits) / took,
        "median_ms": 1000 * statistics.median(waits),
        "p95_ms": 1000 * waits[int(0.95 * (len(waits) - 1))],
    }


def counters(port: int) -> dict[str, float]:
    """The server's own counts: CPU seconds, films and calls of the network."""
    text = ask(http.client.HTTPConnection("127.0.0.1", port), "GET", "/metrics").decode()
    names = ("process_cpu_seconds_total", "cxrlens_batch_films_sum", "cxrlens_batch_films_count")
    return {
        name: float(re.search(rf"^{name} (\S+)", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
        for name in names
    }


def measured(port: int, clients: int, films: list[bytes], seconds: float) -> dict[str, float]:
    """`load`, and what it cost: CPU time does not mind what else the machine does."""
    before = counters(port)
    found = load(port, clients, films, seconds)
    cpu, done, calls = (
        after - start for start, after in zip(before.values(), counters(port).values(), strict=True)
    )
    return {**found, "cpu_ms_per_film": 1000 * cpu / done, "films_per_call": done / calls}


def spread(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        key: {
            "median": round(statistics.median(row[key] for row in rows), 1),
            "least": round(min(row[key] for row in rows), 1),
            "most": round(max(row[key] for row in rows), 1),
        }
        for key in rows[0]
    }


def words(values: dict[str, float]) -> str:
    return f"{values['median']:g} ({values['least']:g}–{values['most']:g})"


def table(content: dict[str, Any]) -> str:
    rows = [
        {
            "clients": row["clients"],
            "`--batch`": row["batch"],
            "films a call": words(row["films_per_call"]),
            "CPU ms a film": words(row["cpu_ms_per_film"]),
            "films/s": words(row["films_per_second"]),
            "median wait, ms": words(row["median_ms"]),
            "95 % wait within, ms": words(row["p95_ms"]),
        }
        for row in content["rows"]
    ]
    return (
        f"{markdown(pd.DataFrame(rows))}\n\nMedian (least–most) of {ROUNDS} rounds of {content['seconds']:g} s, the two "
        f"servers in turn; {content['films']}; model: {content['model']}. CPU time is the server's own, decoding and quality chain "
        f"included. Where the spread is wide, the machine did other work meanwhile: measure again. "
        f"{stamp(content['machine'])}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--films", type=Path, help="a folder of films")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.films or write_phantoms(Path(folder) / "set", 16, side=512).parent
        films = [body(path.read_bytes()) for path in find_films([place])[:32]]
    found: dict[tuple[int, int], list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for batch in BATCHES:
            with serving(options.run, batch) as (port, _):
                load(port, 2, films, 2)
                for clients in CLIENTS:
                    row = measured(port, clients, films, options.seconds)
                    found.setdefault((clients, batch), []).append(row)
    from cxrlens.evaluation.card import card_of
    from cxrlens.runs import open_model

    card = card_of(open_model(options.run))
    content = {
        "model": f"{card.backbone} at {card.side} pixels, chain {card.quality}",
        "films": f"{len(films)} {'given films' if options.films else 'drawn films of 512 pixels'}",
        "seconds": options.seconds,
        "rows": [
            {"clients": clients, "batch": batch, **spread(rows)}
            for (clients, batch), rows in sorted(found.items())
        ],
    }
    keep("serving_load", content)
    text = table(kept("serving_load"))
    page = DOCS / "serving.md"
    marked = re.compile(r"(<!-- serving_load -->\n).*?(\n<!-- end -->)", re.DOTALL)
    write_text(page, marked.sub(lambda found: found[1] + text + found[2], page.read_text("utf-8")))
    print(text)


if __name__ == "__main__":
    main()
