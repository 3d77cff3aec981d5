"""Files for 3D Slicer say what the report says, where it says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monai_lung.io.points import read_points
from monai_lung.model import Report
from monai_lung.report import notebook, slicer

MakeReport = Callable[..., Report]


def test_the_markups_are_the_centres(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(3, layout="tilted")
    path = slicer.write_markups(report, tmp_path / "nodules.mrk.json")
    (markup,) = json.loads(path.read_text(encoding="utf-8"))["markups"]
    assert [p["label"] for p in markup["controlPoints"]] == ["Nodule 1", "Nodule 2", "Nodule 3"]
    centers = [n.measurements.center_mm for n in report.nodules]
    np.testing.assert_allclose(read_points(str(path), report.ct), centers, atol=1e-3)


def test_no_probability_is_certain(make_report: MakeReport, tmp_path: Path) -> None:
    """In a notebook's card too: the page says "> 95 %" where these said "100 %"."""
    report = make_report(1)
    rating = replace(report.nodules[0].rating, malignancy_probability=0.998, malignancy_interval=(0.004, 0.999))
    report = replace(report, nodules=(replace(report.nodules[0], rating=rating),))
    text = slicer.write_markups(report, tmp_path / "nodules.mrk.json").read_text(encoding="utf-8")
    assert "malignant > 95 % (< 1 % to > 95 %)" in text.replace("< 1 to", "< 1 % to")
    assert "malignant &gt; 95 %" in notebook.report_html(report)


def test_the_segmentation_has_names_colours_and_the_ct_s_place(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(2)
    image = sitk.ReadImage(str(slicer.write_segmentation(report, tmp_path / "nodules.seg.nrrd")))
    labels = sitk.GetArrayFromImage(image).T
    wanted = np.where(report.nodule_labels() > 0, report.nodule_labels() + 9, report.lungs.labels)
    np.testing.assert_array_equal(labels, wanted)
    for index in ((0, 0, 0), (3, 2, 1)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), report.ct.to_world(index), atol=1e-3)
    keys = image.GetMetaDataKeys()
    count = sum(key.endswith("_Name") for key in keys)
    named = {
        image.GetMetaData(f"Segment{n}_Name"): int(image.GetMetaData(f"Segment{n}_LabelValue")) for n in range(count)
    }
    assert named == {"Right lung": 1, "Left lung": 2, "Nodule 1": 10, "Nodule 2": 11}
    colors = {image.GetMetaData(f"Segment{n}_Color") for n in range(count)}
    assert len(colors) == count
    assert "space: left-posterior-superior" in (tmp_path / "nodules.seg.nrrd").read_bytes()[:300].decode("latin-1")


def test_without_nodules_the_files_are_there(make_report: MakeReport, tmp_path: Path) -> None:
    report = make_report(0)
    markups = json.loads(slicer.write_markups(report, tmp_path / "a.mrk.json").read_text(encoding="utf-8"))
    assert markups["markups"][0]["controlPoints"] == []
    assert slicer.write_segmentation(report, tmp_path / "a.seg.nrrd").is_file()
