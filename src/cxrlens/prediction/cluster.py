"""Predict films on a Ray cluster: Ray Data deals them out, one Predictor an actor and a processor an actor.

Every node reads the films and the model by their paths: both lie where all nodes see them. A node that dies
loses what it had in hand; Ray Data deals those films out again.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from cxrlens.errors import CxrlensError, FilmError, need
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.table import Engine, Row

SECONDS = 10.0
"""How long the cluster's address may take to answer."""

BLOCK = 128
"""Films that are dealt out together, and again if their node dies."""


def on_ray(
    model: str | Path,
    device: str = "cpu",
    *,
    site: Path | None = None,
    force_answer: bool = False,
) -> Engine:
    """Answer films on the Ray cluster that ``RAY_ADDRESS`` names, or that this machine belongs to.

    Parameters
    ----------
    model, device, site, force_answer
        See `Predictor.load`; paths as each node finds them.

    Returns
    -------
    callable
        For `predict_films`. It gives each film once, in the order in which they are done, and raises
        `CxrlensError` if the cluster fails.

    Raises
    ------
    MissingExtraError
        Without Ray.
    CxrlensError
        If there is no cluster.
    """
    need("ray", what="--engine ray")
    import ray

    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        if not ray.is_initialized():
            _knock(address)
        ray.init(address, ignore_reinit_error=True, log_to_driver=False)
    except OSError as error:
        raise CxrlensError(
            "there is no Ray cluster here: start one with `ray start --head`, or say where it is in "
            "RAY_ADDRESS"
        ) from error
    told = {
        "path": Path(model).absolute(),
        "device": device,
        "site": site and site.absolute(),
        "force_answer": force_answer,
    }
    return lambda films: _answers(films, told)


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at ``host:port``: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), SECONDS).close()


def _answers(
    given: Iterable[Path | bytes], told: Mapping[str, Any]
) -> Iterator[tuple[int, Row | FilmError]]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    films = [film for film in given if isinstance(film, Path)]
    if not films:
        return
    DataContext.get_current().enable_progress_bars = False
    items = [{"place": place, "film": str(film.absolute())} for place, film in enumerate(films)]
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    blocks = max(ceil(len(items) / BLOCK), min(len(items), 2 * processors))
    answers = from_items(items, override_num_blocks=blocks).map_batches(
        _Actor,
        fn_constructor_kwargs=dict(told),
        batch_size=None,
        num_cpus=1,
        num_gpus=1 if told["device"] == "cuda" else 0,
        compute=ActorPoolStrategy(min_size=1, max_size=processors),
    )
    came: set[int] = set()
    try:
        for answer in answers.iter_rows():
            place = int(answer["place"])
            if place in came:
                continue
            came.add(place)
            fault = answer["fault"]
            yield place, FilmError(fault) if fault else json.loads(answer["row"])
    except ray.exceptions.RayError as error:
        raise CxrlensError(
            f"the Ray cluster failed after {len(came)} of {len(films)} films: mend it, then say --resume "
            f"to go on ({str(error).splitlines()[0]})"
        ) from error
    if len(came) < len(films):
        raise CxrlensError(
            f"the Ray cluster answered {len(came)} of {len(films)} films: say --resume to go on"
        )


class _Actor:
    """A Predictor on some node; columns of films come, columns of answers go."""

    def __init__(self, **how: Any) -> None:
        self.predictor = Predictor.load(**how)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        outcomes = list(self.predictor.predict_many(map(Path, batch["film"])))
        faults = [str(one) if isinstance(one, FilmError) else "" for one in outcomes]
        rows = [{} if isinstance(one, FilmError) else one.row() for one in outcomes]
        return {
            "place": batch["place"],
            "row": np.array([json.dumps(row, default=np.generic.item) for row in rows], object),
            "fault": np.array(faults, object),
        }
