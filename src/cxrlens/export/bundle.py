"""Export of a run: its network as an ONNX graph with its map, checked against torch, and what goes along."""

import contextlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript  # noqa: F401  (PyTorch's exporter needs it; here a missing one is noticed early)
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrlens import __version__
from cxrlens.collections.collection import LABELS
from cxrlens.errors import BundleError, OutputError, need
from cxrlens.evaluation.card import card_of, write_card
from cxrlens.explanation.network_maps import gradcam
from cxrlens.files import explained, file_digest, moved_into_place, refuse_filled
from cxrlens.models.classifier import FilmClassifier
from cxrlens.phantoms import draw_phantom
from cxrlens.prediction.decision import decision_to_json, sigmoid
from cxrlens.prediction.networks import (
    BundleNetwork,
    Layer,
    LayerNorm,
    Linear,
    Relu,
    layers_to_json,
)
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import ARRAYS, TRUST
from cxrlens.progress import Progress, Stages, in_batches, stage
from cxrlens.runs import Bundle, Run
from cxrlens.runs import bundle as layout
from cxrlens.runs.bundle import INPUT
from cxrlens.runs.saved import write_weights

OPSET = 18
"""Of the graph; onnxruntime has known it since 1.14."""


class _SideBySide(nn.Module):
    """All networks on the same films: each's scores, then feature maps, own maps, and pooled features."""

    def __init__(self, leaves: Sequence[FilmClassifier], with_maps: bool) -> None:
        super().__init__()
        self.leaves = nn.ModuleList(leaves)
        self.with_maps = with_maps

    def forward(self, films: Tensor) -> tuple[Tensor, ...]:
        scores, shown, evidence, features = [], [], [], []
        for leaf in self.leaves:
            assert isinstance(leaf, FilmClassifier)
            if self.with_maps:
                maps = leaf.maps(films)
                scores.append(leaf.scores(maps))
                shown.append(maps)
                features.append(leaf.backbone.pool(maps))
            else:
                answer = leaf(films)
                scores.append(answer.scores)
                evidence += [] if answer.map is None else [answer.map]
                features.append(answer.features)
        return (*scores, *shown, *evidence, *features)


