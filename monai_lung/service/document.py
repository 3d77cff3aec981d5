"""The report as a DICOM document for archives that know no HTML: an encapsulated PDF of the page, or a picture.

The page becomes a PDF by Chromium, without network and with a profile of its own. Where there is none, or it fails, the
figure goes as a secondary capture. What identifies the patient on it is the node's choice: archives differ.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from monai_lung.extras import require
from monai_lung.io import replacing
from monai_lung.model import Report
from monai_lung.report import figure
from monai_lung.report.dicom_source import (
    CHARACTER_SET,
    DEVICE_NAME,
    algorithm_version,
    derived_uid,
    series_number,
    series_uid,
    source_headers,
)
from monai_lung.report.formats import FORMATS, files_of
from monai_lung.report.html.page import page as page_text
from monai_lung.service.config import IDENTIFIERS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9003
DOCUMENT = "report.dcm"
"""The name of its file."""
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


def write_document(report: Report, folder: Path, shows: Collection[str] = ()) -> Path:
    """Write `report.dcm` beside the files of a result: of its report.html, else of its figure.png.

    Its UIDs follow from those of the SEG and SR beside it.

    Args:
        report: the findings.
        folder: of its files.
        shows: which of `config.IDENTIFIERS` are printed on it; the DICOM header has them anyway.

    Raises:
        InputError: the CT's instances can't be read any more.
        OutputError: it can't be written.
    """
    patient = _identification(report, shows)
    document = _pdf_document(report, folder, patient) or _picture_document(report, folder, patient)
    document.BurnedInAnnotation = "YES" if patient else "NO"
    with replacing(folder / DOCUMENT) as temporary:
        document.save_as(temporary, enforce_file_format=True)
    return folder / DOCUMENT


def _identification(report: Report, shows: Collection[str]) -> str:
    """The patient's identifiers, in one line, as far as the CT's header has them."""
    if not shows:
        return ""
    header = source_headers(report.ct)[0]
    born = str(header.get("PatientBirthDate", ""))
    values = {
        "name": header.PatientName.family_comma_given(),
        "id": f"ID {header.PatientID}" if header.PatientID else "",
        "birth_date": f"born {born[:4]}-{born[4:6]}-{born[6:]}" if born else "",
        "accession_number": f"accession number {header.AccessionNumber}" if header.AccessionNumber else "",
    }
    return " · ".join(values[name] for name in IDENTIFIERS if name in shows and values[name])


def _pdf_document(report: Report, folder: Path, patient: str) -> Dataset | None:
    """Encapsulated PDF Storage (PS3.3 A.45.1), None where there is no browser or it fails."""
    from pydicom.uid import EncapsulatedPDFStorage

    chromium = find_chromium()
    if chromium is None:
        return None
    try:
        pdf = _print(chromium, folder / FORMATS["html"].files[0], page_text(report, patient=patient) if patient else "")
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("no PDF (%s): the report goes as a picture", type(error).__name__)
        return None
    document = _document(report, folder, EncapsulatedPDFStorage)
    document.Modality = "DOC"
    document.AcquisitionDateTime = ""
    document.DocumentTitle = "Chest CT: lung nodules"
    document.ConceptNameCodeSequence = []
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return document


def _picture_document(report: Report, folder: Path, patient: str) -> Dataset:
    """The figure as Secondary Capture Image Storage (PS3.3 A.8.1)."""
    from pydicom.uid import SecondaryCaptureImageStorage

    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        drawn = folder / FORMATS["figure"].files[0]
        if patient:
            drawn = figure.write(report, Path(work, drawn.name), patient)
        image = require("PIL.Image", "the report as a picture").open(drawn).convert("RGB")
    pixels = image.tobytes()
    document = _document(report, folder, SecondaryCaptureImageStorage)
    document.Modality = "OT"
    document.PatientOrientation, document.BodyPartExamined = "", "CHEST"
    document.Columns, document.Rows = image.size
    document.SamplesPerPixel, document.PlanarConfiguration = 3, 0
    document.PhotometricInterpretation = "RGB"
    document.BitsAllocated, document.BitsStored, document.HighBit = 8, 8, 7
    document.PixelRepresentation = 0
    document.PixelData = pixels + b"\0" * (len(pixels) % 2)
    return document


def _print(chromium: str, page: Path, text: str) -> bytes:
    """The page as a PDF; `text` takes its place where it isn't empty."""
    # beside the result's folder, not in /tmp: the node empties that place, also of what a kill has left there
    with tempfile.TemporaryDirectory(dir=page.parents[1], ignore_cleanup_errors=True) as work:
        target = Path(work, "report.pdf")
        if text:
            page = Path(work, page.name)
            page.write_text(text, encoding="utf-8")
        call = [chromium, *_FLAGS, f"--user-data-dir={work}/profile", f"--print-to-pdf={target}"]
        if os.geteuid() == 0:
            call.append("--no-sandbox")  # it refuses to run as root otherwise
        call.append(page.resolve().as_uri())
        subprocess.run(call, timeout=_LIMIT_S, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return target.read_bytes()


def _document(report: Report, folder: Path, sop_class: str) -> Dataset:
    """The common part of both kinds: patient, study, series, equipment."""
    from pydicom import dcmread
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    beside = [dcmread(folder / name, specific_tags=["SOPInstanceUID"]) for name in files_of(("seg", "sr"))]
    source, document, now = source_headers(report.ct)[0], Dataset(), datetime.datetime.now()
    document.SpecificCharacterSet = CHARACTER_SET
    for keyword in _COPIED:
        if keyword in source:
            document[keyword] = source[keyword]
    document.SOPClassUID = UID(sop_class)
    document.SOPInstanceUID = UID(derived_uid("report", sop_class, *(str(data.SOPInstanceUID) for data in beside)))
    document.SeriesInstanceUID = series_uid(report, "report")
    document.SeriesNumber = series_number(report, SERIES_NUMBER)
    document.SeriesDescription = f"{DEVICE_NAME} report"
    document.Manufacturer = document.ManufacturerModelName = DEVICE_NAME
    document.SoftwareVersions = algorithm_version(report)
    document.ConversionType = "WSD"
    document.InstanceNumber = 1
    document.ContentDate, document.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    document.file_meta = FileMetaDataset()
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return document
