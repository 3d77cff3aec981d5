"""Sampling along aligned axes gives what scipy's general way gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from monai_lung.report import aligned, views

SIZE = (21, 30, 12)


def scipy_way(values, to_voxel, shape, outside):
    return ndimage.affine_transform(
        values, to_voxel, output_shape=shape, output=np.float32, order=1, mode="constant", cval=outside
    )


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("order", ["C", "F"])
def test_equals_scipy_for_every_storage(axes, order):
    """Any axis along any other, either way round, reaching beyond the grid on every side."""
    rng = np.random.default_rng(sum(axes))
    values = np.asarray(rng.integers(-1024, 3000, SIZE), np.int16, order=order)
    for signs in itertools.product((1, -1), repeat=3):
        to_voxel = np.zeros((4, 4))
        to_voxel[3, 3] = 1
        for n, axis in enumerate(axes):
            scale = rng.uniform(0.3, 2.2)
            to_voxel[axis, n] = signs[n] * scale
            to_voxel[axis, 3] = -2.3 if signs[n] > 0 else SIZE[axis] + 1.3
        shape = (26, 31, 24)
        assert aligned.along(to_voxel, shape) == axes
        got = aligned.stretch(values, to_voxel, shape, axes, outside=-1024.0)
        expected = scipy_way(values, to_voxel, shape, -1024.0)
        assert got.dtype == np.float32
        assert len(np.unique(expected == -1024)) == 2, "some of the result lies beyond the grid, some within"
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_a_grid_of_one_voxel_and_a_result_wholly_beyond():
    to_voxel = np.diag([0.5, 1.0, 1.0, 1.0])
    one = np.full((1, 1, 1), 7, np.int16)
    np.testing.assert_array_equal(
        aligned.stretch(one, to_voxel, (2, 1, 1), (0, 1, 2), outside=-5.0), scipy_way(one, to_voxel, (2, 1, 1), -5.0)
    )
    to_voxel[:3, 3] = 90
    assert (aligned.stretch(np.ones(SIZE, np.uint8), to_voxel, (4, 5, 6), (0, 1, 2), outside=-5.0) == -5).all()


def test_axes_that_run_apart_arent_aligned():
    to_voxel = np.eye(4)
    assert aligned.along(to_voxel, (50, 50, 50)) == (0, 1, 2)
    to_voxel[0, 1] = 1e-7  # 5e-6 of a voxel over the result
    assert aligned.along(to_voxel, (50, 50, 50)) is None
    to_voxel[0, 1] = 1.0  # two axes of the result along one of the grid
    to_voxel[1, 1] = 0.0
    assert aligned.along(to_voxel, (50, 50, 50)) is None


@pytest.mark.parametrize("layout", ["plain", "feet-first", "flipped", "prone", "non-square", "oblique", "tilted"])
def test_pictures_are_those_of_the_general_way(make_report, monkeypatch, layout):
    """At most one grey level in one pixel of ten thousand differs, from rounding."""
    report = make_report(2, layout=layout)
    nodule = report.nodules[0]
    box = views.Box.around(nodule.measurements.center_mm, nodule.measurements.max_diameter_3d_mm)
    asked = []

    def along(*arguments):
        asked.append(aligned.along(*arguments))
        return asked[-1]

    def pictures():
        overview, _ = views.coronal_overview(report)
        level = views.sample_outline(report.ct, nodule.outline, box)
        return overview, views.grey(views.sample_ct(report.ct, box), views.LUNG_WINDOW_HU), level

    monkeypatch.setattr("monai_lung.report.views.OVERVIEW_MM", 3.0)
    monkeypatch.setattr(views, "along", along)
    fast = pictures()
    monkeypatch.setattr(views, "along", lambda *_: None)
    general = pictures()
    assert (None in asked) == (layout == "oblique")
    for one, other in zip(fast[:2], general[:2], strict=True):
        differ = np.abs(one.astype(int) - other)
        assert differ.max() <= 1
        assert (differ > 0).mean() <= 1e-4
    np.testing.assert_allclose(fast[2], general[2], atol=1e-5)
