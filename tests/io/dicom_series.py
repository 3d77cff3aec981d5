"""A tiny builder of CT series, so that each test says only what is odd about its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1, 0, 0, 0, 1, 0)


def body_hu(columns: int = 40, rows: int = 32, slices: int = 12, seed: int = 0) -> NDArray[np.int16]:
    """int16 (X, Y, Z): air, a body of soft tissue, a lung in it, noise; no symmetry that could hide a flip."""
    random = np.random.default_rng(seed)
    hu = random.normal(0, 12, (columns, rows, slices))
    i, j, k = np.indices(hu.shape)
    inside = ((i - columns * 0.45) / (columns * 0.4)) ** 2 + ((j - rows * 0.5) / (rows * 0.4)) ** 2 < 1
    lung = ((i - columns * 0.3) / (columns * 0.15)) ** 2 + ((j - rows * 0.45) / (rows * 0.2)) ** 2 < 1
    hu += np.where(lung, -850, np.where(inside, 40, -1000)) + 2 * k
    return np.clip(np.rint(hu), -1024, 3000).astype(np.int16)


class SeriesBuilder:
    """Slices of one series as pydicom datasets; change them, then `write`."""

    def __init__(
        self,
        hu: NDArray[np.int16] | None = None,
        *,
        origin: tuple[float, float, float] = (-20.0, -30.0, -100.0),
        orientation: tuple[float, ...] = AXIAL,
        spacing: tuple[float, float, float] = (0.75, 0.75, 2.0),
        shear: tuple[float, float, float] = (0.0, 0.0, 0.0),
        study_uid: str = "",
        signed: bool = True,
        intercept: float = -1024,
        slope: float = 1,
        seed: int = 0,
        **elements: Any,
    ) -> None:
        """`spacing` is along i, j, k; `shear` is added to the position from slice to slice, in LPS mm."""
        self.hu = body_hu(seed=seed) if hu is None else hu
        row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
        self.affine = np.eye(4)
        self.affine[:3, 0], self.affine[:3, 1] = row * spacing[0], column * spacing[1]
        self.affine[:3, 2] = np.cross(row, column) * spacing[2] + shear
        self.affine[:3, 3] = origin
        common = {
            "SOPClassUID": CT_STORAGE,
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesDescription": "test",
            "StudyInstanceUID": study_uid or generate_uid(entropy_srcs=["study", str(seed)]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=["series", str(seed)]),
            "FrameOfReferenceUID": generate_uid(entropy_srcs=["frame", str(seed)]),
            "PatientID": "P-1",
            "PatientName": "Test^Patient",
            "StudyDate": "20240131",
            "ConvolutionKernel": "STANDARD",
            "SliceThickness": spacing[2],
            "ImageOrientationPatient": [float(x) for x in orientation],
            "PixelSpacing": [spacing[1], spacing[0]],
            "Rows": self.hu.shape[1],
            "Columns": self.hu.shape[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": int(signed),
            "RescaleSlope": slope,
            "RescaleIntercept": intercept,
        }
        common.update(elements)
        dtype = np.int16 if signed else np.uint16
        self.datasets = []
        for k in range(self.hu.shape[2]):
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            for name, value in common.items():
                setattr(data, name, value)
            data.SOPInstanceUID = generate_uid(entropy_srcs=["slice", str(seed), common["SeriesInstanceUID"], str(k)])
            data.InstanceNumber = k + 1
            position = self.affine @ (0, 0, k, 1)
            data.ImagePositionPatient = [float(f"{x:.6f}") for x in position[:3]]
            stored = np.rint((self.hu[:, :, k].T.astype(float) - intercept) / slope).astype(dtype)
            data.PixelData = np.ascontiguousarray(stored).tobytes()
            self.datasets.append(data)

    @property
    def uid(self) -> str:
        return str(self.datasets[0].SeriesInstanceUID)

    def write(self, folder: Path, names: list[str] | None = None) -> Path:
        """One file for each slice; `names` may hold folders."""
        for number, data in enumerate(self.datasets):
            path = folder / (names[number] if names else f"{number:04d}.dcm")
            path.parent.mkdir(parents=True, exist_ok=True)
            save(data, path)
        return folder


def save(data: Dataset, path: Path, syntax: str = "") -> Path:
    """Write a dataset as a DICOM file, with an uncompressed transfer syntax where one is given."""
    if syntax or not hasattr(data, "file_meta"):
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def assert_same_world(ct: Any, builder: SeriesBuilder, tolerance_mm: float = 0.01) -> None:
    """Every voxel that was built is found in the CT at its own place in the patient."""
    index = np.indices(builder.hu.shape).reshape(3, -1).T
    world = index @ builder.affine[:3, :3].T + builder.affine[:3, 3]
    found = ct.to_index(world)
    nearest = np.rint(found).astype(int)
    off_mm = np.abs((found - nearest) * ct.spacing_mm).max()
    assert off_mm <= tolerance_mm
    assert ct.hu.shape[2] == builder.hu.shape[2]
    np.testing.assert_array_equal(ct.hu[tuple(nearest.T)], builder.hu[tuple(index.T)])
