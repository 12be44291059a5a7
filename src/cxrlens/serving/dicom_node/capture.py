"""The Secondary Capture of a prediction (PS3.3 A.8.1): what a reader sees beside the film."""

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from cxrlens.explanation.heatmap import HeatMap
from cxrlens.radiographs.quiet import quietly
from cxrlens.serving.dicom_node.concepts import SOURCE_IMAGE
from cxrlens.serving.dicom_node.picture import captioned, side_by_side
from cxrlens.serving.dicom_node.result import CAPTURE, NOTICE, Result, encoded, origin


def secondary_capture(result: Result, film: NDArray[np.uint8], heat: HeatMap | None) -> bytes:
    """Write film and heat map side by side as a Secondary Capture of the film's study.

    Parameters
    ----------
    result
        What is said of the film; burnt in above it.
    film
        (H, W) uint8 as it was read.
    heat
        Its heat map, or None if the model has none.

    Returns
    -------
    bytes
        A DICOM file, RGB, uncompressed.
    """
    with quietly():
        picture = captioned(side_by_side(film, heat), NOTICE, _lines(result, heat))
        header = result.header
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
        dataset.SourceImageSequence = [_reference(header.repeated)]
        if header.burned_in:
            dataset.BurnedInAnnotation = header.burned_in
        return encoded(dataset, result)


def _share(share: float) -> str:
    """Write a probability with three digits, never as 1 or 0 by rounding."""
    return "> 0.999" if 0.9995 <= share < 1 else "< 0.001" if 0 < share < 0.0005 else f"{share:.3f}"


def _lines(result: Result, heat: HeatMap | None) -> list[str]:
    model = result.model
    ranked = sorted(result.probabilities.items(), key=lambda item: -item[1])
    present = [name.replace("_", " ") for name, found in result.findings.items() if found]
    lines = [
        f"Predicted {result.predicted}; probabilities: "
        + " · ".join(f"{name} {_share(share)}" for name, share in ranked),
        "Quality findings: " + (", ".join(present) or "none"),
        f"Model {model.name}, version {model.digest}, cxrlens {model.program}",
        f"Left: the film. Right: where the model looked for {heat.target} ({heat.method})"
        if heat
        else "This model gives no heat map",
    ]
    return [result.remark, *lines] if result.remark else lines


def _reference(film: Dataset) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue = SOURCE_IMAGE.value
    purpose.CodingSchemeDesignator = SOURCE_IMAGE.scheme_designator
    purpose.CodeMeaning = SOURCE_IMAGE.meaning
    reference = Dataset()
    reference.ReferencedSOPClassUID = film.SOPClassUID
    reference.ReferencedSOPInstanceUID = film.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
