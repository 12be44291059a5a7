"""Answers of the API, typed, with examples for its OpenAPI description."""

import base64
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import HeatMap
from cxrlens.lungs import Outline
from cxrlens.prediction.calibration import Rate
from cxrlens.prediction.predictor import Prediction
from cxrlens.prediction.trust import NOTICE, Trust

MAP_SIDE = 1024
"""Longer side of the maps in JSON, in pixels."""


def _example(**fields: JsonValue) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": fields})


_PROBABILITIES: JsonValue = {"normal": 0.06, "pneumonia": 0.91, "tuberculosis": 0.03}


class FindingAnswer(BaseModel):
    """One defect that was looked for; score in [0, 1], 0.5 at the threshold, no probability."""

    defect: str
    present: bool
    score: float


class Seen(BaseModel):
    """The film as the network saw it.

    ``png`` is a Base64 PNG of ``side`` × ``side`` pixels: squashed to a square, repaired. ``cropped`` are
    the film's pixels that it leaves out at the top, bottom, left and right.
    """

    side: int
    cropped: tuple[int, int, int, int]
    png: str


class FilmAnswer(BaseModel):
    """The model's prediction of one film, or why the film could not be read."""

    model_config = _example(
        name="film.dcm",
        predicted="pneumonia",
        probabilities=_PROBABILITIES,
        calibrated=False,
        findings=[{"defect": "underexposed", "present": True, "score": 0.81}],
        repairs=["stretch"],
        width=2544,
        height=3056,
    )

    name: str = Field(description="The file name as sent, without folders.")
    error: str | None = Field(None, description="Why the film could not be read; else null.")
    predicted: str | None = Field(None, description="A class, or unsure.")
    probabilities: dict[str, float] = Field({}, description="By class; they sum to 1.")
    calibrated: bool = False
    reason: str = Field("", description="Why the film is unsure; empty where a class is named.")
    suggests: str | None = Field(None, description="The class that would have been named.")
    scores: dict[str, float] = Field(
        {}, description="Each disease by itself against normal, 0 to 100; a film can show both."
    )
    thresholds: dict[str, float] = Field({}, description="The score from which each is named.")
    what_if: dict[str, list[str]] = Field(
        {},
        description="Only with ?what_if=true: by disease, the answer at each threshold of `/thresholds`, the "
        "others staying.",
    )
    doubt: float | None = Field(
        None, description="0 to 100: of two films the one with more is the likelier error."
    )
    age: float | None = Field(None, description="Of the patient in years, if the tags say so.")
    votes: dict[str, int] | None = Field(None, description="Members' votes, if the model votes.")
    findings: list[FindingAnswer] = []
    repairs: list[str] = []
    width: int | None = None
    height: int | None = None
    lungs: Outline = Field(
        (),
        description="Outline of each lung field as a polygon of (x, y), fractions of width and height; "
        "empty where none was found, or the model does not look for them.",
    )
    seen: Seen | None = Field(None, description="Only with ?seen=true.")


class Predicted(BaseModel):
    """Answer of ``/predict``: one entry a film, in the order of the request."""

    films: list[FilmAnswer]
    model: str = Field(description="The model's name.", examples=["lite0-ffn-cxr"])
    digest: str = Field(description="Of its weights and settings.", examples=["3b1f0c6a9d24"])
    site: str = Field("", description="Digest of the site file that moves its answers, if any.")
    notice: str = NOTICE


