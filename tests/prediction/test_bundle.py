import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cxrlens.collections.collection import Collection
from cxrlens.errors import BundleError, CxrlensError
from cxrlens.export.bundle import export
from cxrlens.files import file_digest
from cxrlens.prediction import Predictor
from cxrlens.prediction.networks import BundleNetwork, LayerNorm, Linear, Relu, gradient
from cxrlens.runs import Run
from cxrlens.runs.bundle import manifest_digest, open_bundle
from tests.export.shaken import shaken


@pytest.fixture(scope="module")
def run(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shaken(small_run, tmp_path_factory.mktemp("shaken") / "run")


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run.path, tmp_path_factory.mktemp("exported") / "bundle").path


def test_a_bundle_answers_as_its_run(run: Run, bundle: Path, phantoms: Collection) -> None:
    own, other = Predictor.load(run.path), Predictor.load(bundle)
    assert other.classes == own.classes
    assert other.chain == own.chain
    films = phantoms.films["image"].tolist()
    for mine, its in zip(own.predict_many(films), other.predict_many(films), strict=True):
        assert not isinstance(mine, Exception)
        assert not isinstance(its, Exception)
        assert its.probabilities == pytest.approx(mine.probabilities, abs=1e-5)
        assert its.scores == pytest.approx(mine.scores, abs=1e-2)
        mine, its = (
            dataclasses.replace(one, probabilities={}, scores={}, doubt=0.0) for one in (mine, its)
        )
        assert its.row() == mine.row()
    spread = [own.predict(film).probabilities["normal"] for film in films[:8]]
    assert np.ptp(spread) > 1e-3, "the weights must make a difference between films"


# Occlusion is a difference of probabilities, stretched to 1.
@pytest.mark.parametrize(("method", "apart"), [("gradcam", 1e-4), ("occlusion", 1e-3)])
def test_a_bundle_explains_as_its_run(
    run: Run, bundle: Path, phantoms: Collection, method: str, apart: float
) -> None:
    own, other = Predictor.load(run.path), Predictor.load(bundle)
    film = phantoms.films["image"].iloc[0]
    lit = 0.0
    for target in own.classes:
        mine = own.predict(film).explain(method, target)
        its = other.predict(film).explain(method, target)
        assert its.values == pytest.approx(mine.values, abs=apart)
        lit += float(np.abs(mine.values).max())
    assert lit > 0, "at least one map must show something"


def test_the_gradient_of_the_layers_is_the_numerical_one() -> None:
    draw = np.random.default_rng(3)
    layers = (
        LayerNorm(draw.normal(size=12), draw.normal(size=12), 1e-6),
        Linear(draw.normal(size=(9, 12)), draw.normal(size=9)),
        Relu(),
        Linear(draw.normal(size=(3, 9))),
    )
    x = draw.normal(size=12)

    def score(of: np.ndarray, output: int) -> float:
        for layer in layers:
            of, _ = layer.forward(of)
        return float(of[output])

    for output in range(3):
        numerical = [
            (score(x + 1e-5 * step, output) - score(x - 1e-5 * step, output)) / 2e-5
            for step in np.eye(12)
        ]
        assert gradient(layers, x, output) == pytest.approx(numerical, abs=1e-4)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["model.onnx", "heads.safetensors", "card.json", "learnt.json"])
def test_a_missing_or_changed_file_is_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not the file that was exported"):
        Predictor.load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        Predictor.load(copy)


def rewritten(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content | {"digest": manifest_digest(content)}))


def test_a_later_format_is_refused(copy: Path) -> None:
    rewritten(copy, format=99, cxrlens="9.9")
    with pytest.raises(BundleError, match=r"written by cxrlens 9\.9 in a layout \(99\)"):
        open_bundle(copy)


def test_a_changed_or_broken_description_is_refused(copy: Path) -> None:
    path = copy / "bundle.json"
    text = path.read_text()
    path.write_text(text.replace('"pneumonia"', '"pneumonla"'))
    with pytest.raises(BundleError, match=r"bundle\.json was changed"):
        open_bundle(copy)
    path.write_text(text[:100])
    with pytest.raises(BundleError, match=r"bundle\.json is damaged, no JSON .*line 7"):
        open_bundle(copy)
    path.write_text("[]")
    with pytest.raises(BundleError, match="must be a mapping"):
        open_bundle(copy)


def test_files_outside_the_folder_are_refused(copy: Path) -> None:
    files = json.loads((copy / "bundle.json").read_text())["files"]
    rewritten(copy, files=files | {"../secret": "0" * 64})
    with pytest.raises(BundleError, match="does not fit its folder"):
        open_bundle(copy)


def test_a_file_that_was_not_exported_is_refused(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"holds notes\.txt, which was not exported"):
        open_bundle(copy)


def test_weights_in_another_file_are_refused(copy: Path) -> None:
    import onnx

    graph = copy / "model.onnx"
    onnx.save_model(
        onnx.load(graph), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    files = {path.name: file_digest(path) for path in copy.iterdir() if path.name != "bundle.json"}
    rewritten(copy, files=files)
    with pytest.raises(BundleError, match="keeps weights in another file"):
        open_bundle(copy)
    graph.write_bytes(b"no graph at all")
    rewritten(copy, files=files | {"model.onnx": file_digest(graph)})
    with pytest.raises(BundleError, match="is no graph"):
        open_bundle(copy)


def test_another_chain_than_the_installed_one_is_refused(copy: Path) -> None:
    rewritten(copy, chain={"name": "none", "version": "none-0000000000"})
    with pytest.raises(BundleError, match="none-0000000000"):
        Predictor.load(copy)


def test_an_unknown_device_is_refused(bundle: Path) -> None:
    with pytest.raises(CxrlensError, match="'mps'"):
        BundleNetwork(open_bundle(bundle), "mps")


def test_films_of_training_are_recognised(run: Run, bundle: Path) -> None:
    films = run.collection().films
    found = open_bundle(bundle).learnt(films["image"])
    expected = films.loc[films["split"] != "test", ["image", "split"]]
    assert dict(found) == dict(expected.itertuples(index=False))
    kept = (bundle / "learnt.json").read_text()
    assert not any(Path(image).stem in kept for image in films["image"])
