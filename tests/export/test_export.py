import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrlens.collections.collection import Collection
from cxrlens.errors import BundleError, CxrlensError, OutputError, RunError
from cxrlens.explanation.network_maps import gradcam
from cxrlens.export import bundle as exporting
from cxrlens.export.bundle import export, halve, leaf_layers, write_graph
from cxrlens.main_job import train
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.prediction import Predictor
from cxrlens.prediction.networks import gradient
from cxrlens.prediction.torch_network import TorchNetwork
from cxrlens.recipes.recipe import Model
from cxrlens.runs import Run
from cxrlens.runs.bundle import open_bundle
from tests.export.shaken import shake, shaken

SMALL = (
    "side=64",
    "model.blocks=[8]",
    "model.width=8",
    "training.max_epochs=1",
    "training.batch=8",
    "training.precision=float32",
)


@pytest.fixture(scope="module", params=["folds", "one-vs-all"])
def run_of_members(
    request: pytest.FixtureRequest, phantoms: Collection, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    folder = tmp_path_factory.mktemp("members")
    kinds = {
        "folds": ("folds=2",),
        "one-vs-all": ("one_vs_all=true", "loss.name=binary-focal"),
    }
    settings = (*SMALL, *kinds[request.param])
    run = train("resnet-focal", phantoms, folder / "run", settings=settings, cache=folder / "cache")
    return shaken(run, folder / "shaken")


@pytest.mark.slow
def test_members_go_into_one_graph(
    run_of_members: Run, phantoms: Collection, tmp_path: Path
) -> None:
    exported = export(run_of_members.path, tmp_path / "bundle")
    assert sorted(path.name for path in exported.path.iterdir()) == [
        "bundle.json",
        "card.json",
        "heads.safetensors",
        "learnt.json",
        "model.onnx",
    ]
    own, other = Predictor.load(run_of_members.path), Predictor.load(exported.path)
    assert other.decision == own.decision
    for film in phantoms.films["image"][:3]:
        mine, its = own.predict(film), other.predict(film)
        assert its.probabilities == pytest.approx(mine.probabilities, abs=1e-5)
        assert (its.votes, its.predicted) == (mine.votes, mine.predicted)
        for target in own.classes:
            assert its.explain(target=target).values == pytest.approx(
                mine.explain(target=target).values, abs=1e-4
            )


def shaken_network(backbone: str, head: str = "feed-forward") -> FilmClassifier:
    settings = Model(backbone=backbone, weights="none", head=head, width=16, dropout=0.3)
    torch.manual_seed(5)
    model = build_model(settings, 3)
    model.load_state_dict(shake(model.state_dict()))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "convnext_atto", "resnet18"])
@pytest.mark.parametrize("head", ["feed-forward", "svm"])
def test_timm_s_networks_answer_alike(backbone: str, head: str, tmp_path: Path) -> None:
    import onnxruntime

    model = shaken_network(backbone, head)
    own = TorchNetwork([model], 64)
    write_graph([model], 64, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    layers = leaf_layers(model, 64)
    assert not isinstance(layers, str)
    films = np.random.default_rng(0).integers(0, 256, (32, 64, 64), np.uint8)
    for batch in (films[:1], films):
        scores, maps = session.run(["scores_0", "maps_0"], {"films": batch})
        expected = own.run(batch).scores[0]
        assert np.ptp(expected) > 1e-2
        assert scores == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max()))
    for output in range(3):
        weights = gradient(layers, maps[0].mean((1, 2)), output) / maps[0, 0].size
        cam = np.tensordot(weights, maps[0], 1).clip(min=0)
        expected = gradcam(own.slopes(films[0], 0, output))
        assert cam == pytest.approx(expected, abs=1e-4 * max(float(expected.max()), 1e-3))


@pytest.mark.parametrize(
    "backbone",
    ["mobilenetv3_small_050", pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow)],
)
def test_other_endings_are_named(backbone: str) -> None:
    side = 224 if backbone.startswith("vit") else 64
    said = leaf_layers(shaken_network(backbone), side)
    assert isinstance(said, str)
    assert backbone in said
    assert "no Grad-CAM" in said


def test_without_maps_the_bundle_still_predicts(
    small_run: Run, phantoms: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrlens.export import bundle as graph

    # A head with a layer that has no gradient here stands for any network that cannot be explained.
    monkeypatch.setattr(graph, "_layers", lambda head: [])
    exported = export(small_run.path, tmp_path / "bundle")
    assert "has no gradient" in exported.without_maps
    prediction = Predictor.load(exported.path).predict(phantoms.films["image"].iloc[0])
    with pytest.raises(CxrlensError, match="Grad-CAM needs a network with feature maps"):
        prediction.explain("gradcam")
    assert "gradcam" not in [method.name for method in Predictor.load(exported.path).methods]
    prediction.explain("inverted-occlusion")


def test_what_differs_is_not_written(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="answers otherwise than the run"):
        export(small_run.path, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("largest", [1.0, 1e6])
def test_large_weights_are_stored_in_half_precision(largest: float, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    weight = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    weight[0, 0] = largest
    node = onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])
    given, answered = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in (("x", 300), ("y", 100))
    )
    held = [onnx.numpy_helper.from_array(weight, "weight")]
    graph = onnx.helper.make_graph([node], "one", [given], [answered], held)
    opset = onnx.helper.make_opsetid("", 18)
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    whole = path.read_bytes()
    if largest > 1:
        assert not halve(path)
        assert path.read_bytes() == whole
        return
    assert halve(path)
    assert path.stat().st_size < 0.51 * len(whole)
    onnx.checker.check_model(path)
    x = np.ones((1, 300), np.float32)
    (answer,) = onnxruntime.InferenceSession(path).run(["y"], {"x": x})
    assert answer == pytest.approx(x @ weight, abs=0.05)
    assert answer == pytest.approx(x @ weight.astype(np.float16).astype(np.float32), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [2e-3, -1.0])