class RateAnswer(BaseModel):
    """A rate in [0, 1] with its 95 % interval (Wilson's, with as many trials as there are patients)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rate: Rate) -> Self:
        """Name the parts of a rate."""
        return cls(**rate._asdict())


class ThresholdAnswer(BaseModel):
    """A threshold of one disease: the score from which it would be named, and how well that parts films."""

    score: float
    sensitivity: RateAnswer
    specificity: RateAnswer


class CurveAnswer(BaseModel):
    """Thresholds of one disease, rising, and the films that were counted: with it, and normal ones."""

    films: int
    patients: int
    normals: int
    normal_patients: int
    own: float = Field(description="The score in use, which stays.")
    thresholds: list[ThresholdAnswer]


class Thresholds(BaseModel):
    """Answer of ``/thresholds``: a what-if; asking it changes no setting."""

    model_config = _example(
        diseases={
            "tuberculosis": {
                "films": 211,
                "patients": 197,
                "normals": 402,
                "normal_patients": 390,
                "own": 42.0,
                "thresholds": [
                    {
                        "score": 42.0,
                        "sensitivity": {"value": 0.91, "low": 0.86, "high": 0.94},
                        "specificity": {"value": 0.83, "low": 0.79, "high": 0.86},
                    }
                ],
            }
        },
        digest="3b1f0c6a9d24",
        site="",
        notice=NOTICE,
    )

    diseases: dict[str, CurveAnswer] = Field(
        description="Empty where the model brings no curve: nothing is known of other thresholds then."
    )
    digest: str = Field(description="Of the model.")
    site: str = Field(description="Digest of the site file whose films were counted, if any.")
    notice: str = NOTICE


class HeatMapAnswer(BaseModel):
    """Where the model looked.

    ``png`` is a Base64 PNG, 8-bit grey in the film's geometry (its longer side at most 1,024 pixels). 255
    where the film raises the class's score most; 0 where it does not or, if ``signed``, 128 where it does
    not and 1 where it speaks against the class.
    """

    model_config = _example(
        method="gradcam",
        target="pneumonia",
        predicted="pneumonia",
        probabilities=_PROBABILITIES,
        width=853,
        height=1024,
        signed=False,
        note="",
        png="iVBORw0KGgo…",
        notice=NOTICE,
    )

    method: str
    target: str
    predicted: str = Field(description="A class, or unsure.")
    reason: str = Field("", description="Why the film is unsure; empty where a class is named.")
    probabilities: dict[str, float]
    width: int
    height: int
    signed: bool = False
    note: str = Field("", description="What is to be known of how the map came about.")
    png: str
    notice: str = NOTICE


Status = Literal["waiting", "running", "done", "failed", "cancelled"]


class JobAnswer(BaseModel):
    """A slow explanation on its way: ask again at ``/jobs/ID``, fetch ``/jobs/ID/result`` when done."""

    model_config = _example(
        id="f3Qm0cJ1b4rV5n0xJxvX7A",
        status="running",
        method="lime",
        target="pneumonia",
        done=320,
        of=1000,
        error=None,
    )

    id: str
    status: Status
    method: str
    target: str
    done: int = 0
    of: int = 0
    error: str | None = None


class Health(BaseModel):
    """The server is up and its model loaded."""

    status: Literal["ok"] = "ok"
    token: bool = Field(description="Whether requests must bear a token.")


class MethodAnswer(BaseModel):
    """A method of explanation; see `cxrlens.explanation.method.Method`."""

    model_config = _example(
        name="gradcam",
        title="Grad-CAM",
        about="parts of the last feature maps that raise the score",
        quick=True,
        signed=False,
        diseases_only=False,
    )

    name: str
    title: str
    about: str
    quick: bool
    signed: bool
    diseases_only: bool


class Abilities(BaseModel):
    """Abilities of the server, for a page to offer, and its limits."""

    methods: list[str] = Field(
        description="Those that suit the model, the default first.",
        examples=[["gradcam", "occlusion", "lime"]],
    )
    slow: list[str] = Field(description="Methods that run as jobs.", examples=[["lime"]])
    explanations: list[MethodAnswer] = Field(description="The methods with their words.")
    film_bytes: int
    film_pixels: int
    films: int
    version: str


class Fault(BaseModel):
    """Why a request was not answered, in one sentence."""

    model_config = _example(error="film 1 is empty: copy it again")

    error: str


def verdict(prediction: Prediction) -> dict[str, Any]:
    """Return what the model decided of a film, as fields of `FilmAnswer` and `HeatMapAnswer`.

    Every answer takes its words from here.
    """
    return {
        "predicted": prediction.predicted,
        "reason": prediction.reason,
        "probabilities": prediction.probabilities,
    }


def curves_answer(trust: Trust, digest: str) -> Thresholds:
    """Return how each disease's thresholds part films."""
    found = {}
    for disease, curve in trust.curves.items():
        rows = zip(trust.scores_at(disease), curve.sensitivities, curve.specificities, strict=True)
        found[disease] = CurveAnswer(
            films=curve.films,
            patients=curve.patients,
            normals=curve.normals,
            normal_patients=curve.normal_patients,
            own=trust.thresholds[disease],
            thresholds=[
                ThresholdAnswer(
                    score=score,
                    sensitivity=RateAnswer.of(found),
                    specificity=RateAnswer.of(spared),
                )
                for score, found, spared in rows
            ],
        )
    return Thresholds(diseases=found, digest=digest, site=trust.site)


