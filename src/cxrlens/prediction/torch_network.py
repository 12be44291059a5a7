"""Networks out of run folders, run by PyTorch in float32."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from cxrlens.errors import RunError
from cxrlens.explanation.gradcam import gradcam
from cxrlens.models.build import build_model
from cxrlens.models.classifier import FilmClassifier
from cxrlens.prediction.decision import Decision, OneVsAll, Single, Voting
from cxrlens.runs.run import Run


class TorchNetwork:
    """Classifiers as leaves; see `cxrlens.prediction.network.Network`.

    Parameters
    ----------
    leaves
        Classifiers with their weights, on one device.
    side
        Pixels of the square films that they take.
    """

    def __init__(self, leaves: Sequence[FilmClassifier], side: int) -> None:
        self.leaves = [leaf.eval() for leaf in leaves]
        self.side = side

    def logits(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Score films (N, side, side): for each leaf (N, K)."""
        device = next(self.leaves[0].parameters()).device
        with torch.inference_mode():
            films = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
            return [leaf(films).scores.float().cpu().numpy() for leaf in self.leaves]

    def cam(self, film: NDArray[np.uint8], leaf: int, output: int) -> NDArray[np.float32]:
        """Compute the Grad-CAM map (h, w) of one leaf's score."""
        return gradcam(self.leaves[leaf], film, output)


def load_network(run: Run, device: str = "cpu") -> tuple[TorchNetwork, Decision]:
    """Load a run's classifier, or its members', and how they decide.

    Raises
    ------
    RunError
        If the run or a member is not finished, or weights do not fit their recipe.
    """
    leaves: list[FilmClassifier] = []
    decision = _collect(run, leaves)
    return TorchNetwork([leaf.to(device) for leaf in leaves], run.recipe.side), decision


def _collect(run: Run, leaves: list[FilmClassifier]) -> Decision:
    members = run.members()
    if run.recipe.folds:
        return Voting(tuple(_collect(member, leaves) for member in members.values()))
    if run.recipe.one_vs_all:
        start = len(leaves)
        for name in run.classes:
            _collect(members[name], leaves)
        return OneVsAll(tuple(range(start, len(leaves))))
    leaves.append(load_classifier(run))
    return Single(len(leaves) - 1, run.recipe.outputs)


def load_classifier(run: Run) -> FilmClassifier:
    """Build the classifier of a run without members and load its best weights.

    Raises
    ------
    RunError
        If there are none yet, or they do not fit the recipe.
    """
    weights = run.weights
    recipe = run.recipe
    model = build_model(recipe.network.model_copy(update={"weights": "none"}), recipe.outputs)
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise RunError(
            f"{weights} is broken or does not belong to the recipe beside it: train again"
        ) from error
    model.backbone.origin = str(run.versions().get("weights", "unknown"))
    return model