def test_half_precision_is_kept_where_the_answers_allow_it(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tolerance: float
) -> None:
    monkeypatch.setattr(exporting, "LEAST_HALVED", 1)
    monkeypatch.setattr(exporting, "HALF_TOLERANCE", tolerance)
    exported = export(small_run.path, tmp_path / "bundle")
    halved = b"_half" in (open_bundle(exported.path).path / "model.onnx").read_bytes()
    assert halved == (tolerance > 0)
    assert exported.difference < (2e-3 if halved else 1e-4)


@pytest.mark.slow
def test_nothing_but_a_bundle_is_replaced(small_run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is no bundle, so it stays"):
        export(small_run.path, tmp_path / "thesis", force=True)
    bundle = export(small_run.path, tmp_path / "bundle").path
    with pytest.raises(OutputError, match="--force"):
        export(small_run.path, bundle)
    (bundle / "old").write_text("")
    export(small_run.path, bundle, force=True)
    assert not (bundle / "old").exists()
    with pytest.raises(BundleError, match="is a bundle already"):
        export(bundle, tmp_path / "again")
    with pytest.raises(RunError, match="no run folder"):
        export(tmp_path / "thesis", tmp_path / "again")


def test_the_description_tells_what_the_model_is(small_run: Run, small_bundle: Path) -> None:
    text = (small_bundle / "bundle.json").read_text()
    told = json.loads(text)
    assert told["metrics"]["test"]["intervals"]["by_name"]["accuracy"]
    assert told["recipe"] == small_run.recipe.model_dump(mode="json")
    assert told["weights"] == small_run.versions()["weights"]
    films = small_run.collection().films
    everything = text + "".join(
        (small_bundle / name).read_text() for name in ("card.json", "learnt.json")
    )
    assert not any(patient in everything for patient in films["patient"])
    assert str(Path(films["image"].iloc[0]).parent) not in everything


TORCHLESS = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "timm", "lightning", "torchmetrics",
                                      "sklearn", "skimage", "scipy", "onnx", "onnxscript", "lime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from cxrlens.cli import main
main()
"""
"""The core installation: what the extras bring is not there."""


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TORCHLESS, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_verb_takes_a_bundle_without_torch(
    small_run: Run, small_bundle: Path, phantoms: Collection, tmp_path: Path
) -> None:
    films = phantoms.films[phantoms.films["split"] == "test"]
    image = films["image"].iloc[0]
    refused = without_torch("predict", image, "--model", small_run.path)
    assert refused.returncode == 2
    assert "-e '.[train]'" in refused.stderr
    said = without_torch("predict", image, "--model", small_bundle, "--json", tmp_path / "out.json")
    assert said.returncode == 0, said.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())
    own = Predictor.load(small_run.path).predict(image)
    assert {name: row[name] for name in own.probabilities} == pytest.approx(
        own.probabilities, abs=1e-5
    )
    for method in ("gradcam", "occlusion", "lime"):
        said = without_torch(
            "explain", image, "--model", small_bundle, "-o", tmp_path / method, "--method", method
        )
        assert said.returncode == 0, said.stderr
    other = Collection(films.drop(columns="split"))
    other.write(tmp_path / "films.csv")
    said = without_torch(
        "evaluate", tmp_path / "films.csv", "--model", small_bundle, "-o", tmp_path / "measured"
    )
    assert said.returncode == 0, said.stderr
    measured = json.loads((tmp_path / "measured" / "metrics.json").read_text())["other"]
    expected = small_run.metrics()["test"]
    assert measured["confusion"] == expected["confusion"]
    assert measured["macro_auc"] == pytest.approx(expected["macro_auc"])
    assert "bundle" in (tmp_path / "measured" / "report.html").read_text()


@pytest.mark.slow
def test_a_bundle_is_not_measured_on_what_it_learnt(
    small_bundle: Path, phantoms: Collection, tmp_path: Path
) -> None:
    films = phantoms.films[phantoms.films["split"] == "train"].head(2).drop(columns="split")
    # Under other names, too.
    copies = [shutil.copy(image, tmp_path / f"{i}.png") for i, image in enumerate(films["image"])]
    Collection(films.assign(image=[str(copy) for copy in copies])).write(tmp_path / "films.csv")
    said = without_torch(
        "evaluate", tmp_path / "films.csv", "--model", small_bundle, "-o", tmp_path / "measured"
    )
    assert said.returncode == 2
    assert "2 of the films trained the model" in said.stderr
    said = without_torch("evaluate", "--model", small_bundle)
    assert said.returncode == 2
    assert "has no films of its own" in said.stderr