def film_answer(
    name: str, prediction: Prediction, with_pixels: bool, what_if: bool = False
) -> FilmAnswer:
    """Return the answer for one predicted film.

    Parameters
    ----------
    name, prediction
        The film's name as sent, and what was said of it.
    with_pixels, what_if
        Whether to add the pixels that the network saw, and the answers at other thresholds.
    """
    examination = prediction.examination
    assert prediction.film is not None
    height, width = prediction.film.shape
    pixels = examination.pixels
    return FilmAnswer(
        name=name,
        **verdict(prediction),
        calibrated=prediction.calibrated,
        suggests=prediction.suggests,
        scores=prediction.scores,
        thresholds=prediction.thresholds,
        what_if=prediction.what_if() if what_if else {},
        doubt=prediction.doubt,
        age=prediction.age,
        votes=prediction.votes or None,
        findings=[
            FindingAnswer(defect=defect, present=found.present, score=found.score)
            for defect, found in examination.findings.items()
        ],
        repairs=list(examination.repairs),
        width=width,
        height=height,
        lungs=examination.lungs.outline() if examination.lungs else (),
        seen=Seen(side=len(pixels), cropped=examination.cropped, png=_png_text(pixels))
        if with_pixels
        else None,
    )


def card_in(card: ModelCard, language: str) -> ModelCard:
    """Say a card's population, warnings and notice in another language.

    A card holds them as English sentences. Those that the house writes are known by the page's words
    (``told.``) and said anew; others, and all of them where there is no such language, stay as they are.

    Examples
    --------
    >>> from cxrlens.evaluation.card import card_of
    >>> from cxrlens.runs import open_model
    >>> card_in(card_of(open_model("bundles/first")), "es").notice
    'Solo para investigación: no es un producto sanitario ni un diagnóstico.'
    """
    words = _words().get(language)
    if language == "en" or not words:
        return card
    said = {
        "population": _said_in(words, card.population),
        "warnings": [_said_in(words, warning) for warning in card.warnings],
        "notice": _said_in(words, card.notice),
    }
    return card.model_copy(update=said)


@cache
def _words() -> dict[str, dict[str, str]]:
    """Read the page's words, by language."""
    folder = files("cxrlens.serving").joinpath("page", "static", "words")
    return {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
    }


@cache
def _sentences() -> dict[str, re.Pattern[str]]:
    """Make patterns of the English sentences that the house writes, by key; no place ends a sentence."""
    told = {key: text for key, text in _words()["en"].items() if key.startswith("told.")}
    place = r"(?P<\1>(?:[^.]|\.(?! ))+?)"
    return {
        key: re.compile(re.sub(r"\\\{(\w+)\\\}", place, re.escape(told[key])) + r"(?: |$)")
        for key in sorted(told, key=lambda key: -len(told[key]))
        if told[key].endswith(".")
    }


def _said_in(words: dict[str, str], text: str) -> str:
    parts = []
    while text:
        known = ((key, pattern.match(text)) for key, pattern in _sentences().items())
        key, found = next(((key, found) for key, found in known if found), ("", None))
        if found:
            values = {name: _value(words, value) for name, value in found.groupdict().items()}
            parts.append(words[key].format(**values))
            text = text[found.end() :]
        else:
            sentence, end, text = text.partition(". ")
            parts.append(sentence + end.rstrip())
    return " ".join(parts)


def _value(words: dict[str, str], value: str) -> str:
    """Say what stands in a sentence's place: a number, or names of classes or sources, one or several."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", value):
        like = words["told.thousand" if len(value) == len("1,000") else "told.ten thousand"]
        return value.replace(",", like.strip("10"))
    *first, last = (words.get(f"class.{name}", name) for name in re.split(", | and ", value))
    return f"{', '.join(first)} {words['told.and']} {last}" if first else last


def heat_answer(said: dict[str, Any], heat: HeatMap) -> HeatMapAnswer:
    """Return a heat map with the `verdict` on its film."""
    pixels = within(map_pixels(heat), MAP_SIDE)
    height, width = pixels.shape
    return HeatMapAnswer(
        method=heat.method,
        target=heat.target,
        **said,
        width=width,
        height=height,
        signed=heat.signed,
        note=heat.note,
        png=_png_text(pixels),
    )


def map_pixels(heat: HeatMap) -> NDArray[np.uint8]:
    """Return a heat map's values (H, W) as uint8.

    Values in [0, 1] become 0 to 255; where the map is signed, [-1, 1] becomes 1 to 255 round 128.
    """
    values = 128 + 127 * heat.values if heat.signed else 255 * heat.values
    return np.rint(values).astype(np.uint8)


def within(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink a picture so that its longer side has at most `side` pixels; keep its shape."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey (H, W) or RGB (H, W, 3) uint8 as PNG, for speed rather than size."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert written
    return data.tobytes()


def _png_text(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(pixels)).decode("ascii")
