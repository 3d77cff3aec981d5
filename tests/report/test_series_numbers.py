"""Viewers open a study at the series with the lowest number: that has to be the CT, not the key images or the PDF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom", reason="the dicom extra isn't installed")

from monai_lung.report.formats import write_files  # noqa: E402
from monai_lung.service.document import write_document  # noqa: E402


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (2, {9001, 9002, 9003, 9004}),
        (None, {9001, 9002, 9003, 9004}),
        (9001, {18002, 18003, 18004, 18005}),
        (3000566, {3009567, 3009568, 3009569, 3009570}),
        (2**31 - 1, {9001, 9002, 9003, 9004}),
    ],
)
def test_what_is_made_of_a_ct_comes_after_it(make_report, tmp_path: Path, own, expected) -> None:
    report = make_report(1)
    series = replace(report.ct.series, number=own)
    report = replace(report, ct=replace(report.ct, series=series))
    folder = tmp_path / "result"
    folder.mkdir()
    write_files(report, folder, "seg,sr,key,html,figure")
    write_document(report, folder)
    made = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    assert {int(data.SeriesNumber) for data in made} == expected
