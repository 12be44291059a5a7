"""The Structured Report of a film: TID 1500, Measurement Report (PS3.16)."""

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

from cxrlens.radiographs.quiet import quietly
from cxrlens.serving.dicom_node import concepts
from cxrlens.serving.dicom_node.result import NOTICE, REPORT, Result, encoded, origin

_DIGITS = 6
"""Decimals of a probability; a decimal string has room for 16 characters."""


def structured_report(result: Result) -> bytes:
    """Write what is said of a film as a TID 1500 report of its study.

    One group of measurements: the probability of each class, the predicted class, each
    quality finding as present or absent, the algorithm with its weights' digest, and a comment. Where
    the film was not predicted there are no measurements, and the comment says why. The document is
    partial, preliminary and unverified: no physician has seen it.

    Returns
    -------
    bytes
        A Comprehensive SR file.
    """
    with quietly():
        header, model = result.header, result.model
        film = header.repeated
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
            procedure_reported=concepts.PLAIN_CHEST_FILM,
            imaging_measurements=[_measurements(result)],
            title=codes.DCM.ImagingMeasurementReport,
        )
        dataset = ComprehensiveSR(
            evidence=[film],
            content=report[0],
            coding_schemes=[concepts.coding_scheme()],
            **origin(result, REPORT),
        )
        return encoded(dataset, result)


def _measurements(result: Result) -> MeasurementsAndQualitativeEvaluations:
    header, model = result.header, result.model
    film = header.repeated
    evaluations = [
        QualitativeEvaluation(concepts.PREDICTED, concepts.class_of(result.predicted))
        if result.predicted
        else QualitativeEvaluation(concepts.SUITABILITY, concepts.UNSUITABLE)
    ]
    evaluations += [
        QualitativeEvaluation(concepts.defect(name), concepts.PRESENT if found else concepts.ABSENT)
        for name, found in result.findings.items()
    ]
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
            ],
        ),
        measurements=[
            Measurement(
                concepts.probability_of(name), round(float(share), _DIGITS), concepts.NO_UNITS
            )
            for name, share in result.probabilities.items()
        ],
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)],
    )
    comment = f"{NOTICE}. {result.remark}".strip()
    group[0].ContentSequence.append(
        TextContentItem(concepts.COMMENT, comment, RelationshipTypeValues.CONTAINS)
    )
    return group
