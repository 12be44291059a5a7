"""Drawn films as DICOM objects that a DX or CR machine might send."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset

from cxrlens.phantoms import draw_phantom

CR = uid.ComputedRadiographyImageStorage
DX = uid.DigitalXRayImageStorageForPresentation
CT = uid.CTImageStorage
ROOT = "1.2.826.0.1.3680043.10.511"
"""Below it the tests make their UIDs; nobody else's films have them."""

NAME, PATIENT = "Rossi^Maria", "MRN0042"


@cache
def pixels_of(seed: int, side: int = 64):
    label = ("normal", "pneumonia", "tuberculosis")[seed % 3]
    return draw_phantom(seed, label, side).film


def film_dataset(number: int, *, study: int | None = None, kind=DX, side=64, **tags) -> Dataset:
    """A film with a whole DX header; `number` decides its UIDs, pixels and, if not given, its study."""
    pixels = pixels_of(number % 12, side)
    study = number if study is None else study
    film = Dataset()
    film.SpecificCharacterSet = "ISO_IR 192"
    film.ImageType = ["ORIGINAL", "PRIMARY", ""]
    film.SOPClassUID, film.SOPInstanceUID = kind, f"{ROOT}.3.{number}"
    film.StudyInstanceUID, film.SeriesInstanceUID = f"{ROOT}.1.{study}", f"{ROOT}.2.{number}"
    film.StudyDate = film.AcquisitionDate = film.ContentDate = "20240229"
    film.StudyTime = film.AcquisitionTime = film.ContentTime = "101500"
    film.AccessionNumber, film.StudyID = f"A{study}", f"{study}"
    film.Modality = {CR: "CR", CT: "CT"}.get(kind, "DX")
    film.Manufacturer, film.ReferringPhysicianName = "Drawn", "Bianchi^Luca"
    film.PatientName, film.PatientID = NAME, PATIENT
    film.PatientBirthDate, film.PatientSex = "19700101", "F"
    film.BodyPartExamined, film.ViewPosition = "CHEST", "PA"
    film.PatientOrientation = ["L", "F"]
    film.SeriesNumber, film.InstanceNumber = 1, 1
    film.BurnedInAnnotation, film.PresentationIntentType = "NO", "FOR PRESENTATION"
    film.PixelIntensityRelationship, film.PixelIntensityRelationshipSign = "LOG", -1
    film.RescaleIntercept, film.RescaleSlope, film.RescaleType = 0, 1, "US"
    film.PresentationLUTShape, film.LossyImageCompression = "IDENTITY", "00"
    film.WindowCenter, film.WindowWidth = 2048, 4096
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = (pixels.astype(np.uint16) * 16).tobytes()
    film["PixelData"].VR = "OW"
    with disable_value_validation():  # machines write what they like
        for keyword, value in tags.items():
            if value is None:
                delattr(film, keyword)
            else:
                setattr(film, keyword, value)
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return film


def film_bytes(number: int, **options) -> bytes:
    file = io.BytesIO()
    with disable_value_validation():
        film_dataset(number, **options).save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_film(folder: Path, number: int, **options) -> Path:
    path = folder / f"{number}.dcm"
    path.write_bytes(film_bytes(number, **options))
    return path
