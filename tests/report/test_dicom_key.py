"""Key images as Secondary Capture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from monai_lung.errors import InputError
from monai_lung.report import dicom_key
from monai_lung.report.key_image import key_image


def test_an_instance_for_each_nodule_that_any_viewer_shows(make_report, tmp_path, assert_dicom_valid):
    report = make_report(3, patient_name="Müller^Jürgen", growth=True)
    report = replace(report, deciding_nodule=2)
    paths = dicom_key.write(report, tmp_path / "key_images")
    assert [p.name for p in paths] == ["nodule-2.dcm", "nodule-1.dcm", "nodule-3.dcm"]
    source = pydicom.dcmread(report.ct.slices[0].path)
    seen = set()
    for number, path in enumerate(paths, 1):
        assert_dicom_valid(path)
        image = pydicom.dcmread(path)
        assert image.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert (image.StudyInstanceUID, image.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert str(image.PatientName) == "Müller^Jürgen"
        assert image.InstanceNumber == number
        assert list(image.PatientOrientation) == ["L", "P"]
        assert image.BurnedInAnnotation == "NO"
        assert image.ImageComments.isascii(), "what is drawn too: the font has no multiplication sign"
        seen.add((image.SeriesInstanceUID, image.SOPInstanceUID))
    assert len({series for series, _ in seen}) == 1
    assert len(seen) == 3
    again = dicom_key.write(report, tmp_path / "again")
    assert pydicom.dcmread(again[0]).SOPInstanceUID == pydicom.dcmread(paths[0]).SOPInstanceUID


@pytest.mark.parametrize("layout", ["feet-first", "oblique"])
def test_axes_are_drawn_where_they_were_measured(make_report, tmp_path, layout):
    report = make_report(1, layout=layout)
    nodule = report.nodules[0]
    (path,) = dicom_key.write(report, tmp_path / "key_images")
    image = pydicom.dcmread(path)
    pixels = image.pixel_array
    assert min(pixels.shape[:2]) >= 512
    rows, columns = np.nonzero((pixels == dicom_key._AXES).all(-1))
    scale = pixels.shape[1] // key_image(report.ct, nodule).width
    expected = key_image(report.ct, nodule).box.place("axial", nodule.measurements.center_mm)
    assert (columns.mean() / scale, rows.mean() / scale) == pytest.approx(expected, abs=2)
    (x1, y1, x2, y2) = key_image(report.ct, nodule).axes[0]
    far = np.hypot(np.ptp(columns), np.ptp(rows)) * float(image.PixelSpacing[0])
    assert far >= nodule.measurements.long_axis_mm - 2 * float(image.PixelSpacing[0])
    assert np.hypot(x2 - x1, y2 - y1) * float(image.PixelSpacing[0]) * scale == pytest.approx(
        nodule.measurements.long_axis_mm, rel=1e-4
    )


def test_at_most_twelve_and_none_of_a_volume_file(make_report, tmp_path):
    assert len(dicom_key.write(make_report(14), tmp_path / "many")) == dicom_key.MOST
    assert dicom_key.write(make_report(0), tmp_path / "none") == []
    with pytest.raises(InputError, match="volume file"):
        dicom_key.write(make_report(1, nifti=True), tmp_path / "nifti")
