"""Every way in which a header says that a film is not frontal."""

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxrlens.radiographs.dicom_tags import unsuitable, view_of


def code(meaning="", value="", **more):
    item = Dataset()
    item.CodeMeaning, item.CodeValue = meaning, value
    for keyword, sequence in more.items():
        setattr(item, keyword, sequence)
    return Sequence([item])


def header(**tags):
    film = Dataset()
    for keyword, value in tags.items():
        setattr(film, keyword, value)
    return film


POSITIONS = "L R LL RL LAT LATERAL lat LLAT AP_LAT LLD RAO OBLIQUE SAG".split()  # noqa: SIM905

SIDEWAYS = {
    **{view: {"ViewPosition": view} for view in [*POSITIONS, "AP LAT", "LEFT LATERAL", "PA/LAT"]},
    **{
        "\\".join(ends): {"PatientOrientation": ends}
        for ends in (["A", "F"], ["P", "F"], ["A", "H"], ["AF", "FP"], ["P", "FA"], ["LA", "F"])
    },
    "L\\P, axial": {"PatientOrientation": ["L", "P"]},
    "PA by position, P\\F": {"ViewPosition": "PA", "PatientOrientation": ["P", "F"]},
    "code's meaning": {"ViewCodeSequence": code("left lateral")},
    "oblique": {"ViewCodeSequence": code("antero-posterior oblique")},
    "code's value": {"ViewCodeSequence": code("", "R-10236")},
    "code of SNOMED CT": {"ViewCodeSequence": code("", "399198007")},
    "modifier": {
        "ViewCodeSequence": code("frontal", ViewModifierCodeSequence=code("Oblique")),
    },
    "image type": {"ImageType": ["ORIGINAL", "PRIMARY", "LATERAL"]},
    "series": {"SeriesDescription": "Chest lateral"},
    "protocol": {"ProtocolName": "THORAX_LAT"},
    "study": {"StudyDescription": "XR CHEST LATERAL"},
    "Spanish": {"SeriesDescription": "TORAX PERFIL"},
    "Spanish, oblique": {"SeriesDescription": "Tórax oblicua"},
}

FRONTAL = {
    "nothing": {},
    **{view: {"ViewPosition": view} for view in ("PA", "AP", "", "AP BILATERAL", "AP L")},
    **{
        "\\".join(ends): {"PatientOrientation": ends}
        for ends in (["L", "F"], ["R", "F"], ["L", "H"], ["L", "FA"])
    },
    "code": {"ViewCodeSequence": code("postero-anterior", "R-40888")},
    "two films": {"SeriesDescription": "CHEST PA AND LATERAL"},
    "two films, in Spanish": {"StudyDescription": "TORAX FRENTE Y PERFIL"},
    "lying": {"SeriesDescription": "TORAX DECUBITO SUPINO"},
    "two views": {"StudyDescription": "XR CHEST 2 VIEWS LAT"},
    "both sides": {"SeriesDescription": "RIBS BILATERAL"},
    "laterality": {"SeriesDescription": "Laterality unknown"},
    "late": {"SeriesDescription": "late follow-up, plate 3"},
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("tags", SIDEWAYS.values(), ids=SIDEWAYS)
def test_it_is_said_that_a_film_is_not_frontal(tags):
    assert unsuitable(header(**tags)).startswith("not a frontal film (")
    assert view_of(header(**tags)) not in ("", "PA", "AP")


@pytest.mark.parametrize("tags", FRONTAL.values(), ids=FRONTAL)
def test_nothing_is_said_against_a_frontal_film(tags):
    assert unsuitable(header(**tags)) == ""
    assert view_of(header(**tags)) == tags.get("ViewPosition", "")


def test_descriptions_are_never_quoted():
    assert "Rossi" not in unsuitable(header(SeriesDescription="Rossi lateral"))
