"""The files of a result, a function a format; what each needs is imported when it's written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monai_lung.model import Report


def _json(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import findings

    findings.write(report, folder / "findings.json", show_patient)


def _nifti(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.io.output import write_nifti

    write_nifti(folder / "lungs.nii.gz", report.lungs.labels, report.ct.affine_lps)
    write_nifti(folder / "nodules.nii.gz", report.nodule_labels(), report.ct.affine_lps)


def _seg(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import dicom_seg

    dicom_seg.write(report, folder / "seg.dcm")


def _sr(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import dicom_sr

    dicom_sr.write(report, folder / "sr.dcm", folder / "seg.dcm")


def _html(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import html

    html.write(report, folder / "report.html", show_patient)


def _figure(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import figure

    figure.write(report, folder / "figure.png")


def _csv(report: Report, folder: Path, show_patient: bool) -> None:
    from monai_lung.report import table

    table.write_csv(report, folder / "nodules.csv")


WRITERS: dict[str, Callable[[Report, Path, bool], None]] = {
    "seg": _seg,
    "sr": _sr,
    "json": _json,
    "nifti": _nifti,
    "html": _html,
    "figure": _figure,
    "csv": _csv,
}
"""Format to what writes it into a folder: called with the report, the folder, and whether the patient may be named."""
