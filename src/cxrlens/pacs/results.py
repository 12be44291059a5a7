"""The prediction of one film as DICOM: a Secondary Capture and a Structured Report (TID 1500)."""

import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sc import SCImage
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from cxrlens.explanation.heatmap import HeatMap
from cxrlens.pacs.header import FilmHeader, ModelIdentity
from cxrlens.prediction import Prediction
from cxrlens.prediction.trust import NOTICE, REASONS
from cxrlens.radiographs.decoding import hush, quietly

SCHEME = "99CXRLENS"
"""Designator of our own codes; 99 marks private ones (PS3.16, chapter 8)."""


def own_code(value: str, meaning: str) -> CodedConcept:
    """Return a code of our own."""
    # So much have SH and LO room for (PS3.5, 6.2).
    return CodedConcept(value[:16], SCHEME, meaning[:64])


PLAIN_CHEST_FILM = Code("399208008", "SCT", "Plain chest X-ray")
_CLASSES = {
    "normal": Code("17621005", "SCT", "Normal"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "tuberculosis": Code("154283005", "SCT", "Pulmonary tuberculosis"),
}

_DEFECTS = {
    "negative": "Film is a negative",
    "underexposed": "Film is underexposed",
    "noisy": "Film is noisy",
    "blurred": "Film is blurred",
    "padded": "Film has padded borders",
    "patched": "Film is patched",
    "photographed": "Film was photographed",
    "not_a_chest": "Film does not look like a chest film",
    "torn": "Film may have lost a part",
    "saturated": "Film is saturated",
    "burnt_in_text": "Film has text burnt into its pixels",
}

_NOTICE_OF_A_SERIES = "research use, not a diagnosis"
"""What of it fits into the 64 characters of a series' description."""

CAPTURE, REPORT, OVERLAY = "capture", "report", "overlay"
"""The kinds of results, which their UIDs are derived from."""

_SERIES_NUMBERS = {CAPTURE: 9101, REPORT: 9102, OVERLAY: 9103}

LONGEST, SHORTEST = 1024, 768
"""Longer side of a panel in pixels: larger films are shrunk, smaller ones are magnified."""

_MARGIN = 16
_NARROWEST = 640

_DIGITS = 6
"""Decimals of a probability; a decimal string has room for 16 characters."""

# What it logs and warns of quotes names.
hush("highdicom")


@dataclass(frozen=True)
class Result:
    """A prediction of a film, or why there is none.

    Attributes
    ----------
    header
        Of the film.
    model
        Which model.
    made
        When; every date and time in what is written is this one.
    prediction
        With its film; None if the film was not predicted.
    remark
        A sentence that the reader must see; why the film was not predicted, if it was not.
    """

    header: FilmHeader
    model: ModelIdentity
    made: datetime.datetime
    prediction: Prediction | None = None
    remark: str = ""

    @property
    def findings(self) -> dict[str, bool]:
        """Quality findings: by defect, whether the film has it."""
        return self.prediction.findings if self.prediction else {}


def secondary_capture(result: Result, heat: HeatMap | None) -> bytes:
    """Write film and heat map side by side as a Secondary Capture of the film's study.

    Parameters
    ----------
    result
        With its prediction, which is burnt in above the film.
    heat
        Its heat map, or None if the model has none.

    Returns
    -------
    bytes
        A DICOM file, RGB, uncompressed.
    """
    prediction, header = result.prediction, result.header
    assert prediction is not None
    assert prediction.film is not None
    with quietly():
        panels = side_by_side(prediction.film, heat)
        picture = captioned(panels, NOTICE, _words(result, prediction, heat))
        dataset = SCImage(
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),
            study_instance_uid=header.study,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **origin(result, CAPTURE),
        )
        # Two panels have the film's orientation if it says one, and none that we could know otherwise.
        dataset.PatientOrientation = [*header.orientation] if header.orientation else []
        dataset.Laterality = ""
        dataset.ConversionType = "WSD"
        dataset.ImageComments = NOTICE
        dataset.DerivationDescription = (
            f"Left the film, right where the model looked ({heat.method}, {heat.target})"
            if heat
            else "The film"
        )
        purpose = codes.DCM.SourceImageForImageProcessingOperation
        source, film = Dataset(), header.repeated
        source.ReferencedSOPClassUID = film.SOPClassUID
        source.ReferencedSOPInstanceUID = film.SOPInstanceUID
        source.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
        dataset.SourceImageSequence = [source]
        # The picture has it too, whatever the film's header says of it.
        burned_in = "YES" if result.findings.get("burnt_in_text") else header.burned_in
        if burned_in:
            dataset.BurnedInAnnotation = burned_in
        return encoded(dataset, result)


