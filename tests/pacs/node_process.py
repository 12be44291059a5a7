"""The node as users run it: the command in a process of its own."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from .orthanc import free_port, until


class NodeProcess:
    """`cxrlens dicom-node`, on a port that stays the same over restarts."""

    def __init__(self, model: Path, spool: Path, *destination: str, port: int = 0) -> None:
        self.spool, self.port = spool, port or free_port()
        self.log = spool.with_name(spool.name + ".log")
        self.command = [
            *(sys.executable, "-m", "cxrlens", "dicom-node", "--model", str(model)),
            *("--spool", str(spool), "--allow", "ORTHANC,TESTER", "--port", str(self.port)),
            *("--retry", "0.2", "--reserve", "1", *destination),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, most_bytes_a_file: int | None = None) -> "NodeProcess":
        def limited() -> None:
            if most_bytes_a_file is not None:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes_a_file, hard))

        before = self.said().count("listening on")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env={**os.environ, **threads},
                preexec_fn=limited,
            )
        until(lambda: self._is_ready(before), what=f"the node: {self.said()[-2000:]}")
        return self

    def _is_ready(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        return self.said().count("listening on") > before

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self) -> int:
        """End it in order; gives its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(30)
        self.process = None
        return code

    def __enter__(self) -> "NodeProcess":
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def in_spool(self) -> dict[str, int]:
        return {
            place: sum(1 for p in (self.spool / place).iterdir() if p.suffix != ".txt")
            for place in ("incoming", "waiting", "results", "done", "failed")
        }