def write_graph(
    leaves: Sequence[FilmClassifier], side: int, path: Path, with_maps: bool = True
) -> list[dict[str, str | None]]:
    """Write networks as one graph in one file, standardisation included.

    Parameters
    ----------
    leaves
        In inference mode.
    side
        Pixels of the square films.
    path
        The file.
    with_maps
        Whether the last feature maps go out too.

    Returns
    -------
    list of dict
        For each leaf, the names of its ``scores``, its feature ``maps``, its own map, ``evidence`` (or
        None), and its pooled ``features``.

    Raises
    ------
    BundleError
        If PyTorch's exporter cannot turn the networks into a graph, or it is too large for one file.
    """
    names = [
        {
            "scores": f"scores_{place}",
            "maps": f"maps_{place}" if with_maps else None,
            "evidence": f"evidence_{place}" if leaf.brings_map else None,
            "features": f"features_{place}",
        }
        for place, leaf in enumerate(leaves)
    ]
    every = [of[kind] for kind in ("scores", "maps", "evidence", "features") for of in names]
    ordered = [name for name in every if name]
    # Two different films: the exporter takes a batch of one for a fixed size.
    films = torch.randint(0, 256, (2, side, side), dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                _SideBySide([leaf.eval() for leaf in leaves], with_maps).eval(),
                (films,),
                path,
                input_names=[INPUT],
                output_names=ordered,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        forget_origin(path)
        onnx.checker.check_model(path)
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise BundleError(f"this network cannot be exported as a graph: {first}") from error
    except ValueError as error:
        raise BundleError(
            f"this model is too large for a graph in one file (2 GiB): {error}"
        ) from error
    return names


def forget_origin(path: Path) -> None:
    """Take out what the exporter notes of each node: its stack traces name the machine's folders."""
    model = onnx.load(path)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    nodes = (*graph.node, *(node for function in model.functions for node in function.node))
    for part in (graph, *values, *nodes):
        del part.metadata_props[:]
    onnx.save(model, path)


def halve(path: Path) -> bool:
    """Store a graph's large weights in half precision, to be read as float32.

    The file is half as large; onnxruntime turns the weights back when it loads them, and computes as before.

    Returns
    -------
    bool
        False if no weight is large, or all are beyond half precision's range: the file is as it was.
    """
    model = onnx.load(path)
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST_HALVED:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        stored = onnx.numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_half")
        casts.append(
            onnx.helper.make_node("Cast", [stored.name], [weight.name], to=onnx.TensorProto.FLOAT)
        )
        weight.CopyFrom(stored)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if casts:
        onnx.save(model, path)
    return bool(casts)


def leaf_layers(leaf: FilmClassifier, side: int) -> tuple[Layer, ...] | str:
    """Find the layers that turn a network's last maps, averaged, into its scores.

    Whether it is so is tried on random maps, not guessed from the backbone's name.

    Returns
    -------
    tuple of Layer or str
        The layers; or a sentence why there can be no Grad-CAM from a bundle.
    """
    backbone = leaf.backbone
    sentence = (
        f"the backbone {backbone.name} does not end in maps that are averaged (and normalised): "
        "the bundle predicts, but has no Grad-CAM"
    )
    films = torch.randint(0, 256, (2, side, side), dtype=torch.uint8)
    with torch.no_grad():
        maps = leaf.eval().maps(films)
        if maps.ndim != 4:
            return sentence
        maps = torch.randn_like(maps, memory_format=torch.contiguous_format)
        pooled = backbone.pool(maps)
        mean = maps.mean((2, 3))
        norm = _last_norm(backbone.network)
        before: list[Layer] = []
        if not _alike(pooled, mean):
            if norm is None or not _alike(pooled, norm(mean[..., None, None]).flatten(1)):
                return sentence
            before = [LayerNorm(_array(norm.weight), _array(norm.bias), float(norm.eps))]
    head = _layers(leaf.head)
    return (*before, *head) if head else f"the head {type(leaf.head).__name__} has no gradient here"


def _last_norm(network: nn.Module) -> nn.LayerNorm | None:
    """Find the norm over channels that timm's ConvNeXts and their kin have after pooling."""
    norm = getattr(getattr(network, "head", None), "norm", None)
    wanted = isinstance(norm, nn.LayerNorm) and norm.weight is not None and norm.bias is not None
    return norm if wanted and type(norm).__name__ == "LayerNorm2d" else None


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _layers(head: nn.Module) -> list[Layer]:
    found: list[Layer] = []
    for module in head if isinstance(head, nn.Sequential) else [head]:
        if isinstance(module, nn.Linear):
            bias = None if module.bias is None else _array(module.bias)
            found.append(Linear(_array(module.weight), bias))
        elif isinstance(module, nn.ReLU):
            found.append(Relu())
        elif not isinstance(module, nn.Dropout):
            return []
    return found


def _array(tensor: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.detach().float().cpu().numpy().copy()
    return values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter tells developers on every stream that it knows."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


TOLERANCE = 1e-4
"""How far probabilities, and Grad-CAM maps as shares of their highest value, may be from the run's."""

HALF_TOLERANCE = 2e-3
"""The same once weights are stored in half precision."""

LEAST_HALVED = 20_000
"""Numbers of a weight that is stored so. Smaller ones, the first layer's and those of a channel each, weigh
little in the file and move the answers most."""

BATCHES = (1, 32)
"""Sizes at which the bundle is compared with the run."""


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes
    ----------
    path
        The bundle.
    bytes
        Size of all its files.
    difference
        The largest difference of a probability from the run's, over drawn films.
    without_maps
        Why there is no Grad-CAM, in a sentence; empty if there is.
    unknown
        Films of training and validation that were gone, so that the bundle cannot recognise them.
    """

    path: Path
    bytes: int
    difference: float
    without_maps: str
    unknown: int


def export(
    model: str | Path, out: str | Path, *, force: bool = False, progress: Stages | None = None
) -> Exported:
    """Write a run as a bundle.

    Parameters
    ----------
    model
        A finished run folder.
    out
        The folder to make.
    force
        Replace a bundle that is there; anything else than a bundle is never replaced.
    progress
        Called with a stage's name, steps done and steps in all.

    Raises
    ------
    OutputError
        If the place is taken or cannot be written.
    RunError
        If `model` is no finished run.
    BundleError
        If the graph answers otherwise than the run, or cannot be made.
    MissingExtraError
        If PyTorch or onnx is not installed.
    """
    out = Path(out)
    refuse_filled(out, force)
    if out.exists() and not layout.is_bundle(out) and (out.is_file() or any(out.iterdir())):
        raise OutputError(f"{out} exists and is no bundle, so it stays: choose another place")
    if layout.is_bundle(Path(model)):
        raise BundleError(f"{model} is a bundle already: name the run that it was exported from")
    run = Run(Path(model))
    run.need_finished()
    if run.recipe.baseline:
        raise BundleError(
            f"{model} is a baseline, which runs without PyTorch as it is: copy the run"
        )
    need("train", "export", what="exporting")

    predictor = Predictor.of(run)
    network: Any = predictor.network
    parts = [leaf_layers(leaf, run.recipe.side) for leaf in network.leaves]
    reason = next((part for part in parts if isinstance(part, str)), "")
    learnt, unknown = _learnt(run, stage(progress, "digest the films of training"))
    with moved_into_place(out) as draft:
        draft.mkdir()
        names = write_graph(network.leaves, run.recipe.side, draft / layout.GRAPH, not reason)
        if progress:
            progress("write the graph", 1, 1)
        leaves: list[dict[str, Any]] = []
        tensors: dict[str, NDArray[np.float32]] = {}
        for place, (part, outputs) in enumerate(zip(parts, names, strict=True)):
            plain, arrays = ([], {}) if isinstance(part, str) else layers_to_json(part, f"{place}")
            leaves.append({**outputs, "layers": plain})
            tensors |= arrays
        write_weights(draft / layout.HEADS, tensors)
        write_card(card_of(run), draft / layout.CARD)
        for name in (TRUST, ARRAYS):
            if (run.path / name).is_file():
                shutil.copyfile(run.path / name, draft / name)
        (draft / layout.LEARNT).write_text(json.dumps(learnt) + "\n", encoding="utf-8")
        content = _describe(run, predictor) | {"leaves": leaves, "learnt_unknown": unknown}
        films = _drawn(predictor, stage(progress, "compare with the run"))
        written = _write_manifest(draft, content)
        difference = _compare(predictor, BundleNetwork(written), films, not reason, TOLERANCE)
        graph = draft / layout.GRAPH
        whole = graph.read_bytes()
        if halve(graph):
            written = _write_manifest(draft, content)
            try:
                difference = _compare(
                    predictor, BundleNetwork(written), films, not reason, HALF_TOLERANCE
                )
            except BundleError:
                graph.write_bytes(whole)
                _write_manifest(draft, content)
    with explained(out):
        size = sum(path.stat().st_size for path in out.iterdir())
    return Exported(out, size, difference, reason, unknown)


def _describe(run: Run, predictor: Predictor) -> dict[str, Any]:
    recipe = run.recipe.model_dump(mode="json")
    if recipe["model"]["weights"] not in {"imagenet", "none"}:
        # A path on the machine that trained says nothing elsewhere.
        recipe["model"]["weights"] = Path(recipe["model"]["weights"]).name
    return {
        "format": layout.FORMAT,
        "cxrlens": __version__,
        "trained_with": str(run.versions().get("cxrlens", "unknown")),
        "classes": list(run.classes),
        "side": run.recipe.side,
        "input": "films (N, side, side) uint8, as the quality chain gives them; 0 black, 255 white",
        "decision": decision_to_json(predictor.decision),
        "chain": {"name": predictor.chain.name, "version": predictor.chain.version},
        "recipe": recipe,
        "weights": str(run.versions().get("weights", "unknown")),
        "metrics": run.metrics(),
    }


def _write_manifest(folder: Path, content: dict[str, Any]) -> Bundle:
    files = {
        path.name: file_digest(path)
        for path in sorted(folder.iterdir())
        if path.name != layout.MANIFEST
    }
    content = content | {"files": files}
    content |= {"digest": layout.manifest_digest(content)}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / layout.MANIFEST).write_text(text, encoding="utf-8")
    return layout.open_bundle(folder)


def _learnt(run: Run, progress: Progress | None) -> tuple[dict[str, list[str]], int]:
    """Digest the films that the run learnt from, or that chose its epoch; count those that are gone."""
    used = run.films_learnt()
    found: dict[str, list[str]] = {"train": [], "validation": []}
    gone = 0
    for done, (image, split) in enumerate(zip(used["image"], used["split"], strict=True), 1):
        try:
            found[split].append(layout.film_digest(Path(image)))
        except OSError:
            gone += 1
        if progress:
            progress(done, len(used))
    # In the order of the digests, which tells nothing of the table's.
    return {split: sorted(digests) for split, digests in found.items()}, gone


def _drawn(predictor: Predictor, progress: Progress | None) -> NDArray[np.uint8]:
    """Draw films and take them through the run's chain."""
    side = predictor.network.side
    pixels = np.empty((max(BATCHES), side, side), np.uint8)
    for part in in_batches(len(pixels), 1, progress):
        film = draw_phantom(part.start, LABELS[part.start % len(LABELS)]).film
        pixels[part] = predictor.chain.examine(film).pixels
    return pixels


def _compare(
    predictor: Predictor,
    network: BundleNetwork,
    pixels: NDArray[np.uint8],
    maps: bool,
    tolerance: float,
) -> float:
    """Ask the run and the bundle about films; refuse a bundle that answers otherwise."""
    own = predictor.network.run(pixels)
    its = network.run(pixels)
    decide = predictor.decision.decide
    expected = decide(own.scores).probabilities
    worst = 0.0
    for size in BATCHES:
        for part in in_batches(len(pixels), size):
            answered = decide(network.run(pixels[part]).scores).probabilities
            worst = max(worst, float(np.abs(answered - expected[part]).max()))
    if own.map is not None:
        apart = sigmoid(own.map.astype(np.float64))
        apart -= 0 if its.map is None else sigmoid(its.map.astype(np.float64))
        worst = max(worst, float(np.abs(apart).max()))
    if not worst <= tolerance:
        raise BundleError(
            f"the exported graph answers otherwise than the run (probabilities differ by {worst:.2g}, at "
            f"most {tolerance:.0e} is allowed): no bundle was written; other versions of torch or "
            "onnxruntime may do better"
        )
    if maps:
        _compare_maps(predictor, network, pixels[: len(LABELS)], tolerance)
    return worst


def _compare_maps(
    predictor: Predictor, network: BundleNetwork, pixels: NDArray[np.uint8], tolerance: float
) -> None:
    for film in pixels:
        for target in range(len(predictor.classes)):
            for leaf, output in predictor.decision.leaves_for(target):
                own = gradcam(predictor.network.slopes(film, leaf, output))
                apart = np.abs(gradcam(network.slopes(film, leaf, output)) - own).max()
                if not apart <= tolerance * max(float(own.max()), tolerance):
                    raise BundleError(
                        "the exported heads give another Grad-CAM than the run (network "
                        f"{leaf}, score {output}: {apart:.2g} apart): no bundle was written"
                    )
