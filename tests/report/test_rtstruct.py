"""Outlines of a radiotherapy structure set, through rt-utils."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

rt_utils = pytest.importorskip("rt_utils", reason="the rtstruct extra isn't installed")

from monai_lung.errors import MaskError  # noqa: E402
from monai_lung.io.masks import read_outlines  # noqa: E402
from monai_lung.model import Report  # noqa: E402

MakeReport = Callable[..., Report]


def write_rtstruct(report: Report, path: Path) -> Path:
    """The report's nodules and one lung as ROIs, by rt-utils itself."""
    struct = rt_utils.RTStructBuilder.create_new(str(report.ct.slices[0].path.parent))
    for name, mask in (
        ("Lung", report.lungs.labels > 0),
        *((f"Nodule {n.id}", report.nodule_labels() == n.id) for n in report.nodules),
    ):
        struct.add_roi(mask=np.ascontiguousarray(mask.transpose(1, 0, 2)), name=name)
    struct.save(str(path.with_suffix("")))
    return path


def test_each_roi_but_the_lung_is_a_nodule(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    outlines = read_outlines(write_rtstruct(report, tmp_path / "rt.dcm"), report.ct)
    assert len(outlines) == 2
    labels = report.nodule_labels()
    for outline, nodule in zip(outlines, report.nodules, strict=True):
        drawn = np.zeros(labels.shape, bool)
        drawn[outline.box] = outline.mask
        truth = labels == nodule.id
        assert 2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()) > 0.9  # contours lose half a pixel


def test_a_volume_file_has_no_slices_that_it_could_refer_to(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(1)
    path = write_rtstruct(report, tmp_path / "rt.dcm")
    with pytest.raises(MaskError, match="the CT is a volume file"):
        read_outlines(path, make_report(1, nifti=True).ct)
