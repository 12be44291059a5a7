"""Films on a Ray cluster of local nodes, one of which is killed half-way."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from cxrlens.errors import CxrlensError, FilmError
from cxrlens.phantoms import write_phantoms
from cxrlens.prediction import Predictor
from cxrlens.prediction.cluster import on_ray
from cxrlens.prediction.table import Row, predict_films
from cxrlens.radiographs.read import find_films

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.slow,
    # Ray's own workers and sockets are closed when the interpreter ends, not when a cluster does.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def cluster() -> Iterator["Cluster"]:
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(made.address)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_is_killed_half_way_and_no_film_is_lost_nor_there_twice(
    cluster: "Cluster", small_bundle: Path, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    films = find_films([write_phantoms(tmp_path / "set", 240, seed=5, side=64).parent])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no film")
    films.insert(100, broken)
    predictor = Predictor.load(small_bundle)
    killed = []

    def answers(of: Iterable[Path | bytes]) -> Iterator[tuple[int, Row | FilmError]]:
        for count, one in enumerate(on_ray(small_bundle)(of)):
            if count == len(films) // 2:
                cluster.remove_node(second, allow_graceful=False)
                killed.append(count)
            yield one

    far = predict_films(predictor, films, tmp_path / "far.csv", engine=answers)
    near = predict_films(predictor, films, tmp_path / "near.csv")
    assert killed
    assert list(far.failures) == list(near.failures) == [str(broken)]
    pd.testing.assert_frame_equal(far.table, near.table, check_dtype=False, atol=1e-4)
    assert not far.table["image"].duplicated().any()

    half = tmp_path / "half.csv"
    far.table.head(100).to_csv(half.with_name("half.csv.part"), index=False)
    asked: list[Path | bytes] = []

    def rest(of: Iterable[Path | bytes]) -> Iterator[tuple[int, Row | FilmError]]:
        asked.extend(of)
        yield from on_ray(small_bundle)(asked)

    whole = predict_films(predictor, films, half, resume=True, engine=rest)
    assert len(asked) == len(films) - 100
    assert list(whole.table["image"]) == list(near.table["image"])


def test_without_a_cluster_it_says_how_to_start_one(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(CxrlensError, match="ray start --head"):
        on_ray(small_bundle)
