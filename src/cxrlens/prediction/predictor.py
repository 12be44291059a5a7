"""The Predictor: the one way from a film to a prediction.

It stands behind predict, evaluate and explain alike, so that a film is treated the same everywhere:
decode, resize and quality chain as in training, then the network in float32.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.errors import CxrlensError, FilmError, MissingExtraError, RunError
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.quality.chain import Chain
from cxrlens.quality.findings import Examination
from cxrlens.radiographs.read import read_radiograph
from cxrlens.runs.run import Run

if TYPE_CHECKING:
    from cxrlens.models.classifier import FilmClassifier

_BATCH = 32

CHECKER = "robust"
"""The chain whose detectors look at a film where the model's own chain has none; it repairs nothing."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one film. Research use: no diagnosis.

    Attributes
    ----------
    image
        The film's path, or what it was called.
    predicted
        The class with the highest probability.
    probabilities
        By class; they sum to 1.
    calibrated
        Whether the probabilities were fitted to mean what they say.
    examination
        The film as the model saw it, its quality findings and repairs.
    """

    image: str
    predicted: str
    probabilities: dict[str, float]
    examination: Examination
    calibrated: bool = False
    film: NDArray[np.uint8] | None = field(default=None, repr=False)
    predictor: "Predictor | None" = field(default=None, repr=False)

    @property
    def findings(self) -> dict[str, bool]:
        """Which defects the film has, by name."""
        return {name: finding.present for name, finding in self.examination.findings.items()}

    def row(self) -> dict[str, Any]:
        """Columns of the predictions table."""
        return {
            "image": self.image,
            "predicted": self.predicted,
            **self.probabilities,
            "calibrated": self.calibrated,
            **self.examination.row(),
        }

    def explain(self, method: str = "gradcam", target: str | None = None) -> HeatMap:
        """Show where the model looked.

        Parameters
        ----------
        method
            ``gradcam``.
        target
            The class to explain; default the predicted one.

        Raises
        ------
        CxrlensError
            If the method or the class is unknown.
        """
        assert self.predictor is not None
        return self.predictor.explain(self, method, target)


class Predictor:
    """A trained model, ready for films.

    Parameters
    ----------
    model
        The classifier with its weights, on its device.
    chain
        The quality chain of its training.
    classes
        In the order of its scores.
    """

    def __init__(self, model: "FilmClassifier", chain: Chain, classes: Sequence[str]) -> None:
        self.model = model.eval()
        self.chain = chain
        self.checker = chain if chain.steps else Chain.named(CHECKER)
        self.classes = tuple(classes)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Load a run folder.

        Raises
        ------
        RunError
            If it is no finished run, or its weights do not fit its recipe.
        MissingExtraError
            If PyTorch is not installed.
        """
        run = Run(Path(path))
        recipe = run.recipe
        weights = run.weights
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            from cxrlens.models.build import build_model
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"a run folder needs PyTorch ({error.name} is missing): "
                "pip install -c constraints.txt 'cxrlens[train]'"
            ) from error
        part = recipe.model
        model = build_model(
            part.backbone, "none", part.blocks, part.width, part.dropout, len(run.classes)
        )
        try:
            model.load_state_dict(load_file(weights))
        except (RuntimeError, SafetensorError) as error:
            raise RunError(
                f"{weights} is broken or does not belong to the recipe beside it: train again"
            ) from error
        model.backbone.origin = str(run.versions().get("weights", "unknown"))
        chain = Chain.named(recipe.quality, recipe.side)
        trained_with = run.versions().get("chain")
        if trained_with != chain.version:
            raise RunError(
                f"{run.path} was trained on films from the quality chain {trained_with}, this version has "
                f"{chain.version}: use the cxrlens {run.versions()['cxrlens']} that wrote it, or train again"
            )
        return cls(model.to(device), chain, run.classes)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Softmax of the scores.

        Parameters
        ----------
        pixels
            (N, S, S) uint8, films as the chain gives them.

        Returns
        -------
        ndarray of float64
            (N, classes), rows sum to 1.
        """
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            scores = self.model(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
            shares: NDArray[np.float64] = scores.double().softmax(1).cpu().numpy()
        return shares

    def predict(self, film: str | Path | NDArray[np.uint8]) -> Prediction:
        """Predict one film, from its file or its grey pixels (H, W) uint8.

        Raises
        ------
        FilmError
            If the file cannot be read.
        """
        (outcome,) = self.predict_many([film])
        if isinstance(outcome, FilmError):
            raise outcome
        return outcome

    def predict_many(
        self, films: Iterable[str | Path | NDArray[np.uint8]]
    ) -> Iterator[Prediction | FilmError]:
        """Predict films in batches, reading the next ones meanwhile.

        Yields
        ------
        Prediction or FilmError
            One for each film, in order; a film that cannot be read gives its error.
        """
        queue = iter(films)
        with ThreadPoolExecutor(2) as pool:
            ahead = [pool.submit(self._examine, film) for film in islice(queue, _BATCH)]
            while ahead:
                coming = [pool.submit(self._examine, film) for film in islice(queue, _BATCH)]
                yield from self._predict_batch([task.result() for task in ahead])
                ahead = coming

    def _examine(
        self, film: str | Path | NDArray[np.uint8]
    ) -> tuple[str, NDArray[np.uint8], Examination] | FilmError:
        try:
            pixels = film if isinstance(film, np.ndarray) else read_radiograph(film)
        except FilmError as error:
            return error
        name = "" if isinstance(film, np.ndarray) else str(film)
        examination = self.chain.examine(pixels)
        if self.checker is not self.chain:
            findings = self.checker.check(pixels).findings
            examination = dataclasses.replace(examination, findings=findings)
        return name, pixels, examination

    def _predict_batch(
        self, batch: list[tuple[str, NDArray[np.uint8], Examination] | FilmError]
    ) -> Iterator[Prediction | FilmError]:
        read = [item for item in batch if not isinstance(item, FilmError)]
        rows: Iterator[NDArray[np.float64]] = iter(())
        if read:
            rows = iter(self.probabilities(np.stack([item[2].pixels for item in read])))
        for item in batch:
            if isinstance(item, FilmError):
                yield item
                continue
            name, film, examination = item
            row = next(rows)
            yield Prediction(
                image=name,
                predicted=self.classes[int(row.argmax())],
                probabilities=dict(zip(self.classes, row.tolist(), strict=True)),
                examination=examination,
                film=film,
                predictor=self,
            )

    def predict_cached(
        self,
        images: Sequence[str],
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        findings: pd.DataFrame,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Predict films whose examined pixels lie in a cache.

        Parameters
        ----------
        images
            Their paths.
        pixels, rows
            The cache's array (M, S, S) uint8 and each film's row in it.
        findings
            One row a film, carried into the table.
        progress
            Called with films done and films in all.

        Returns
        -------
        DataFrame
            The predictions table.
        """
        parts = []
        for start in range(0, len(rows), _BATCH):
            parts.append(self.probabilities(pixels[rows[start : start + _BATCH]]))
            if progress:
                progress(min(start + _BATCH, len(rows)), len(rows))
        values = np.concatenate(parts) if parts else np.empty((0, len(self.classes)))
        table = pd.DataFrame(values, columns=list(self.classes))
        table.insert(0, "image", list(images))
        table.insert(1, "predicted", [self.classes[best] for best in values.argmax(1)])
        table["calibrated"] = False
        return pd.concat([table, findings], axis=1)

    def explain(self, prediction: Prediction, method: str, target: str | None = None) -> HeatMap:
        """Show where the model looked; see `Prediction.explain`."""
        if method not in METHODS:
            raise CxrlensError(f"unknown method {method!r}: known are {', '.join(METHODS)}")
        target = target or prediction.predicted
        if target not in self.classes:
            raise CxrlensError(
                f"unknown class {target!r}: the model knows {', '.join(self.classes)}"
            )
        assert prediction.film is not None
        from cxrlens.explanation.gradcam import gradcam

        height, width = prediction.film.shape
        top, bottom, left, right = prediction.examination.cropped
        seen = (height - top - bottom, width - left - right)
        pixels = prediction.examination.pixels
        values = gradcam(self.model, pixels, self.classes.index(target), seen)
        values = np.pad(values, ((top, bottom), (left, right)))
        return HeatMap(values, prediction.film, method, target)


METHODS = ("gradcam",)
"""Explaining methods by name."""


def load(model: str | Path, device: str = "cpu") -> Predictor:
    """Load a run folder for prediction; see `Predictor.load`."""
    return Predictor.load(model, device)
