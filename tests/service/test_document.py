"""The report as a DICOM document: valid, in the patient's study, with the same UIDs each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
pydicom = pytest.importorskip("pydicom")

from PIL import Image  # noqa: E402
from report_builder import assert_dicom_valid, make_report  # noqa: E402, F401

from monai_lung.model import Report  # noqa: E402
from monai_lung.pipeline import write  # noqa: E402
from monai_lung.service import document  # noqa: E402

MakeReport = Callable[..., Report]
Valid = Callable[[Path], None]


@pytest.fixture
def result(make_report: MakeReport, tmp_path: Path) -> tuple[Report, Path]:  # noqa: F811
    report = make_report(1)
    return report, write(report, tmp_path / "out", ("json", "seg", "sr", "html", "figure"))


def test_without_a_browser_the_figure_goes(
    result: tuple[Report, Path],
    assert_dicom_valid: Valid,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(document, "find_chromium", lambda: None)
    report, folder = result
    found = pydicom.dcmread(document.write_document(report, folder))
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    np.testing.assert_array_equal(found.pixel_array, np.asarray(Image.open(folder / "figure.png").convert("RGB")))
    in_the_study_of(found, folder)
    assert_dicom_valid(folder / "report.dcm")


def test_a_browser_that_fails_costs_the_pdf_alone(result: tuple[Report, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "find_chromium", lambda: "/bin/false")
    assert pydicom.dcmread(document.write_document(*result)).Modality == "OT"


def test_nothing_of_the_page_goes_to_a_shared_folder(
    result: tuple[Report, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed browser leaves lies where the node cleans up, not in /tmp."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit 1\n')
    browser.chmod(0o700)
    monkeypatch.setattr(document, "find_chromium", lambda: str(browser))
    document.write_document(*result)
    asked = [part.partition("=") for part in (tmp_path / "asked").read_text().split()]
    folders = [Path(value).parents[1] for key, _, value in asked if key in ("--user-data-dir", "--print-to-pdf")]
    assert folders == [result[1].parent] * 2


@pytest.mark.slow
@pytest.mark.skipif(document.find_chromium() is None, reason="no Chromium on this machine")
def test_the_page_becomes_a_pdf(result: tuple[Report, Path], assert_dicom_valid: Valid) -> None:  # noqa: F811
    report, folder = result
    found = pydicom.dcmread(document.write_document(report, folder))
    assert found.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength].startswith(b"%PDF-")
    in_the_study_of(found, folder)
    assert_dicom_valid(folder / "report.dcm")
    again = pydicom.dcmread(document.write_document(report, folder))
    assert again.SOPInstanceUID == found.SOPInstanceUID


def test_what_identifies_the_patient_is_chosen(
    result: tuple[Report, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the pages only what was asked for; the header of the object always has it."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nfor a; do :; done\ncp "${{a#file://}}" {tmp_path}/printed.html\nexit 1\n')
    browser.chmod(0o700)
    monkeypatch.setattr(document, "find_chromium", lambda: str(browser))
    report, folder = result
    plain = pydicom.dcmread(document.write_document(report, folder))
    assert "PID-4711" not in (tmp_path / "printed.html").read_text(encoding="utf-8")
    assert plain.BurnedInAnnotation == "NO"
    shown = pydicom.dcmread(document.write_document(report, folder, ("id", "birth_date", "accession_number")))
    text = (tmp_path / "printed.html").read_text(encoding="utf-8")
    assert "ID PID-4711 · born 1955-01-02 · accession number A1" in text
    assert str(shown.PatientName).split("^")[0] not in text
    assert shown.BurnedInAnnotation == "YES"
    assert (shown.pixel_array != plain.pixel_array).any(), "the picture shows it too"
    assert "PID-4711" not in (folder / "report.html").read_text(encoding="utf-8"), "the kept page doesn't"


def in_the_study_of(found: pydicom.Dataset, folder: Path) -> None:
    sr = pydicom.dcmread(folder / "sr.dcm")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate"):
        assert found[keyword].value == sr[keyword].value
    assert found.SeriesInstanceUID != sr.SeriesInstanceUID