def _words(result: Result, prediction: Prediction, heat: HeatMap | None) -> list[str]:
    """Return the lines above a picture: here a prediction becomes words to read."""
    model = result.model
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    shares = " · ".join(f"{name} {_share(share)}" for name, share in ranked)
    present = [name.replace("_", " ") for name, found in result.findings.items() if found]
    site = f", site {model.site}" if model.site else ""
    return [
        *([result.remark] if result.remark else []),
        f"Predicted {prediction.predicted}; probabilities: {shares}"
        if prediction.answered
        else f"Not assessed: {REASONS[prediction.reason]}",
        *_scores(prediction),
        "Quality findings: " + (", ".join(present) or "none"),
        f"Model {model.name}, version {model.digest}{site}, cxrlens {model.program}",
        f"Left: the film. Right: where the model looked for {heat.target} ({heat.method})"
        if heat
        else "There is no heat map",
    ]


def _scores(prediction: Prediction | None) -> list[str]:
    """Say of an answered film each disease's score, and the one from which it is named."""
    if prediction is None or not prediction.answered or not prediction.thresholds:
        return []
    told = [
        f"{name} {prediction.scores[name]:.0f} (named from {threshold:.0f})"
        for name, threshold in prediction.thresholds.items()
    ]
    return [f"Scores: {', '.join(told)}"]


def _share(share: float) -> str:
    """Write a probability with three digits, never as 1 or 0 by rounding."""
    return "> 0.999" if 0.9995 <= share < 1 else "< 0.001" if 0 < share < 0.0005 else f"{share:.3f}"


def side_by_side(film: NDArray[np.uint8], heat: HeatMap | None) -> NDArray[np.uint8]:
    """Put a film and its heat map side by side, at a size that a screen can show.

    Parameters
    ----------
    film
        (H, W) uint8.
    heat
        Its heat map; without one the film stands alone.

    Returns
    -------
    ndarray of uint8
        (h, w, 3) RGB; the longer side of each panel has `SHORTEST` to `LONGEST` pixels.
    """
    height, width = film.shape
    longer = max(height, width)
    scale = min(max(longer, SHORTEST), LONGEST) / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.asarray(cv2.resize(film, size, interpolation=way), np.uint8)
    if heat is None:
        return np.repeat(shown[..., None], 3, axis=2)
    values = np.asarray(cv2.resize(heat.values, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return replace(heat, values=values, film=shown).beside()


def captioned(picture: NDArray[np.uint8], headline: str, lines: Sequence[str]) -> NDArray[np.uint8]:
    """Burn text in above a picture; nothing of the picture is covered.

    Parameters
    ----------
    picture
        (H, W, 3) RGB.
    headline
        Drawn larger.
    lines
        Below it; broken where they are too long.

    Returns
    -------
    ndarray of uint8
        (H + caption, W or more, 3) RGB.
    """
    width = max(picture.shape[1], _NARROWEST)
    size = max(18, width // 64)
    large, small = _font(size * 4 // 3), _font(size)
    rows = [(text, large, (255, 214, 90)) for text in _wrapped(headline, large, width)]
    for line in lines:
        rows += [(text, small, (235, 235, 235)) for text in _wrapped(line, small, width)]
    heights = [round(font.size * 1.4) for _, font, _ in rows]
    top = sum(heights) + 2 * _MARGIN
    canvas = Image.new("RGB", (width, top + picture.shape[0]))
    canvas.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, top))
    pen, y = ImageDraw.Draw(canvas), _MARGIN
    for (text, font, colour), height in zip(rows, heights, strict=True):
        pen.text((_MARGIN, y), text, font=font, fill=colour)
        y += height
    return np.array(canvas, dtype=np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same everywhere."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and font.getlength(longer) <= width - 2 * _MARGIN:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows


def structured_report(
    result: Result, regions: Sequence[PlanarROIMeasurementsAndQualitativeEvaluations] = ()
) -> bytes:
    """Write the prediction of a film as a TID 1500 report of its study.

    One group of measurements: the probability of each class, each disease's score and the score from which it
    is named (with a site file, the site's), the predicted class, each quality finding as present or absent,
    the algorithm with its weights' digest, and a comment. A film that was left unsure is coded as not
    assessed, with the reason, and has no class, no probability and no score. Where the film was not
    predicted there are no measurements, and the comment says why. The document is
    partial, preliminary and unverified: no physician has seen it.

    Parameters
    ----------
    result
        With its prediction, if there is one.
    regions
        Further groups, one for each outlined region; see `cxrlens.pacs.overlay.region_groups`.

    Returns
    -------
    bytes
        A Comprehensive SR file.
    """
    with quietly():
        model = result.model
        scheme = CodingSchemeIdentificationItem(
            designator=SCHEME, name="Concepts of cxrlens", responsible_organization="cxrlens"
        )
        device = DeviceObserverIdentifyingAttributes(
            uid=model.uid_for("device", "cxrlens"),
            name="cxrlens",
            manufacturer_name="cxrlens",
            model_name=model.name,
            serial_number=model.digest,
        )
        report = MeasurementReport(
            observation_context=ObservationContext(
                observer_device_context=ObserverContext(codes.DCM.Device, device)
            ),
            procedure_reported=PLAIN_CHEST_FILM,
            imaging_measurements=[_measurements(result), *regions],
            title=codes.DCM.ImagingMeasurementReport,
        )
        dataset = ComprehensiveSR(
            evidence=[result.header.repeated],
            content=report[0],
            coding_schemes=[scheme],
            **origin(result, REPORT),
        )
        return encoded(dataset, result)


def _measurements(result: Result) -> MeasurementsAndQualitativeEvaluations:
    """Return the group of measurements: here a prediction becomes codes."""
    header, model, prediction = result.header, result.model, result.prediction
    film = header.repeated
    evaluations = [
        QualitativeEvaluation(
            own_code("suitability", "Suitability for the model"),
            own_code("unsuitable", "Not suitable: not predicted"),
        )
    ]
    measurements = []
    if prediction is not None and not prediction.answered:
        why = own_code(
            prediction.reason.replace(" the ", " ").replace(" ", "-"), REASONS[prediction.reason]
        )
        evaluations = [
            QualitativeEvaluation(
                own_code("predicted", "Predicted class"), own_code("not-assessed", "Not assessed")
            ),
            QualitativeEvaluation(own_code("reason", "Reason why it was not assessed"), why),
        ]
    elif prediction is not None:
        name = prediction.predicted
        concept = _CLASSES.get(name) or own_code(f"class-{name}", name)
        evaluations = [QualitativeEvaluation(own_code("predicted", "Predicted class"), concept)]
        measurements = [
            Measurement(
                own_code(f"p-{name}", f"Probability of {name}"),
                round(float(share), _DIGITS),
                codes.UCUM.NoUnits,
            )
            for name, share in prediction.probabilities.items()
        ]
        for name, threshold in prediction.thresholds.items():
            for code, meaning, score in (
                (f"s-{name}", f"Score of {name}, 0 to 100", prediction.scores[name]),
                (f"t-{name}", f"Score from which {name} is named", threshold),
            ):
                measurements.append(
                    Measurement(own_code(code, meaning), round(score, 1), codes.UCUM.NoUnits)
                )
    for name, found in result.findings.items():
        defect = own_code(name, _DEFECTS.get(name, f"Film is {name}"))
        evaluations.append(
            QualitativeEvaluation(defect, codes.SCT.Present if found else codes.SCT.Absent)
        )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=model.uid_for("tracking", header.uid), identifier="Whole film"
        ),
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model.digest,
            parameters=[
                f"model digest {model.digest}",
                f"quality chain {model.chain}",
                f"cxrlens {model.program}",
                *([f"site {model.site}"] if model.site else []),
            ],
        ),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)],
    )
    # Some readers (dsr2html) show numbers without their names: the sentence has both.
    said = f"Predicted {prediction.predicted}." if prediction and prediction.answered else ""
    comment = " ".join(filter(None, (NOTICE, result.remark, said, *_scores(prediction))))
    contains = RelationshipTypeValues.CONTAINS
    group[0].ContentSequence.append(TextContentItem(codes.DCM.Comment, comment, contains))
    return group


