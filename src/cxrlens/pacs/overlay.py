"""Where the model looked, as outlines over the film itself: a presentation state, and regions of the report.

A viewer lays a presentation state (GSPS, PS3.3 A.33.1) over the film it refers to, and takes it off again.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from highdicom.pr import GraphicTypeValues as Graphic
from highdicom.sr import (
    AlgorithmIdentification,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    SourceImageForRegion,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cxrlens.explanation.heatmap import HeatMap
from cxrlens.pacs.results import OVERLAY, Result, encoded, origin, own_code
from cxrlens.prediction.trust import NOTICE
from cxrlens.radiographs.decoding import quietly

HALF = 0.5
"""Value of the map from which a part is outlined: for a map of evidence, more likely than not; for one that
knows its strongest place alone (Grad-CAM), half of that."""

MOST = 8
"""So many regions are outlined, the strongest."""

LEAST = 0.0005
"""Share of the film that a region must have: smaller ones are noise, and cannot be seen."""

_GRID = 1024
"""Longer side in pixels on which outlines are found; maps are far coarser than that."""

_TEXT_BOX = (0.02, 0.02, 0.98, 0.08)
_ORANGE = CIELabColor(75.0, 30.0, 70.0)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the film that speaks strongly for the class.

    Attributes
    ----------
    outline
        (N, 2) float32, column and row of each corner on the film, the last one the first; 0, 0 is the upper
        left corner of the first pixel, as PS3.3 has it for PIXEL units (C.10.5.1.2) and for SCOORD (C.18.6).
    strongest
        Largest value of the map in it, in [0, 1].
    """

    outline: NDArray[np.float32]
    strongest: float


def regions_of(heat: HeatMap) -> list[Region]:
    """Outline the parts of a map that reach `HALF`, the strongest first; there may be none.

    Parts that speak against the class are left out, and so is a hole within a part.
    """
    height, width = heat.values.shape
    scale = min(1.0, _GRID / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    values = np.asarray(cv2.resize(heat.values, size, interpolation=cv2.INTER_AREA), np.float32)
    strong = (values >= HALF).astype(np.uint8)
    count, parts, facts, _ = cv2.connectedComponentsWithStats(strong, connectivity=4)
    found = []
    for part in range(1, count):
        if facts[part, cv2.CC_STAT_AREA] >= LEAST * values.size:
            inside = parts == part
            outline = _outline(inside) * (width / size[0], height / size[1])
            found.append(Region(outline.astype(np.float32), float(values[inside].max())))
    return sorted(found, key=lambda region: -region.strongest)[:MOST]


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the closed outer edge of a part, (N, 2), along the borders of its pixels."""
    # Doubled, a contour through pixels' middles lies within a quarter of a pixel of their borders, and
    # encloses an area also where the part is one pixel thin.
    doubled = np.repeat(np.repeat(inside, 2, axis=0), 2, axis=1).astype(np.uint8)
    edges, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = cv2.approxPolyDP(edges[0], max(inside.shape) / 500, True)[:, 0]
    return (np.concatenate([corners, corners[:1]]).astype(np.float64) + 0.5) / 2


def presentation_state(result: Result, heat: HeatMap) -> bytes | None:
    """Write the outlines of a map as a presentation state of the film, in the film's own geometry.

    Its one graphic layer holds the outlines and a line of text. The film is shown as its own header says:
    rescaled, windowed and inverted alike.

    Parameters
    ----------
    result
        With its prediction.
    heat
        Its heat map.

    Returns
    -------
    bytes
        A DICOM file; None where the map has no region to outline, or the film is in colour.
    """
    regions = regions_of(heat)
    if not regions or result.header.shown.get("SamplesPerPixel", 1) != 1:
        return None
    with quietly():
        try:
            return _state(result, heat, regions, result.header.shown)
        except Exception:  # noqa: BLE001 - highdicom on arbitrary windows and lookup tables
            # Nothing but the geometry is needed for the outlines; the viewer chooses a window itself.
            return _state(result, heat, regions, Dataset())


def _state(result: Result, heat: HeatMap, regions: list[Region], shown: Dataset) -> bytes:
    film = Dataset()
    film.update(result.header.repeated)
    film.update(shown)
    film.SamplesPerPixel = 1
    film.setdefault("PhotometricInterpretation", "MONOCHROME2")
    film.Rows, film.Columns = heat.film.shape
    layer = GraphicLayer("EVIDENCE", 1, f"Research use: {heat.method}"[:64], _ORANGE)
    words = f"cxrlens: where the model looked for {heat.target} ({heat.method}). {NOTICE}"
    text = TextObject(
        words,
        AnnotationUnitsValues.DISPLAY,
        bounding_box=_TEXT_BOX,
        text_justification=TextJustificationValues.LEFT,
    )
    outlines = [
        GraphicObject(
            Graphic.POLYLINE,
            region.outline,
            AnnotationUnitsValues.PIXEL,
            tracking_id=name,
            tracking_uid=result.model.uid_for(name, result.header.uid),
        )
        for name, region in _named(regions)
    ]
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[film],
        content_label="CXRLENS_EVIDENCE",
        content_description=f"Where the model looked for {heat.target}"[:64],
        graphic_layers=[layer],
        graphic_annotations=[
            GraphicAnnotation([film], layer, graphic_objects=outlines, text_objects=[text])
        ],
        # It overrides the film's own: without this one, a film stored as a negative would be shown as one.
        presentation_lut_transformation=PresentationLUTTransformation(
            "INVERSE" if film.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
        ),
        **origin(result, OVERLAY),
    )
    state.Laterality = ""  # a chest has both sides
    if "ModalityLUTSequence" in shown:  # highdicom passes over it
        state.ModalityLUTSequence = shown.ModalityLUTSequence
        for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType"):
            if keyword in state:
                delattr(state, keyword)
    return encoded(state, result)


def region_groups(
    result: Result, heat: HeatMap
) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """Return a group of the report for each region (TID 1410): its outline as SCOORD on the film.

    Each bears the tracking UID of its outline in the presentation state.
    """
    film, model = result.header.repeated, result.model
    with quietly():
        return [
            PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=model.uid_for(name, film.SOPInstanceUID), identifier=name
                ),
                referenced_region=ImageRegion(
                    GraphicTypeValues.POLYLINE,
                    region.outline,
                    SourceImageForRegion(film.SOPClassUID, film.SOPInstanceUID),
                ),
                finding_type=own_code(f"for-{heat.target}", f"Speaks for {heat.target}"),
                algorithm_id=AlgorithmIdentification(
                    name=model.name, version=model.digest, parameters=[f"map {heat.method}"]
                ),
                measurements=[
                    Measurement(
                        own_code("strongest", "Strongest value of the map in the region"),
                        round(region.strongest, 4),
                        codes.UCUM.NoUnits,
                    )
                ],
            )
            for name, region in _named(regions_of(heat))
        ]


def _named(regions: list[Region]) -> list[tuple[str, Region]]:
    return [(f"Region {number}", region) for number, region in enumerate(regions, 1)]
