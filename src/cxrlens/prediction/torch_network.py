"""Networks out of run folders, run by PyTorch in float32."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError, RunError
from cxrlens.explanation.method import Slopes
from cxrlens.models.classifier import FilmClassifier, build_model
from cxrlens.prediction.decision import Decision, OneVsAll, Outputs, Single, Voting
from cxrlens.runs.run import Run
from cxrlens.runs.saved import read_weights


class TorchNetwork:
    """Classifiers as leaves; see `cxrlens.prediction.decision.Network`.

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

    @property
    def gives(self) -> frozenset[str]:
        """Slopes always; a map where every classifier brings one."""
        return frozenset(
            {"slopes", *(["map"] if all(leaf.brings_map for leaf in self.leaves) else [])}
        )

    def run(self, films: NDArray[np.uint8]) -> Outputs:
        """Answer films (N, side, side) uint8."""
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(films)).to(self._device)
            answers = [leaf(tensor) for leaf in self.leaves]
            maps = [answer.map for answer in answers if answer.map is not None]
            whole = len(maps) == len(answers)
            return Outputs(
                [answer.scores.float().cpu().numpy() for answer in answers],
                torch.stack(maps).float().mean(0).cpu().numpy() if whole else None,
                torch.cat([answer.features for answer in answers], 1).float().cpu().numpy(),
            )

    def slopes(self, film: NDArray[np.uint8], leaf: int, output: int) -> Slopes:
        """Compute how the last feature maps (C, h, w) of a film move one score."""
        model = self.leaves[leaf]
        with torch.enable_grad():
            with torch.no_grad():
                maps = model.maps(torch.from_numpy(np.array(film))[None].to(self._device))
            maps = maps.detach().requires_grad_()
            score = model.scores(maps)[0, output]
            (slopes,) = torch.autograd.grad(score, maps)
        return Slopes(maps[0].detach().float().cpu().numpy(), slopes[0].float().cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return next(self.leaves[0].parameters()).device


def accelerator(device: str) -> str:
    """Choose where PyTorch computes: ``auto`` is the first of ``cuda``, ``mps`` and ``cpu`` that is there.

    Raises
    ------
    CxrlensError
        If the device is unknown, or this machine has none.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next((name for name in ("cuda", "mps") if available[name]), "cpu")
    if device not in available:
        raise CxrlensError(f"--device {device}: known are auto, {', '.join(available)}")
    if not available[device]:
        there = ", ".join(name for name, here in available.items() if here)
        raise CxrlensError(
            f"--device {device}: this machine has none that PyTorch can use; it has {there}"
        )
    return device


def load_network(run: Run, device: str = "cpu") -> tuple[TorchNetwork, Decision]:
    """Load a run's classifier, or its members', and how they decide.

    Raises
    ------
    RunError
        If the run or a member is not finished, or weights do not fit their recipe.
    CxrlensError
        If there is no such device; see `accelerator`.
    """
    device = accelerator(device)
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


def load_classifier(run: Run, weights: Path | None = None) -> FilmClassifier:
    """Build the classifier of a run without members and load its weights.

    Parameters
    ----------
    run
        Its recipe says what to build.
    weights
        Another file of weights of this network; None for the run's own, its best.

    Raises
    ------
    RunError
        If there are none yet, or they do not fit the recipe.
    """
    weights = weights or run.weights
    recipe = run.recipe
    model = build_model(recipe.network.model_copy(update={"weights": "none"}), recipe.outputs)
    # A copy: what was read lies in memory that may not be written to.
    tensors = {name: torch.tensor(value) for name, value in read_weights(weights).items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(
            f"{weights} does not belong to the recipe beside it: copy the run again, or train again"
        ) from error
    model.backbone.origin = str(run.versions().get("weights", "unknown"))
    return model
