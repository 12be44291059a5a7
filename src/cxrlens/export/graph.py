"""From PyTorch's networks to one ONNX graph, and to the layers after its feature maps."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxscript  # noqa: F401  (PyTorch's exporter needs it; here a missing one is noticed early)
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrlens.errors import BundleError
from cxrlens.models.classifier import FilmClassifier
from cxrlens.prediction.onnx_network import Layer, LayerNorm, Linear, Relu
from cxrlens.runs.bundle import INPUT

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
