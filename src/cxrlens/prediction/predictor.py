"""The Predictor: the one way from a film to a prediction, and from there to a heat map.

It stands behind predict, evaluate and explain alike, so that a film is treated the same everywhere:
decode, resize and quality chain as in training, then the network in float32.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrlens.collections.tables import as_html
from cxrlens.errors import CxrlensError, FilmError, ModelError, need, visible
from cxrlens.explanation import method_named, methods_for
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.explanation.method import SAMPLES, Method, Question
from cxrlens.prediction.calibration import Measures
from cxrlens.prediction.decision import (
    Decision,
    Network,
    Outputs,
    Voting,
    decision_from_json,
)
from cxrlens.prediction.networks import BundleNetwork, threads
from cxrlens.prediction.trust import (
    NOTICE,
    REASONS,
    SPOILING,
    UNSURE,
    Trust,
    answers,
    read_trust,
    refusal,
)
from cxrlens.progress import Progress, in_batches
from cxrlens.quality.chain import Chain, examined
from cxrlens.quality.step import DEFECTS, Examination
from cxrlens.radiographs.read import Film, ReadFilm, name_of, read_film
from cxrlens.runs import Bundle, Run, SavedModel, open_model

_NEEDS = {"slopes": "feature maps", "map": "a map of its own"}
_BATCH = 32


class _Examined(NamedTuple):
    name: str
    film: ReadFilm
    examination: Examination


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one film. Research use only: not a medical device, not a diagnosis.

    Attributes
    ----------
    image
        The film's path, or what it was called.
    predicted
        A class, or ``unsure``; see `cxrlens.prediction.trust`.
    reason
        Why it is unsure, a key of `cxrlens.prediction.trust.REASONS`; empty where a class is named.
    suggests
        The class that would have been named.
    probabilities
        By class; they sum to 1.
    scores
        Each disease by itself against normal, in [0, 100]; they need not sum to anything.
    doubt
        In [0, 100]: of two films the one with more is the likelier error.
    votes
        By class, how many members chose it; empty where nobody votes.
    calibrated
        Whether the probabilities were fitted to mean what they say.
    examination
        The film as the model saw it, its quality findings and repairs.
    film
        (H, W) uint8 as it was read.
    age
        Of the patient in years, where the film's tags tell.
    evidence
        The networks' own map (D, h, w) float32 before the sigmoid, a disease a layer; None without one.
    """

    image: str
    predicted: str
    probabilities: dict[str, float]
    examination: Examination
    reason: str = ""
    suggests: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    doubt: float = 0.0
    votes: dict[str, int] = field(default_factory=dict)
    calibrated: bool = False
    film: NDArray[np.uint8] | None = field(default=None, repr=False)
    age: float | None = None
    evidence: NDArray[np.float32] | None = field(default=None, repr=False)
    predictor: "Predictor | None" = field(default=None, repr=False)

    @property
    def findings(self) -> dict[str, bool]:
        """Map each defect's name to its presence."""
        return {name: finding.present for name, finding in self.examination.findings.items()}

    @property
    def answered(self) -> bool:
        """Whether a class is named."""
        return self.predicted != UNSURE

    @property
    def thresholds(self) -> dict[str, float]:
        """The score in [0, 100] from which each disease is named."""
        return self.predictor.trust.thresholds if self.predictor else {}

    def __repr__(self) -> str:
        why = f", {REASONS.get(self.reason, self.reason)}" if self.reason else ""
        scores = ", ".join(f"{name} {score:.0f}" for name, score in self.scores.items())
        told = f"; scores of 100: {scores}" if scores else ""
        return f"<Prediction {visible(self.image)}: {self.predicted}{why}{told}>"

    def _repr_html_(self) -> str:
        rows = [
            {"": name, "probability": share, "score": self.scores.get(name)}
            for name, share in self.probabilities.items()
        ]
        found = ", ".join(name for name, there in self.findings.items() if there)
        line = f"{self!r} Quality: {found or 'nothing found'}. {NOTICE}"
        return as_html(line, pd.DataFrame(rows).round(2))

    def what_if(self) -> dict[str, list[str]]:
        """Say what the answer would become at other thresholds: see `Trust.what_if`."""
        if self.predictor is None:
            return {}
        force = self.predictor.force_answer
        return self.predictor.trust.what_if(self.scores, self.reason, age=self.age, force=force)

    def row(self) -> dict[str, Any]:
        """Return a row of the predictions table."""
        return {
            "image": self.image,
            "predicted": self.predicted,
            "reason": self.reason,
            "suggests": self.suggests,
            **self.probabilities,
            **{f"votes_{label}": count for label, count in self.votes.items()},
            **{f"score_{label}": score for label, score in self.scores.items()},
            "doubt": self.doubt,
            "calibrated": self.calibrated,
            **self.examination.row(),
        }

    def explain(
        self,
        method: str | None = None,
        target: str | None = None,
        *,
        member: int | None = None,
        samples: int = SAMPLES,
        progress: Progress | None = None,
    ) -> HeatMap:
        """Show where the model looked.

        Parameters
        ----------
        method
            A key of `cxrlens.explanation.METHODS`; default the first that suits the model.
        target
            The class to explain; default the predicted one, or, for a method that knows diseases alone, the
            more probable disease.
        member
            Explain this member alone, counted from 0; see `Predictor.members`.
        samples
            Masked films that LIME asks.
        progress
            Called with films asked and films in all by the slow methods; raise from it to stop.

        Raises
        ------
        CxrlensError
            If the method, the class or the member is unknown, or the method cannot explain the model.
        """
        assert self.predictor is not None
        assert self.film is not None
        model, pixels = self.predictor, self.examination.pixels
        chosen, target = model.chosen(self, method, target)
        if chosen not in model.methods:
            raise CxrlensError(
                f"{chosen.title} needs a network with {_NEEDS[chosen.needs]}, which this model has not: "
                "use --method occlusion or --method lime"
            )
        decision = model.decision
        if member is not None:
            if not 0 <= member < len(model.members):
                raise CxrlensError(
                    f"there is no member {member}: the model has {len(model.members)}"
                )
            decision = model.members[member]
        index = model.classes.index(target)
        question = Question(
            pixels,
            index,
            target,
            lambda films: decision.decide(model.network.run(films).scores).probabilities,
            lambda: [model.network.slopes(pixels, *pair) for pair in decision.leaves_for(index)],
            self.evidence,
            samples,
            progress,
        )
        mark = "" if self.answered else f"{UNSURE}: {self.reason}"
        answer = chosen.explain(question)
        return HeatMap.of(chosen, answer, target, self.film, self.examination, mark)


