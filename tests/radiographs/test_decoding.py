"""Compressed DICOM is decoded in processes apart: a crash costs a film, and none is left behind."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from cxrlens.errors import FilmError
from cxrlens.radiographs import decoding

from .dicom_films import EIGHT, LOSSLESS, TWELVE, dataset_of, jpeg_lossless, read, written
from .drawn import scaled

FILMS = [
    written(dataset_of(TWELVE, 12), encode(TWELVE, 12), syntax)
    for syntax, encode in LOSSLESS.values()
]
FRAME = encapsulate([jpeg_lossless(EIGHT, 8)])
OPTIONS = {
    "rows": EIGHT.shape[0],
    "columns": EIGHT.shape[1],
    "number_of_frames": 1,
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "planar_configuration": 0,
    "pixel_representation": 0,
    "bits_allocated": 8,
    "bits_stored": 8,
    "pixel_keyword": "PixelData",
}


def decoded(**options):
    return decoding.decode_apart(
        uid.JPEGLossless, "gdcm", {**OPTIONS, **options}, FRAME, "film.dcm"
    )


@pytest.mark.parametrize(
    "stored", [1, *(pytest.param(bits, marks=pytest.mark.slow) for bits in range(2, 8))]
)
def test_a_decoder_that_aborts_costs_one_film(stored):
    """JPEG Lossless with fewer bits stored than allocated ends the process that GDCM runs in."""
    with pytest.raises(FilmError, match=r"^film\.dcm cannot be decoded .its decoder crashes"):
        decoded(bits_stored=stored)
    np.testing.assert_array_equal(decoded(), EIGHT)


@pytest.mark.slow
def test_a_decoder_that_never_ends_is_given_up(monkeypatch):
    decoded()
    stopped = decoding.decoders.idle[-1].process
    stopped.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(decoding, "SECONDS", 0.2)
    with pytest.raises(FilmError, match="takes longer than"):
        decoded()
    assert stopped.poll() is not None
    monkeypatch.undo()
    np.testing.assert_array_equal(decoded(), EIGHT)


@pytest.mark.slow
def test_a_decoder_that_was_killed_between_films_is_replaced():
    decoded()
    for decoder in decoding.decoders.idle:
        decoder.process.kill()
        decoder.process.wait()
    np.testing.assert_array_equal(decoded(), EIGHT)


def test_threads_share_no_more_decoders_than_there_are_processors():
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        seen = list(pool.map(read, FILMS * 6))
    for film in seen:
        np.testing.assert_array_equal(film, scaled(TWELVE, 12))
    assert 1 <= len(decoding.decoders.idle) <= (os.cpu_count() or 1)


def _read_and_send(pipe):
    pipe.send([int(read(film).sum()) for film in FILMS])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_decoders_of_its_own():
    alone = [int(read(film).sum()) for film in FILMS]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read_and_send, args=(theirs,))
    child.start()
    together = [int(read(film).sum()) for film in FILMS]
    assert ours.poll(60)
    assert ours.recv() == alone == together
    child.join()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="processes are looked for as POSIX has them")
def test_decoders_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "film.dcm").write_bytes(FILMS[0])
    program = (
        "import sys, time\n"
        "from cxrlens.radiographs import decoding, read_radiograph\n"
        "read_radiograph(sys.argv[1])\n"
        "print(decoding.decoders.idle[0].process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "film.dcm")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as parent:
        decoder = int(parent.stdout.readline())
        os.kill(decoder, 0)
        parent.kill()
    until = time.monotonic() + 10
    while _runs(decoder) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(decoder)


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:  # an orphan can stay listed where nobody reaps it
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
