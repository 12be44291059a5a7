"""Networks that run without torch: an exported graph by onnxruntime, and the baselines' linear scores."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens.errors import BundleError, CxrlensError, RunError, need
from cxrlens.explanation.method import Slopes
from cxrlens.prediction.decision import Outputs, Single
from cxrlens.radiographs.grey import resize
from cxrlens.recipes.recipe import Baseline
from cxrlens.runs.bundle import GRAPH, HEADS, INPUT, MANIFEST, Bundle
from cxrlens.runs.run import Run
from cxrlens.runs.saved import read_weights


def film_features(film: NDArray[np.uint8], settings: Baseline) -> NDArray[np.float32]:
    """Describe one film by numbers.

    Parameters
    ----------
    film
        (S, S) uint8, as it comes out of the quality chain.
    settings
        A recipe's baseline part.

    Returns
    -------
    ndarray of float32
        (D,): grey values in [0, 1] of the thumbnail (``thumbnail-ridge``) or of the film (``pca-svm``),
        or block-normalised histograms of gradient directions (``hog-svm``).

    Raises
    ------
    MissingExtraError
        For ``hog-svm`` without scikit-image.
    """
    if settings.kind == "hog-svm":
        need("train", what="a baseline on HOG")
        from skimage.feature import hog

        described = hog(
            film,
            orientations=settings.orientations,
            pixels_per_cell=(settings.cell, settings.cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
        )
        return np.asarray(described, np.float32)
    small = resize(film, settings.thumbnail) if settings.kind == "thumbnail-ridge" else film
    return small.ravel().astype(np.float32) / np.float32(255)


class LinearNetwork:
    """One leaf of linear scores; see `cxrlens.prediction.decision.Network`.

    Parameters
    ----------
    weight
        (C, D) float32.
    bias
        (C,) float32.
    settings
        How a film becomes D features.
    side
        Pixels of the square films that it takes.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        settings: Baseline,
        side: int,
    ) -> None:
        self.weight, self.bias, self.settings, self.side = weight, bias, settings, side

    @property
    def gives(self) -> frozenset[str]:
        """Scores alone."""
        return frozenset()

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side): one leaf (N, C), no map."""
        described = np.stack([film_features(film, self.settings) for film in films])
        # float64: the sum over thousands of features keeps its last digits.
        scores = described.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        return Outputs([scores.astype(np.float32)], None)

    def slopes(self, film: NDArray[np.uint8], leaf: int, output: int) -> Slopes:
        """Refuse: there are no feature maps.

        Raises
        ------
        CxrlensError
            Always.
        """
        raise CxrlensError(f"{self.settings.kind} has no feature maps: take another method")


def load_linear(run: Run) -> tuple[LinearNetwork, Single]:
    """Load the baseline of a run, and how it decides: softmax of the scores.

    Raises
    ------
    RunError
        If it is not finished, or its weights do not fit its recipe.
    """
    settings, weights = run.recipe.baseline, run.weights
    assert settings is not None
    arrays = read_weights(weights)
    weight, bias = (arrays.get(name, np.zeros(0, np.float32)) for name in ("weight", "bias"))
    side = run.recipe.side
    expected = (len(run.classes), film_features(np.zeros((side, side), np.uint8), settings).size)
    if weight.shape != expected or bias.shape != expected[:1]:
        raise RunError(
            f"{weights} does not belong to the recipe beside it: copy the run again, or train again"
        )
    return LinearNetwork(weight, bias, settings, side), Single(0, len(run.classes))


Vector = NDArray[np.float32]


Backward = Callable[[Vector], Vector]
"""From the slope of a score over a layer's output to that over its input."""


@dataclass(frozen=True)
class Linear:
    """``weight @ x + bias``, `weight` (outputs, inputs)."""

    weight: NDArray[np.float32]
    bias: Vector | None = None

    def forward(self, x: Vector) -> tuple[Vector, Backward]:
        """Apply it to a vector, and return the way back."""
        y: Vector = self.weight @ x
        return y if self.bias is None else y + self.bias, lambda slope: slope @ self.weight


