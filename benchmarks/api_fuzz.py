"""Schemathesis against the server's own OpenAPI: every answer as it is documented, and never a 500.

    python3 -m venv fuzz && fuzz/bin/pip install -c constraints.txt -e '.[serve]' ./models/evidence-lungs schemathesis==4.32.5
    fuzz/bin/python -m benchmarks api_fuzz [--seconds 600] [--seed 0]

The model in the box is served on this machine and asked by requests drawn from the schema: whole ones and broken
ones, with drawn films in half of the forms and any bytes in the others, and with a job that exists in half of
the questions about jobs. Two checks are left out, since the schema cannot say it: whether bytes are a film and
whether a disease has a map (422), and that too many films are the request's size (413).
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from record import RESULTS, keep, machine, markdown, stamp

LEFT_OUT = ("positive_data_acceptance", "negative_data_rejection", "not_a_server_error")
FILMS, ADDRESS = "CXRLENS_FUZZ_FILMS", "CXRLENS_FUZZ_ADDRESS"


def hooks() -> None:
    """What Schemathesis loads from this file: films for its forms, a job for its questions."""
    import httpx
    import schemathesis
    from hypothesis import strategies as st

    films = [path.read_bytes() for path in sorted(Path(os.environ[FILMS]).rglob("*.png"))]
    schemathesis.openapi.format("binary", st.sampled_from(films) | st.binary())
    asked, job = itertools.count(), ""

    @schemathesis.hook
    def before_call(context: object, case: schemathesis.Case, kwargs: object) -> None:
        nonlocal job
        if "job" not in (case.path_parameters or {}) or next(asked) % 2:
            return
        with httpx.Client(base_url=os.environ[ADDRESS], timeout=300) as client:
            if not job or client.get(f"/jobs/{job}").status_code != 200:
                form = {"method": "occlusion"}
                answer = client.post("/explain", files={"film": films[0]}, data=form)
                job = answer.json().get("id", "none")
        case.path_parameters["job"] = job


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from cxrlens.phantoms import write_phantoms

    with tempfile.TemporaryDirectory() as folder:
        films, log = Path(folder) / "films", Path(folder) / "log"
        write_phantoms(films, 3, side=128)
        with log.open("w") as told:
            server = subprocess.Popen(
                [sys.executable, "-m", "cxrlens", "serve", "--port", "0"], stderr=told
            )
        try:
            while not (at := re.search(r"http://[\d.]+:\d+", log.read_text())):
                if server.poll() is not None:
                    raise SystemExit(log.read_text())
            command = [Path(sys.executable).with_name("schemathesis"), "run", f"{at[0]}/openapi.json"]  # fmt: skip
            command += ["--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)]
            command += [
                "--continue-on-failure",
                "--request-timeout",
                "120",
                "--max-response-time",
                "120",
                "--warnings",
                "off",
            ]
            command += ["--max-time", str(options.seconds), "--seed", str(options.seed)]
            environment = {
                **os.environ,
                "SCHEMATHESIS_HOOKS": "api_fuzz",
                "PYTHONPATH": os.pathsep.join(sys.path),
                FILMS: str(films),
                ADDRESS: at[0],
            }
            ran = subprocess.run(
                command, env=environment, capture_output=True, text=True, cwd=folder
            )
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait()
        said = re.search(r"(\d+) generated(?:, (\d+) found (\d+) unique failures)?", ran.stdout)
        if not said:
            raise SystemExit(ran.stdout[-4000:] + ran.stderr[-2000:])
        found = {
            "requests": int(said[1]),
            "operations": int(re.search(r"Tested: (\d+)", ran.stdout)[1]),  # type: ignore[index]
            "failures": sorted(set(re.findall(r"- (ST\d+ .+)", ran.stdout))),
            "answers of 500 or more": len(
                re.findall(r"INFO \S+ \S+ 5(?!0[34])\d\d ", log.read_text())
            ),
            "the server lived on": alive,
        }
    print(*(line[:200] for line in ran.stdout.splitlines()), sep="\n")
    keep("api_fuzz", {"seed": options.seed, "seconds": options.seconds, "found": found})
    row = {name: ", ".join(of) or "none" if isinstance(of, list) else of for name, of in found.items()}  # fmt: skip
    text = f"{markdown(pd.DataFrame([row]))}\n\nSeed {options.seed}, {options.seconds} s. {stamp(machine())}\n"
    (RESULTS / "api_fuzz.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
elif FILMS in os.environ:
    hooks()
