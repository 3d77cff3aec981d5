"""A phantom on disk: a DICOM series, and its truth beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_lung.io.output import replacing_folder, write_nifti
from monai_lung.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset
    from pydicom.uid import UID

    from monai_lung.phantom.make import Phantom

_INTERCEPT = -1024
_KERNEL = {"smooth": "B20", "standard": "B40", "sharp": "B70"}


def write_phantom(phantom: Phantom, folder: Path | str) -> Path:
    """Write `dicom/IM0001.dcm ...`, `truth/nodules.nii.gz`, `truth/lungs.nii.gz` and `truth/nodules.json`.

    The files appear together or not at all, and replace an earlier phantom. The same phantom gives the same UIDs.

    Returns:
        The folder of the DICOM series.

    Raises:
        OutputError: the folder can't be written.
    """
    folder = Path(folder)
    with replacing_folder(folder) as temporary:
        (temporary / "dicom").mkdir()
        (temporary / "truth").mkdir()
        for k in range(phantom.hu.shape[2]):
            _slice(phantom, k).save_as(temporary / "dicom" / f"IM{k + 1:04d}.dcm")
        write_nifti(temporary / "truth" / "nodules.nii.gz", phantom.nodule_labels, phantom.affine_lps)
        write_nifti(temporary / "truth" / "lungs.nii.gz", phantom.lung_labels, phantom.affine_lps)
        text = json.dumps(_truth(phantom), indent=1)
        (temporary / "truth" / "nodules.json").write_text(text + "\n", encoding="utf-8")
    return folder / "dicom"


def _truth(phantom: Phantom) -> dict[str, object]:
    """The truth as JSON: lengths in mm, volumes in mm3, points in LPS."""
    voxel_ml = abs(np.linalg.det(phantom.affine_lps[:3, :3])) / 1000
    return {
        "schema": "monai-lung/phantom/1",
        "note": "A synthetic image for trying things out and testing: it says nothing about accuracy.",
        "lungs_ml": {
            name: round(float((phantom.lung_labels == label).sum() * voxel_ml), 1)
            for label, name in ((1, "right"), (2, "left"))
        },
        "nodules": [
            {
                "id": true.id,
                "center_mm": [round(v, 3) for v in true.center_mm],
                "volume_mm3": round(true.volume_mm3, 2),
                "solid_volume_mm3": round(true.solid_volume_mm3, 2),
                "diameter_mm": round(true.diameter_mm, 3),
                "exact": true.exact,
                "shape": true.nodule.shape,
                "texture": true.nodule.texture,
                "pleural": true.nodule.pleural,
                "contour": true.nodule.contour.name if true.nodule.contour else None,
                "voxels": int((phantom.nodule_labels == true.id).sum()),
            }
            for true in phantom.nodules
        ],
    }


def _uid(phantom: Phantom, *what: object) -> UID:
    """A UID that the specification decides: the same phantom has the same, another one others."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["monai-lung phantom", repr(phantom.spec), *(str(w) for w in what)])


def _slice(phantom: Phantom, k: int) -> FileDataset:
    """Slice k as a CT Image Storage instance, explicit VR little endian."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(phantom, "instance", k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
    _identity(dataset, phantom, k)
    _geometry(dataset, phantom, k)
    _pixels(dataset, phantom, k)
    return dataset


def _identity(ds: FileDataset, phantom: Phantom, k: int) -> None:
    """Patient, study, series, equipment and SOP common."""
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(phantom, "study"), _uid(phantom, "series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid(phantom, "frame"), ""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Chest", "PHANTOM", "", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20000101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.StudyDescription, ds.SeriesDescription = "Synthetic chest phantom", f"Chest phantom {phantom.spec.kernel}"
    ds.Modality, ds.BodyPartExamined, ds.PatientPosition = "CT", "CHEST", phantom.spec.position
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "monai-lung", "phantom", __version__
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, k + 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]


def _geometry(ds: FileDataset, phantom: Phantom, k: int) -> None:
    """Where the slice lies, and how it was taken."""
    affine, spec = phantom.affine_lps, phantom.spec
    columns, rows = affine[:3, 0] / spec.pixel_mm, affine[:3, 1] / spec.pixel_mm
    ds.ImageOrientationPatient = [_ds(v) for v in (*columns, *rows)]
    ds.ImagePositionPatient = [_ds(v) for v in affine[:3, 3] + k * affine[:3, 2]]
    ds.SliceLocation = _ds(affine[2, 3] + k * affine[2, 2])
    ds.PixelSpacing = [_ds(spec.pixel_mm)] * 2
    ds.SliceThickness, ds.SpacingBetweenSlices = _ds(spec.slice_mm), _ds(spec.spacing_mm)
    ds.GantryDetectorTilt, ds.TableHeight = _ds(spec.tilt_deg), "146"
    ds.KVP, ds.ConvolutionKernel = "120", _KERNEL[spec.kernel]
    ds.ReconstructionDiameter = _ds(spec.size * spec.pixel_mm)
    if spec.blood_hu > 100:
        ds.ContrastBolusAgent = "simulated"


def _pixels(ds: FileDataset, phantom: Phantom, k: int) -> None:
    """Signed 16 bit, stored with an intercept as scanners do."""
    stored = (phantom.hu[:, :, k].T - _INTERCEPT).astype("<i2")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    if phantom.spec.padding_hu is not None:
        ds.add_new("PixelPaddingValue", "SS", phantom.spec.padding_hu - _INTERCEPT)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(_INTERCEPT), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "-600", "1500"
    ds.PixelData = stored.tobytes()


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{round(float(value), 6) + 0.0:.10g}"
