"""A small LIDC-IDRI: chests of three patients as DICOM, and a database of their marks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

COLUMNS, ROWS, SLICES = 140, 110, 60
SPACING_MM = 2.5
ORIGIN_MM = (-175.0, -137.5, -80.0)
Z_MM = [ORIGIN_MM[2] + SPACING_MM * k for k in range(SLICES)]
PATIENTS = ("LIDC-IDRI-9001", "LIDC-IDRI-9002", "LIDC-IDRI-9003")
NODULE = (48, 55, 30)
"""Column, row and slice of the middle of the first nodule of each patient, in the right lung."""
LONELY = (95, 50, 4)
"""Of the second, which one reader marked, near the lower end of the scan."""

TABLES = """
CREATE TABLE scans (id, study_instance_uid, series_instance_uid, patient_id, slice_thickness, pixel_spacing,
                    contrast_used, is_from_initial, sorted_dicom_file_names);
CREATE TABLE annotations (id, scan_id, _nodule_id, subtlety, internalStructure, calcification, sphericity, margin,
                          lobulation, spiculation, texture, malignancy);
CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, dicom_file_name, coords);
CREATE TABLE zvals (id, scan_id, val);
"""


def series_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.7.{number}"


def square(low: int, high: int) -> list[tuple[int, int]]:
    """Outline of the square from (low, low) to (high, high), pixel by pixel."""
    side = range(low, high)
    return (
        [(i, low) for i in side]
        + [(high, i) for i in side]
        + [(high + low - i, high) for i in side]
        + [(low, high + low - i) for i in side]
    )


def chest_hu(number: int) -> np.ndarray:
    """HU (column, row, slice): a body, two lungs and two nodules; different noise for each patient."""
    i, j, k = np.indices((COLUMNS, ROWS, SLICES), dtype=np.float32)
    hu = np.full(i.shape, -1000.0)
    hu[((i - 70) / 62) ** 2 + ((j - 55) / 45) ** 2 < 1] = 40
    for column in (45, 95):
        hu[((i - column) / 17) ** 2 + ((j - 55) / 26) ** 2 + ((k - 28) / 36) ** 2 < 1] = -850
    for column, row, plane in (NODULE, LONELY):
        hu[(i - column) ** 2 + (j - row) ** 2 + (k - plane) ** 2 < 6] = 30
    noisy = (hu + np.random.default_rng(number).normal(0, 10, hu.shape)).round()
    return np.maximum(noisy, -1024).astype(np.int16)


def write_series(folder: Path, number: int, name: str) -> Path:
    """One patient's CT, one file for each slice; `name` formats the slice's number."""
    folder.mkdir(parents=True)
    hu = chest_hu(number)
    for k in range(SLICES):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series_uid(number)}.{k + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = f"{series_uid(number)}.900", series_uid(number)
        data.FrameOfReferenceUID = f"{series_uid(number)}.901"
        data.Modality, data.PatientID, data.PatientName = "CT", PATIENTS[number - 1], ""
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber, data.SliceThickness = k + 1, SPACING_MM
        data.Rows, data.Columns, data.PixelSpacing = ROWS, COLUMNS, [SPACING_MM, SPACING_MM]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [ORIGIN_MM[0], ORIGIN_MM[1], Z_MM[k]]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = (hu[..., k].T + 1024).astype("<u2").tobytes()
        data.save_as(folder / name.format(k + 1), enforce_file_format=True)
    return folder


def write_database(path: Path) -> Path:
    """Three scans: in each a nodule of three readers of growing masks, and one of a single reader."""
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    contour = 0
    for number, patient in enumerate(PATIENTS, 1):
        uid = series_uid(number)
        scan = (number, f"{uid}.900", uid, patient, SPACING_MM, SPACING_MM, 0, 0, "")
        connection.execute("INSERT INTO scans VALUES (?,?,?,?,?,?,?,?,?)", scan)
        connection.executemany("INSERT INTO zvals VALUES (?,?,?)", [(None, number, z) for z in Z_MM])
        for reader in range(4):
            mark = 10 * number + reader
            connection.execute(
                "INSERT INTO annotations VALUES (?,?,?,5,1,6,4,4,1,1,5,?)", (mark, number, f"n{reader}", reader + 1)
            )
            column, row, plane = NODULE if reader < 3 else LONELY
            half = 3 + reader % 3
            outline = "\n".join(f"{x + column},{y + row}" for x, y in square(-half, half))
            for k in (plane - 1, plane, plane + 1):
                contour += 1
                connection.execute("INSERT INTO contours VALUES (?,?,1,?,'',?)", (contour, mark, Z_MM[k], outline))
    connection.commit()
    connection.close()
    return path


def write_download(root: Path) -> dict[str, Path]:
    """The first patient in the classic layout, the second in the NBIA Data Retriever's, the third not at all.

    A radiograph's folder lies beside the second.
    """
    uid = series_uid(1)
    classic = root / "classic" / "LIDC-IDRI" / PATIENTS[0] / f"{uid}.900" / uid
    study = root / "manifest-1600709154662" / "LIDC-IDRI" / PATIENTS[1] / "01-01-2000-NA-NA-30178"
    folders = {
        PATIENTS[0]: write_series(classic, 1, "{:06d}.dcm"),
        PATIENTS[1]: write_series(study / "3000566.000000-NA-03192", 2, "1-{:03d}.dcm"),
    }
    _write_radiograph(study / "1.000000-NA-00001", next(folders[PATIENTS[1]].iterdir()))
    return folders


def _write_radiograph(folder: Path, like: Path) -> None:
    import pydicom

    data = pydicom.dcmread(like)
    data.Modality, data.SeriesInstanceUID = "DX", f"{series_uid(2)}.77"
    folder.mkdir(parents=True)
    data.save_as(folder / "1-1.dcm")