@dataclass(eq=False)
class Predictor:
    """A trained model, ready for films.

    Attributes
    ----------
    network
        The trained networks.
    decision
        How their scores become one answer.
    chain
        The quality chain of the training.
    classes
        In the order of the probabilities.
    digest
        Tells this model from others; see `cxrlens.runs.run.Run.digest`.
    reader
        Reads a film of a name; what takes films from strangers puts a bounded one in its place.
    trust
        How scores become answers; by default the network's own probabilities do.
    force_answer
        Name a class even where the answer would be ``unsure``: for research.
    """

    network: Network
    decision: Decision
    chain: Chain
    classes: Sequence[str]
    digest: str = ""
    reader: Callable[[Film, str], ReadFilm] = read_film
    trust: Trust = field(default_factory=lambda: Trust(()))
    force_answer: bool = False

    def __post_init__(self) -> None:
        if not self.trust.classes:
            self.trust = Trust(tuple(self.classes))

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str = "cpu",
        *,
        site: Path | None = None,
        force_answer: bool = False,
    ) -> Self:
        """Load a run folder, a bundle or an installed model; without a name, the model in the box.

        Parameters
        ----------
        path
            The model.
        device
            Where it runs.
        site
            A file of ``cxrlens calibrate``, which moves its answers to a place.
        force_answer
            See `Predictor`.

        Raises
        ------
        RunError
            If it is no finished run, or its weights do not fit its recipe.
        BundleError
            If it is a bundle of which a file is missing or changed, or of a later version.
        MissingExtraError
            If it is a run folder and PyTorch is not installed.
        CxrlensError
            If the site file is none, or of another model.
        """
        return cls.of(open_model(path), device, site=site, force_answer=force_answer)

    @classmethod
    def of(
        cls,
        model: SavedModel,
        device: str = "cpu",
        *,
        site: Path | None = None,
        force_answer: bool = False,
    ) -> Self:
        """Load a model that is open, be it that its run is still being finished; see `load`."""
        network, decision = _networks(model, device)
        trust = read_trust(model.path, model.digest, model.classes)
        return cls(
            network,
            decision,
            model.chain(),
            model.classes,
            model.digest,
            trust=trust.at(site, model.digest) if site else trust,
            force_answer=force_answer,
        )

    def __repr__(self) -> str:
        place = f", site {self.trust.site}" if self.trust.site else ""
        calibrated = "calibrated" if self.trust.calibrated else "not calibrated"
        return f"<Predictor {self.digest}: {', '.join(self.classes)}; {calibrated}{place}>"

    def _outputs(self, pixels: NDArray[np.uint8]) -> Outputs:
        outputs = self.network.run(pixels)
        if not all(np.isfinite(one).all() for one in outputs.scores):
            raise ModelError(
                f"the model {self.digest or 'at hand'} answers with what is no number: its weights are "
                "damaged, or its training failed; copy it again, or train again"
            )
        return outputs

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute how probable each class is.

        Parameters
        ----------
        pixels
            (N, S, S) uint8, films as they come out of the chain.

        Returns
        -------
        ndarray of float64
            (N, classes), rows sum to 1.

        Raises
        ------
        ModelError
            If a score is not finite.
        """
        return self.decision.decide(self._outputs(pixels).scores).probabilities

    def predict(self, film: Film) -> Prediction:
        """Predict one film: a file, its bytes, pixels or a Pillow image.

        Raises
        ------
        FilmError
            If it cannot be read.
        """
        (outcome,) = self.predict_many([film])
        if isinstance(outcome, FilmError):
            raise outcome
        return outcome

    def predict_many(self, films: Iterable[Film | ReadFilm]) -> Iterator[Prediction | FilmError]:
        """Predict films in batches, reading the next ones meanwhile.

        Yields
        ------
        Prediction or FilmError
            One for each film, in order; the error of a film that cannot be read.
        """
        queue = iter(films)
        with ThreadPoolExecutor(threads()) as pool:
            ahead = [pool.submit(self._examine, film) for film in islice(queue, _BATCH)]
            while ahead:
                coming = [pool.submit(self._examine, film) for film in islice(queue, _BATCH)]
                yield from self._predict_batch([task.result() for task in ahead])
                ahead = coming

    def _examine(self, film: Film | ReadFilm) -> _Examined | FilmError:
        name = "" if isinstance(film, ReadFilm) else name_of(film)
        try:
            read = film if isinstance(film, ReadFilm) else self.reader(film, name)
            return _Examined(name, read, examined(read, name or "the film", self.chain.examine))
        except FilmError as error:
            return error

    def _predict_batch(
        self, batch: list[_Examined | FilmError]
    ) -> Iterator[Prediction | FilmError]:
        read = iter(self._predict_read([one for one in batch if not isinstance(one, FilmError)]))
        for one in batch:
            yield one if isinstance(one, FilmError) else next(read)

    def _predict_read(self, films: list[_Examined]) -> Iterator[Prediction]:
        if not films:
            return
        outputs = self._outputs(np.stack([one.examination.pixels for one in films]))
        found = [
            {name: of.present for name, of in one.examination.findings.items()} for one in films
        ]
        rows = self._answers(outputs, found, [one.film.age for one in films]).to_dict("records")
        for place, ((name, film, examination), row) in enumerate(zip(films, rows, strict=True)):
            votes = {label: row.get(f"votes_{label}") for label in self.classes}
            yield Prediction(
                image=name,
                predicted=row["predicted"],
                reason=row["reason"],
                suggests=row["suggests"],
                probabilities={label: row[label] for label in self.classes},
                scores={label: row[f"score_{label}"] for label in self.classes[1:]},
                doubt=row["doubt"],
                votes={label: count for label, count in votes.items() if count is not None},
                calibrated=row["calibrated"],
                examination=examination,
                film=film.pixels,
                age=film.age,
                # A copy: a film that is kept must not keep its whole batch's maps.
                evidence=None if outputs.map is None else outputs.map[place].copy(),
                predictor=self,
            )

    def _answers(
        self,
        outputs: Outputs,
        findings: Sequence[Mapping[str, bool]],
        ages: Sequence[float | None],
    ) -> pd.DataFrame:
        refused = [refusal(of, self._spoiling) for of in findings]
        return answers(self.trust, self.decision, outputs, refused, ages, force=self.force_answer)

    @property
    def _spoiling(self) -> frozenset[str]:
        """Defects that make a film unsure, and that the chain does not repair."""
        return SPOILING - self.chain.mends

    def refused(self, findings: pd.DataFrame) -> list[str]:
        """Say for films of a cache, a row of findings each, what `cxrlens.prediction.trust.refusal` does."""
        return [refusal(row, self._spoiling) for row in _present(findings)]

    def measure_cached(
        self, pixels: NDArray[np.uint8], rows: NDArray[np.int64], progress: Progress | None = None
    ) -> Measures:
        """Measure films whose examined pixels lie in a cache, one or more; see `predict_cached`."""
        parts = []
        for part in in_batches(len(rows), _BATCH, progress):
            outputs = self._outputs(pixels[rows[part]])
            parts.append(self.trust.measure(self.decision.decide(outputs.scores), outputs))
        return Measures.joined(parts)

    def predict_cached(
        self,
        images: Sequence[str],
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        findings: pd.DataFrame,
        progress: Progress | None = None,
        *,
        ages: pd.Series | None = None,
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
        ages
            Of the patients in years, missing where not known; None where none is.

        Returns
        -------
        DataFrame
            The predictions table.
        """
        parts = []
        found = _present(findings)
        years = [] if ages is None else ages.tolist()
        for part in in_batches(len(rows), _BATCH, progress):
            outputs = self._outputs(pixels[rows[part]])
            parts.append(self._answers(outputs, found[part], years[part]))
        columns = ["predicted", "reason", *self.classes, "calibrated"]
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        table.insert(0, "image", list(images))
        return pd.concat([table, findings], axis=1)

    @property
    def methods(self) -> list[Method]:
        """The explaining methods that suit the model, the default first."""
        return methods_for(self.network.gives)

    def chosen(
        self, prediction: Prediction, method: str | None = None, target: str | None = None
    ) -> tuple[Method, str]:
        """Fill in what an explanation was not told, its method and its class; see `Prediction.explain`.

        Raises
        ------
        CxrlensError
            If the method or the class is unknown.
        """
        chosen = method_named(method) if method else self.methods[0]
        names = self.classes[chosen.diseases_only :]
        if target is None:
            target = max(names, key=prediction.probabilities.__getitem__)
            if prediction.suggests in names:
                target = prediction.suggests
        if target not in self.classes:
            raise CxrlensError(
                f"unknown class {target!r}: the model knows {', '.join(self.classes)}"
            )
        return chosen, target

    @property
    def members(self) -> tuple[Decision, ...]:
        """Those who vote; none where nobody does."""
        return self.decision.members if isinstance(self.decision, Voting) else ()


