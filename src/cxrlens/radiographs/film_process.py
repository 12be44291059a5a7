"""Program of a process that decodes whole films for another; see `apart`."""

import contextlib
import signal
from pathlib import Path
from typing import Any

from cxrlens.errors import FilmError
from cxrlens.radiographs.decoder_process import serve
from cxrlens.radiographs.decoding import stay
from cxrlens.radiographs.read import decode_radiograph

_BYTES_PER_PIXEL = 24
_BYTES_BESIDE = 512 * 2**20
"""What decoders, tables and a film's own file need beside its pixels."""


def decode(job: dict[str, Any], data: bytes) -> Any:
    """Decode a film under the job's bounds; a refusal is a ValueError with its sentence."""
    _bound(job["processor_seconds"], _BYTES_PER_PIXEL * job["max_pixels"] + _BYTES_BESIDE)
    try:
        return decode_radiograph(data, job["name"], job["max_pixels"])
    except FilmError as error:
        raise ValueError(str(error)) from error
    except BaseException as error:  # a panic in Rust is no Exception
        raise ValueError(
            f"{job['name']} cannot be decoded ({type(error).__name__}): save it anew as PNG"
        ) from error
    finally:
        _bound(0, None)


def _bound(seconds: float, more_bytes: int | None) -> None:
    """End this process after so much processor time; let it take so many bytes more than it has."""
    if not hasattr(signal, "setitimer"):
        return
    import resource

    signal.setitimer(signal.ITIMER_PROF, seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = resource.RLIM_INFINITY
    if more_bytes is not None:
        with contextlib.suppress(OSError):  # only Linux tells what a process has
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    stay()
    serve(decode)
