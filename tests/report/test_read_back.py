"""What we write as DICOM SEG and SR can be given back: as outlines and as points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the dicom extra isn't installed")

from monai_lung.io.masks import read_outlines
from monai_lung.io.points import read_points
from monai_lung.model import Report
from monai_lung.report import dicom_seg, dicom_sr

MakeReport = Callable[..., Report]


def test_a_segmentation_gives_its_nodules_and_not_its_lungs(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    outlines = read_outlines(dicom_seg.write(report, tmp_path / "seg.dcm"), report.ct)
    assert len(outlines) == 2
    for outline, nodule in zip(outlines, report.nodules, strict=True):
        np.testing.assert_array_equal(
            np.argwhere(outline.mask) + outline.offset, np.argwhere(nodule.outline.mask) + nodule.outline.offset
        )


def test_a_structured_report_gives_its_centres(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    seg = dicom_seg.write(report, tmp_path / "seg.dcm")
    points = np.array(read_points(str(dicom_sr.write(report, tmp_path / "sr.dcm", seg)), report.ct))
    for nodule in report.nodules:
        assert np.linalg.norm(points - nodule.measurements.center_mm, axis=1).min() < 0.01
