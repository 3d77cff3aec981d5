"""The whole axial slice of a nodule."""

from __future__ import annotations

import numpy as np
import pytest

from monai_lung.report.key_image import MOST_PIXELS, key_image


def test_of_a_straight_ct_it_is_the_stored_slice(make_report):
    """The same pixels, the patient's right on the left."""
    report = make_report(1, nifti=True, spacing_mm=(2.4, 2.4, 2.4))
    nodule = report.nodules[0]
    image = key_image(report.ct, nodule)
    z = np.mean([end[2] for end in nodule.measurements.axes_mm])
    k = (z - report.ct.affine_lps[2, 3]) / report.ct.spacing_mm[2]
    low = report.ct.hu[:, :, int(np.floor(k))].T.astype(float)
    high = report.ct.hu[:, :, int(np.ceil(k))].T.astype(float)
    assert image.hu == pytest.approx(low + (k - np.floor(k)) * (high - low), abs=0.5)


@pytest.mark.parametrize("layout", ["plain", "feet-first", "prone", "oblique", "tilted"])
def test_axes_and_outline_lie_on_the_nodule(make_report, layout):
    report = make_report(1, layout=layout, nifti=True)
    nodule = report.nodules[0]
    m, image = nodule.measurements, key_image(report.ct, nodule)
    for (x1, y1, x2, y2), length in zip(image.axes, (m.long_axis_mm, m.short_axis_mm), strict=True):
        assert np.hypot(x2 - x1, y2 - y1) * image.box.spacing_mm == pytest.approx(length, rel=1e-6)
    left, top, right, bottom = image.frame
    line = np.concatenate(image.outlines)
    assert (line[:, 0] > left).all()
    assert (line[:, 0] < right).all()
    assert (line[:, 1] > top).all()
    assert (line[:, 1] < bottom).all()
    column, row = (round(v) for v in line.mean(0))
    assert image.hu[row, column] > -400, "the nodule is denser than lung"
    assert image.hu.shape == (image.height, image.width)


def test_a_large_field_is_made_coarser(make_report):
    report = make_report(1, nifti=True, shape=(1100, 900, 12), spacing_mm=(0.28, 0.28, 20.0))
    image = key_image(report.ct, report.nodules[0])
    assert max(image.width, image.height) <= MOST_PIXELS + 2
    assert image.width * image.box.spacing_mm == pytest.approx(1100 * 0.28, rel=0.02)
