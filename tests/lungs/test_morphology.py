"""Binary morphology by shifts against distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_lung.grid import bounding_box
from monai_lung.lungs.morphology import close, dilate, erode


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.5, 2.5, 2.5), (2.0, 2.0, 5.0), (3.0, 1.5, 2.0)])
@pytest.mark.parametrize("radius_mm", [5.0, 9.0, 12.0])
def test_dilation_of_a_point_is_about_a_ball(spacing_mm, radius_mm):
    shape = tuple(2 * int(20 / size) + 1 for size in spacing_mm)
    point = np.zeros(shape, bool)
    point[tuple(n // 2 for n in shape)] = True
    grown = dilate(point, radius_mm, spacing_mm)
    distance_mm = ndimage.distance_transform_edt(~point, sampling=spacing_mm)
    # One voxel of rounding, and a fifth of the radius towards the corners.
    assert distance_mm[grown].max() <= 1.25 * radius_mm + max(spacing_mm)
    assert distance_mm[~grown].min() >= 0.75 * radius_mm - max(spacing_mm)


@pytest.mark.parametrize("radius_voxels", [1, 2, 3])
def test_same_as_scipy_with_alternating_neighbourhoods(radius_voxels):
    mask = np.random.default_rng(0).random((30, 31, 32)) < 0.02
    expected = mask
    for step in range(radius_voxels):
        structure = ndimage.generate_binary_structure(3, 1 if step % 2 == 0 else 3)
        expected = ndimage.binary_dilation(expected, structure)
    assert np.array_equal(dilate(mask, radius_voxels, (1, 1, 1)), expected)
    inverse = ndimage.binary_erosion(~mask, ndimage.generate_binary_structure(3, 1), border_value=1)
    assert np.array_equal(erode(~mask, 1, (1, 1, 1)), inverse)


def test_closing_only_adds_and_keeps_what_is_convex():
    mask = np.random.default_rng(1).random((24, 24, 24)) < 0.05
    closed = close(mask, 3, (1, 1, 1))
    assert not (mask & ~closed).any()
    box = np.zeros((24, 24, 24), bool)
    box[6:18, 6:18, 6:18] = True
    assert np.array_equal(close(box, 4, (1, 1, 1)), box)


def test_closing_fills_a_dent_and_treats_the_ends_as_going_on():
    mask = np.zeros((20, 20, 10), bool)
    mask[4:16, 4:16] = True
    mask[8:11, 4:10] = False
    closed = close(mask, 4, (1, 1, 1))
    assert closed[8:11, 6:10].all()
    assert not closed[:4].any()


def test_bounding_box_stays_in_the_array():
    mask = np.zeros((10, 10, 10), bool)
    mask[0, 3:5, 9] = True
    assert mask[bounding_box(mask)].shape == (1, 2, 1)
    assert mask[bounding_box(mask, margin=2)].shape == (3, 6, 3)