def load(
    model: str | Path | None = None,
    device: str = "cpu",
    *,
    site: Path | None = None,
    force_answer: bool = False,
) -> Predictor:
    """Load a run folder, a bundle or an installed model for prediction; see `Predictor.load`.

    Examples
    --------
    >>> prediction = load("runs/first").predict("images/P00001_1.png")
    >>> prediction.predicted, round(prediction.probabilities["pneumonia"], 2)
    ('pneumonia', 0.43)
    """
    return Predictor.load(model, device, site=site, force_answer=force_answer)


def _present(findings: pd.DataFrame) -> list[dict[str, bool]]:
    """Say whether each defect is there, a film each, from a table of findings."""
    known = findings[[name for name in DEFECTS if name in findings]]
    return [
        {str(name): bool(there) for name, there in row.items()} for row in known.to_dict("records")
    ]


def _networks(model: SavedModel, device: str) -> tuple[Network, Decision]:
    if isinstance(model, Bundle):
        told = model.manifest
        decision = decision_from_json(told.decision, len(told.leaves), len(told.classes))
        return BundleNetwork(model, device), decision
    assert isinstance(model, Run)
    if model.recipe.baseline:
        from cxrlens.prediction.networks import load_linear

        return load_linear(model)
    need("train", what="a run folder")
    from cxrlens.prediction.torch_network import load_network

    return load_network(model, device)
