"""The report as a DICOM document for archives that know no HTML: an encapsulated PDF of the page, or a picture.

The page becomes a PDF by Chromium, without network and with a profile of its own. Where there is none, or it fails, the
figure goes as a secondary capture.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.io import replacing
from monai_lung.model import Report
from monai_lung.report.dicom_source import (
    CHARACTER_SET,
    DEVICE_NAME,
    algorithm_version,
    derived_uid,
    series_uid,
    source_headers,
)
from monai_lung.report.extras import require

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9003
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--no-pdf-header-footer"),
    *("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),  # a page that asks for anything gets nothing
)
_LIMIT_S = 120
_COPIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "IssuerOfPatientID"),
)
_log = logging.getLogger(__name__)


def find_chromium() -> str | None:
    """Path of the browser that makes PDFs, None where there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def write_document(report: Report, folder: Path) -> Path:
    """Write `report.dcm` beside the files of a result: of its report.html, else of its figure.png.

    Its UIDs follow from those of the SEG and SR beside it.

    Raises:
        InputError: the CT's instances can't be read any more.
        OutputError: it can't be written.
    """
    document = _captured(report, folder / "figure.png")
    chromium = find_chromium()
    if chromium is not None:
        try:
            document = _encapsulated(report, folder, _print(chromium, folder / "report.html"))
        except (OSError, subprocess.SubprocessError) as error:
            _log.warning("no PDF (%s): the report goes as a picture", type(error).__name__)
    document.SOPInstanceUID = _sop_uid(folder, document)
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    with replacing(folder / "report.dcm") as temporary:
        document.save_as(temporary, enforce_file_format=True)
    return folder / "report.dcm"


def _print(chromium: str, page: Path) -> bytes:
    """The page as a PDF."""
    with tempfile.TemporaryDirectory(prefix="monai-lung-", ignore_cleanup_errors=True) as work:
        target = Path(work, "report.pdf")
        call = [chromium, *_FLAGS, f"--user-data-dir={work}/profile", f"--print-to-pdf={target}"]
        if os.geteuid() == 0:
            call.append("--no-sandbox")  # it refuses to run as root otherwise
        call.append(page.resolve().as_uri())
        subprocess.run(call, timeout=_LIMIT_S, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return target.read_bytes()


def _encapsulated(report: Report, folder: Path, pdf: bytes) -> Dataset:
    """Encapsulated PDF Storage (PS3.3 A.45.1)."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document = FileDataset(folder / "report.dcm", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    source = source_headers(report.ct)[0]
    document.SpecificCharacterSet = CHARACTER_SET
    document.SOPClassUID = EncapsulatedPDFStorage
    for keyword in _COPIED:
        if keyword in source:
            document[keyword] = source[keyword]
    now = datetime.datetime.now()
    document.Modality, document.ConversionType = "DOC", "WSD"
    document.SeriesInstanceUID, document.SeriesNumber = series_uid(report, "report"), SERIES_NUMBER
    document.SeriesDescription = f"{DEVICE_NAME} report"
    document.Manufacturer = document.ManufacturerModelName = DEVICE_NAME
    document.SoftwareVersions = algorithm_version(report)
    document.InstanceNumber = 1
    document.ContentDate, document.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "NO"
    document.DocumentTitle = "Chest CT: lung nodules"
    document.ConceptNameCodeSequence = []
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return document


def _captured(report: Report, figure: Path) -> Dataset:
    """The figure as Secondary Capture Image Storage."""
    import numpy as np

    capture = require("highdicom.sc", "the report as a picture")
    pixels = np.asarray(require("PIL.Image", "the report as a picture").open(figure).convert("RGB"))
    document: Dataset = capture.SCImage.from_ref_dataset(
        ref_dataset=source_headers(report.ct)[0],
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series_uid(report, "report"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("report"),
        instance_number=1,
        manufacturer=DEVICE_NAME,
        patient_orientation=("", ""),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    document.SeriesDescription = f"{DEVICE_NAME} report"
    document.BurnedInAnnotation = "NO"
    return document


def _sop_uid(folder: Path, document: Dataset) -> str:
    from pydicom import dcmread

    beside = [dcmread(folder / name, specific_tags=["SOPInstanceUID"]) for name in ("seg.dcm", "sr.dcm")]
    return derived_uid("report", str(document.SOPClassUID), *(str(data.SOPInstanceUID) for data in beside))
