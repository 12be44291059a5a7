"""The life of one film in a spool, for a process that may be killed at its N-th touch of the disk.

    python dicom_life.py FOLDER N

Sends the film until it is acknowledged (``FOLDER/acknowledged``), predicts what waits, and delivers
what is ready to ``FOLDER/server``. At the N-th system call that the interpreter audits and that
changes or opens a file, the process kills itself, as a power cut would; N = 0 lets it live.
"""

import os
import signal
import sys
from pathlib import Path

from cxrlens.pacs.spool import Spool, key_of, sync_folder, write_durably

TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def kill_at(number: int) -> None:
    touched = 0

    def touch(event: str, arguments: tuple) -> None:
        nonlocal touched
        if event in TOUCHES:
            touched += 1
            if touched == number:
                os.kill(os.getpid(), signal.SIGKILL)

    if number:
        sys.addaudithook(touch)


def live(folder: Path) -> None:
    acknowledged, server = folder / "acknowledged", folder / "server"
    spool = Spool(folder / "spool", reserve=0)
    key = key_of("1.2.3")
    if not acknowledged.exists():
        spool.receive(key, b"film")
        write_durably(acknowledged, b"")
        sync_folder(folder)
    for film in spool.films(16):
        if spool.has_results(film.stem):
            spool.drop(film.stem)
            continue
        assert film.read_bytes() == b"film"
        files = {"1-capture.dcm": b"capture", "2-report.dcm": b"report"}
        spool.keep_results(film.stem, files, {"made": "2026-11-26T12:00:00"})
    for parcel in spool.parcels():
        for result in spool.unsent(parcel):
            # A server keeps one instance a UID, however often it is sent.
            (server / f"{parcel.name} {result.name}").write_bytes(result.read_bytes())
            spool.sent(result)
        spool.delivered(parcel.name, {"to": "server"})
    spool.close()


if __name__ == "__main__":
    kill_at(int(sys.argv[2]))
    live(Path(sys.argv[1]))