def origin(result: Result, kind: str) -> dict[str, Any]:
    """Return the arguments that every result's dataset is made with: its UIDs and who made it.

    The films of a study share one series a kind and model.
    """
    header, model = result.header, result.model
    return {
        "series_instance_uid": model.uid_for(f"{kind} series", header.study),
        "series_number": _SERIES_NUMBERS[kind],
        "sop_instance_uid": model.uid_for(kind, header.uid),
        "instance_number": header.repeated.InstanceNumber,
        "manufacturer": "cxrlens",
        "manufacturer_model_name": model.name[:64],
        "device_serial_number": model.digest,
        "software_versions": model.program,
        "series_description": f"cxrlens {kind}: {_NOTICE_OF_A_SERIES}",
    }


_OF_THE_RESULT = frozenset({"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber"})
"""Elements that a result does not share with its film."""


def encoded(dataset: Dataset, result: Result) -> bytes:
    """Return the file of a result: patient and study as the film has them, every moment that of `made`.

    So the same film, model and moment give the same bytes, and what is sent twice is one instance.
    """
    for element in result.header.repeated:
        if element.keyword not in _OF_THE_RESULT:
            dataset[element.tag] = element
    date, time = f"{result.made:%Y%m%d}", f"{result.made:%H%M%S}"
    for moment in (
        "InstanceCreation{}",
        "Content{}",
        "{}OfSecondaryCapture",
        "PresentationCreation{}",
    ):
        if moment.format("Date") in dataset:
            setattr(dataset, moment.format("Date"), date)
            setattr(dataset, moment.format("Time"), time)
    for tool in dataset.get("ContributingEquipmentSequence", []):
        tool.ContributionDateTime = date + time
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
