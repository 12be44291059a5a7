"""A core installation in an environment of its own, as the README sets one up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlens.collections.collection import Collection
from cxrlens.export.bundle import export
from cxrlens.runs import Run

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_a_bundle_runs_on_the_core_installation(
    small_run: Run, phantoms: Collection, tmp_path: Path
) -> None:
    bundle = export(small_run.path, tmp_path / "bundle").path
    place = tmp_path / "core"

    def done(*words: object) -> str:
        said = subprocess.run(
            list(map(str, words)),
            cwd=ROOT,
            env={**os.environ, "CXRLENS_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, f"{words}\n{said.stdout}{said.stderr}"
        return said.stdout

    python = Path(sys.base_prefix) / "bin" / "python3"
    done(python, "-m", "venv", "--without-pip", place)
    pip = (python, "-m", "pip", "--python", place)
    done(*pip, "install", "-q", "-c", "constraints.txt", ".")
    installed = {entry["name"] for entry in json.loads(done(*pip, "list", "--format=json"))}
    assert not installed & {"torch", "timm", "lightning", "scikit-learn", "scikit-image", "onnx"}
    cxrlens = place / "bin" / "cxrlens"
    films = phantoms.films[phantoms.films["split"] == "test"].drop(columns="split")
    Collection(films).write(tmp_path / "films.csv")
    image = films["image"].iloc[0]
    assert "predicted: 1 films" in done(cxrlens, "predict", image, "--model", bundle)
    done(cxrlens, "explain", image, "--model", bundle, "-o", tmp_path / "explained")
    done(
        cxrlens, "evaluate", tmp_path / "films.csv", "--model", bundle, "-o", tmp_path / "measured"
    )
    measured = json.loads((tmp_path / "measured" / "metrics.json").read_text())["other"]
    assert measured["confusion"] == small_run.metrics()["test"]["confusion"]