@dataclass(frozen=True)
class Relu:
    """``max(x, 0)``."""

    def forward(self, x: Vector) -> tuple[Vector, Backward]:
        """Apply it to a vector, and return the way back."""
        zero = np.float32(0)
        return np.maximum(x, zero), lambda slope: np.where(x > 0, slope, zero)


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation over the vector (Ba et al. 2016), with a weight and a bias for each entry."""

    weight: Vector
    bias: Vector
    epsilon: float

    def forward(self, x: Vector) -> tuple[Vector, Backward]:
        """Apply it to a vector, and return the way back."""
        spread = np.sqrt(x.var() + np.float32(self.epsilon))
        even: Vector = (x - x.mean()) / spread

        def backward(slope: Vector) -> Vector:
            inner = slope * self.weight
            down: Vector = (inner - inner.mean() - even * (inner * even).mean()) / spread
            return down

        return even * self.weight + self.bias, backward


Layer = Linear | Relu | LayerNorm


def gradient(layers: Sequence[Layer], x: Vector, output: int) -> Vector:
    """Compute the slope of one output of a chain of layers over its input.

    Parameters
    ----------
    layers
        In the order in which they are applied.
    x
        (C,) float32, the input.
    output
        Index of the output.

    Returns
    -------
    ndarray of float32
        (C,).
    """
    ways_back = []
    for layer in layers:
        x, backward = layer.forward(x)
        ways_back.append(backward)
    slope = np.zeros(x.shape, np.float32)
    slope[output] = 1
    for backward in reversed(ways_back):
        slope = backward(slope)
    return slope


def layers_to_json(
    layers: Sequence[Layer], prefix: str
) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.float32]]]:
    """Part layers into plain values and arrays, named after `prefix`; `layers_from_json` joins them."""
    plain: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[np.float32]] = {}
    for place, layer in enumerate(layers):
        values: dict[str, Any] = {"kind": _NAMES[type(layer)]}
        for key, value in vars(layer).items():
            if isinstance(value, np.ndarray):
                values[key] = f"{prefix}.{place}.{key}"
                tensors[values[key]] = value
            elif value is not None:
                values[key] = value
        plain.append(values)
    return plain, tensors


def layers_from_json(
    plain: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[Layer, ...]:
    """Read what `layers_to_json` wrote.

    Raises
    ------
    BundleError
        If a kind is unknown or an array is missing.
    """
    kinds: dict[str, Any] = {name: kind for kind, name in _NAMES.items()}
    layers = []
    try:
        for values in plain:
            kind = kinds[values["kind"]]
            named = {key: value for key, value in values.items() if key != "kind"}
            arrays = {key: tensors[name] for key, name in named.items() if isinstance(name, str)}
            layers.append(kind(**named | arrays))
    except (KeyError, TypeError) as error:
        raise BundleError(f"the bundle's heads do not fit its description at {error}") from error
    return tuple(layers)


_NAMES: dict[type[Layer], str] = {Linear: "linear", Relu: "relu", LayerNorm: "layer-norm"}


class BundleNetwork:
    """The graph of a bundle; see `cxrlens.prediction.decision.Network`.

    Parameters
    ----------
    bundle
        The bundle.
    device
        ``cpu``, ``auto`` (the same), or ``cuda`` where onnxruntime has it.

    Raises
    ------
    BundleError
        If onnxruntime cannot run the graph.
    CxrlensError
        If there is no such device.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        import onnxruntime  # type: ignore[import-untyped]

        provider = {"auto": "CPU", "cpu": "CPU", "cuda": "CUDA"}.get(device, device)
        provider = f"{provider}ExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise CxrlensError(
                f"the device {device!r} is none of this onnxruntime's: leave --device out for a bundle"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        # A thread that waits for work must not take the processor from one that reads films.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._graph = graph = bundle.path / GRAPH
        self._faults = _faults(onnxruntime)
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        except self._faults as error:
            raise BundleError(
                f"{graph} cannot be run by onnxruntime {onnxruntime.__version__}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        tensors = read_weights(bundle.path / HEADS)
        self.side = bundle.side
        self._leaves = bundle.manifest.leaves
        self._layers = [layers_from_json(leaf.layers, tensors) for leaf in self._leaves]
        told = [
            name
            for leaf in self._leaves
            for name in (leaf.scores, leaf.maps, leaf.evidence, leaf.features)
        ]
        lacking = {*filter(None, told)} - {output.name for output in self._session.get_outputs()}
        inputs = [(one.name, *one.shape[1:]) for one in self._session.get_inputs()]
        if lacking or inputs != [(INPUT, self.side, self.side)]:
            raise BundleError(
                f"{graph} is not the graph that {bundle.path / MANIFEST} describes: export the run again"
            )

    @property
    def gives(self) -> frozenset[str]:
        """Slopes where feature maps go out of the graph, a map where every network brings one."""
        has = {
            "slopes": all(leaf.maps for leaf in self._leaves),
            "map": all(leaf.evidence for leaf in self._leaves),
        }
        return frozenset(name for name, given in has.items() if given)

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side) uint8."""
        scores = [leaf.scores for leaf in self._leaves]
        evidence = [leaf.evidence for leaf in self._leaves if leaf.evidence]
        features = [leaf.features for leaf in self._leaves if leaf.features]
        # What not every leaf has says nothing of the whole.
        evidence, features = (
            names if len(names) == len(scores) else [] for names in (evidence, features)
        )
        found = self._run([*scores, *evidence, *features], films)
        maps, pooled = found[len(scores) :][: len(evidence)], found[len(scores) + len(evidence) :]
        return Outputs(
            found[: len(scores)],
            np.mean(maps, axis=0) if maps else None,
            np.concatenate(pooled, axis=1) if pooled else None,
        )

    def slopes(self, film: NDArray[np.uint8], leaf: int, output: int) -> Slopes:
        """Compute how the last feature maps (C, h, w) of a film move one score.

        All of them average each map before anything else, so the slope is the same at each place of a
        map, and a few matrix products give it.
        """
        name = self._leaves[leaf].maps
        if name is None:
            raise CxrlensError(
                "this bundle has no feature maps, as was said when it was exported: explain the run "
                "itself, or take another method"
            )
        ((maps,),) = self._run([name], film[None])
        slope = gradient(self._layers[leaf], maps.mean((1, 2)), output) / np.float32(maps[0].size)
        return Slopes(maps, np.broadcast_to(slope[:, None, None], maps.shape))

    def _run(self, names: list[str], pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            found: list[NDArray[np.float32]] = self._session.run(
                names, {INPUT: np.ascontiguousarray(pixels)}
            )
        except self._faults as error:
            raise BundleError(
                f"{self._graph} does not run: {str(error).splitlines()[0]}"
            ) from error
        return found


def threads() -> int:
    """Count the processors that the process may use; onnxruntime alone would take all of the machine."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _faults(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """List what a session raises at a graph; they have no common parent but Exception."""
    states = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    own = (kind for kind in states if isinstance(kind, type) and issubclass(kind, Exception))
    return (RuntimeError, *own)
