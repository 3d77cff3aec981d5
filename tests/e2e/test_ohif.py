"""OHIF shows what was made of a CT: it opens at the CT, draws the segments, and each nodule's axes on their slice."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from ohif_viewer import CHROMIUM, Viewer, fetch
from orthanc_server import Orthanc, missing_packages

from monai_lung.model import Report
from monai_lung.pipeline import analyze, write
from monai_lung.service.document import write_document

pytestmark = pytest.mark.slow

REAL, WAIT_MS = "LIDC-IDRI-0001", 600_000
LINES = "document.querySelectorAll('svg.svg-layer line').length"


@pytest.fixture(scope="module")
def report(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a real CT whose series number (3000566) is higher than any that this software would start from."""
    folder = tmp_path_factory.mktemp("ct")
    unpack = [sys.executable, str(data_dir / "unpack_dicom.py"), str(folder), REAL]
    subprocess.run(unpack, check=True, capture_output=True)
    return analyze(folder)


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """OHIF with the study open, its guided tour skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    chromium = shutil.which("chromium")
    if chromium is None or missing_packages():
        pytest.skip("needs Chromium and Orthanc")
    work = tmp_path_factory.mktemp("ohif")
    pages = fetch(work / "app")
    if pages is None:
        pytest.skip("OHIF can't be fetched: no npm, or no registry")
    folder = write(report, work / "out", "seg,sr,key,html,figure")
    write_document(report, folder)
    sent = [*(s.path for s in report.ct.slices), *sorted(folder.rglob("*.dcm"))]
    study = pydicom.dcmread(sent[0], stop_before_pixels=True).StudyInstanceUID
    with Orthanc(work / "archive") as archive:
        archive.c_store(sent)
        with Viewer(pages, archive.http_port) as viewer, playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
            shown = browser.new_page(viewport={"width": 1400, "height": 900})
            shown.set_default_timeout(WAIT_MS)
            shown.goto(f"{viewer.url}/viewer?StudyInstanceUIDs={study}")
            shown.get_by_text("Skip all").click()
            yield shown
            browser.close()


def open_series(page: Any, modality: str) -> None:
    """Double-click a series in the list."""
    page.locator('[data-cy^="study-browser-thumbnail"]', has_text=re.compile(f"^{modality}")).first.dblclick()


def wait_for_image(page: Any, number: int | None) -> None:
    """Until the viewport is at the image of that number: "44 (44/133)"."""
    page.get_by_text(re.compile(rf"\b{number} \(")).first.wait_for()


def test_it_opens_at_the_ct(page: Any, report: Report) -> None:
    page.get_by_text(f"/{len(report.ct.slices)})").first.wait_for()


def test_the_axes_of_each_nodule_are_drawn_on_their_slice(page: Any, report: Report) -> None:
    open_series(page, "SR")
    wait_for_image(page, report.nodules[0].image_number)
    for nodule in report.nodules[1:]:
        page.locator("svg.rotate-180").last.click()  # the arrow to the next measurement
        wait_for_image(page, nodule.image_number)
        page.wait_for_function(f"{LINES} >= 2")
        page.get_by_text(f"Long axis: {nodule.measurements.long_axis_mm:.2f} mm").first.wait_for()


def test_the_segments_open(page: Any) -> None:
    open_series(page, "SEG")
    page.get_by_text("Do you want to open this Segmentation?").wait_for()
    page.get_by_text("Yes", exact=True).click()
    page.get_by_text("Do you want to open this Segmentation?").wait_for(state="hidden")
