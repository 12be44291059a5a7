"""What is said of one film, and how it is written: what a capture and a report share."""

import datetime
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from cxrlens.radiographs.quiet import hush
from cxrlens.serving.dicom_node.header import FilmHeader
from cxrlens.serving.dicom_node.identity import ModelIdentity

NOTICE = "Research use, not a diagnosis"
"""Burnt into every picture and said in every report."""

CAPTURE, REPORT = "capture", "report"
"""The kinds of results, which their UIDs are derived from."""

# What it logs and warns of quotes names.
hush("highdicom")

_SERIES_NUMBERS = {CAPTURE: 9101, REPORT: 9102}


@dataclass(frozen=True)
class Result:
    """What the model says of a film, or why it says nothing.

    Attributes
    ----------
    header
        Of the film.
    model
        Which model.
    made
        When; every date and time in what is written is this one.
    predicted
        The class that the model decides for; empty if the film was not predicted.
    probabilities
        By class.
    findings
        Quality findings: by defect, whether the film has it.
    remark
        A sentence that the reader must see; why the film was not predicted, if it was not.
    """

    header: FilmHeader
    model: ModelIdentity
    made: datetime.datetime
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, bool] = field(default_factory=dict)
    remark: str = ""


def origin(result: Result, kind: str) -> dict[str, Any]:
    """Arguments that every result's dataset is made with: its UIDs and who made it.

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
        "series_description": f"cxrlens {kind}: {NOTICE.lower()}",
    }


def encoded(dataset: Dataset, result: Result) -> bytes:
    """Give the file of a result: patient and study as the film has them, every moment that of `made`.

    So the same film, model and moment give the same bytes.
    """
    repeated = result.header.repeated
    for element in repeated:
        if element.keyword not in _OWN:
            dataset[element.tag] = element
    date, time = f"{result.made:%Y%m%d}", f"{result.made:%H%M%S}"
    for keyword in ("InstanceCreationDate", "ContentDate", "DateOfSecondaryCapture"):
        if keyword in dataset:
            setattr(dataset, keyword, date)
    for keyword in ("InstanceCreationTime", "ContentTime", "TimeOfSecondaryCapture"):
        if keyword in dataset:
            setattr(dataset, keyword, time)
    for tool in dataset.get("ContributingEquipmentSequence", []):
        tool.ContributionDateTime = date + time
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


_OWN = frozenset({"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber"})
"""What a result does not share with its film."""
