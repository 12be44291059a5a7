"""Write a run as a bundle that needs no PyTorch; `cxrlens.runs.bundle` knows its files.

Before anything is put in place the bundle is opened and asked: where it would answer otherwise than
the run, nothing is written.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrlens import __version__
from cxrlens.collections.collection import LABELS
from cxrlens.errors import BundleError, OutputError, need
from cxrlens.evaluation.card import card_of, write_card
from cxrlens.explanation.network_maps import gradcam
from cxrlens.files import explained, file_digest, moved_into_place, refuse_filled
from cxrlens.phantoms import draw_phantom
from cxrlens.prediction.decision import decision_to_json, sigmoid
from cxrlens.prediction.onnx_network import BundleNetwork, layers_to_json
from cxrlens.prediction.predictor import Predictor
from cxrlens.prediction.trust import ARRAYS, TRUST
from cxrlens.progress import Progress, Stages, in_batches, stage
from cxrlens.runs import Bundle, Run
from cxrlens.runs import bundle as layout
from cxrlens.runs.stored import write_weights

TOLERANCE = 1e-4
"""How far probabilities, and Grad-CAM maps as shares of their highest value, may be from the run's."""

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
    from cxrlens.export.graph import leaf_layers, write_graph

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
        written = _write_manifest(draft, content)
        difference = _compare(
            predictor, BundleNetwork(written), not reason, stage(progress, "compare with the run")
        )
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
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
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


def _compare(
    predictor: Predictor, network: BundleNetwork, maps: bool, progress: Progress | None
) -> float:
    """Ask the run and the bundle about drawn films; refuse a bundle that answers otherwise."""
    many = max(BATCHES)
    pixels = np.empty((many, network.side, network.side), np.uint8)
    for part in in_batches(many, 1, progress):
        film = draw_phantom(part.start, LABELS[part.start % len(LABELS)]).film
        pixels[part] = predictor.chain.examine(film).pixels
    own = predictor.network.run(pixels)
    its = network.run(pixels)
    decide = predictor.decision.decide
    expected = decide(own.scores).probabilities
    worst = 0.0
    for size in BATCHES:
        for part in in_batches(many, size):
            answered = decide(network.run(pixels[part]).scores).probabilities
            worst = max(worst, float(np.abs(answered - expected[part]).max()))
    if own.map is not None:
        apart = sigmoid(own.map.astype(np.float64))
        apart -= 0 if its.map is None else sigmoid(its.map.astype(np.float64))
        worst = max(worst, float(np.abs(apart).max()))
    if not worst <= TOLERANCE:
        raise BundleError(
            f"the exported graph answers otherwise than the run (probabilities differ by {worst:.2g}, at "
            f"most {TOLERANCE:.0e} is allowed): no bundle was written; other versions of torch or "
            "onnxruntime may do better"
        )
    if maps:
        _compare_maps(predictor, network, pixels[: len(LABELS)])
    return worst


def _compare_maps(predictor: Predictor, network: BundleNetwork, pixels: NDArray[np.uint8]) -> None:
    for film in pixels:
        for target in range(len(predictor.classes)):
            for leaf, output in predictor.decision.leaves_for(target):
                own = gradcam(predictor.network.slopes(film, leaf, output))
                apart = np.abs(gradcam(network.slopes(film, leaf, output)) - own).max()
                if not apart <= TOLERANCE * max(float(own.max()), TOLERANCE):
                    raise BundleError(
                        "the exported heads give another Grad-CAM than the run (network "
                        f"{leaf}, score {output}: {apart:.2g} apart): no bundle was written"
                    )
