"""One grid and one resampler: what a network is trained on is what it meets."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monai_lung.data.backgrounds import make_background
from monai_lung.errors import MaskError
from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference.find import find_grid
from monai_lung.inference.networks import FindSettings
from monai_lung.model import CT, Lungs

STORAGES = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]
FIND = FindSettings((1.0, 1.0, 2.0), (32, 32, 16), 0.25, 0.3, 0.3)


def turn(degrees: float, axis: int) -> NDArray[np.float64]:
    """(3, 3), a turn about an axis."""
    a = np.deg2rad(degrees)
    matrix = np.eye(3)
    i, j = (n for n in range(3) if n != axis)
    matrix[i, i] = matrix[j, j] = np.cos(a)
    matrix[i, j], matrix[j, i] = -np.sin(a), np.sin(a)
    return matrix


def stored(values: NDArray, grid: Grid, axes: tuple[int, ...], signs: tuple[int, ...]) -> tuple[NDArray, Grid]:
    """The same image in another order of axes and voxels."""
    array, affine = values.transpose(axes), grid.affine_lps[:, [*axes, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
            array = np.flip(array, axis)
    return array, Grid.of(array, affine)


def to_sitk(values: NDArray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T.astype(np.float32)))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetOrigin(grid.affine_lps[:3, 3].tolist())
    image.SetDirection(grid.axes.ravel().tolist())
    return image


def chest(spacing_mm: tuple[float, float, float], offset_mm: tuple[float, float, float], noise: bool = True) -> CT:
    shape = tuple(max(8, round(n / s)) for n, s in zip((64, 56, 60), spacing_mm, strict=True))
    rng = np.random.default_rng(3)
    hu = np.full(shape, -850.0) + (rng.normal(0, 60, shape) if noise else 0)
    hu[tuple(slice(n // 3, n // 2) for n in shape)] = 40
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = offset_mm
    return CT(np.rint(hu).astype(np.int16), affine, "chest", Path("chest"))


def lungs_of(ct: CT) -> Lungs:
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[2:-2, 2:-2, 1:-1] = 1
    return Lungs(labels, 0, 0)


spacings = st.tuples(st.floats(0.4, 1.5), st.floats(0.4, 1.5), st.floats(0.5, 5.0))
offsets = st.tuples(*[st.floats(-300, 300)] * 3)


@settings(max_examples=25, deadline=None)
@given(spacing_mm=spacings, offset_mm=offsets, storage=st.sampled_from(STORAGES))
def test_a_network_sees_the_same_image_in_training_and_in_inference(spacing_mm, offset_mm, storage) -> None:
    """A background cut from the CT, sampled as the trainings do, is what `find` sees of it, however it's stored."""
    ct = chest(spacing_mm, offset_mm)
    lungs = lungs_of(ct)
    met_grid = find_grid(ct.grid, lungs.labels, FIND)
    met = resample(ct.hu, ct.grid, met_grid)
    trained = make_background(ct, lungs, ())
    np.testing.assert_allclose(resample(trained.hu, trained.grid, met_grid), met, atol=1.0)
    other, other_grid = stored(ct.hu, ct.grid, *storage)
    labels, _ = stored(lungs.labels, ct.grid, *storage)
    again = find_grid(other_grid, labels, FIND)
    np.testing.assert_allclose(again.affine_lps, met_grid.affine_lps, atol=1e-6)
    np.testing.assert_allclose(resample(other, other_grid, again), met, atol=1.0)


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.625), (0.55, 0.55, 0.6), (0.7, 0.7, 1.25)])
def test_noise_on_the_trained_grid_is_the_noise_on_the_grid_it_meets(spacing_mm) -> None:
    """Version 0.1 interpolated in training (16 HU of 30) and averaged in inference (6 to 13 HU)."""
    rng = np.random.default_rng(0)
    hu = rng.normal(0, 30, (90, 90, 90)).astype(np.int16)
    ct = CT(hu, np.diag([*spacing_mm, 1.0]), "noise", Path("noise"))
    lungs = lungs_of(ct)
    grid = find_grid(ct.grid, lungs.labels, FIND)
    met = resample(hu, ct.grid, grid)[8:-8, 8:-8, 4:-4]
    background = make_background(ct, lungs, ())
    patch = Grid.around(grid.center_mm, FIND.spacing_mm, (24, 24, 10), turn(30, 2))  # as a training turns it
    seen = resample(background.hu, background.grid, patch)
    assert seen.std() == pytest.approx(met.std(), rel=0.12)


@pytest.mark.parametrize("axes", [np.eye(3), turn(17, 2), turn(9, 0) @ turn(25, 2)])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.6, 0.9), (0.7, 0.7, 1.2)])
def test_where_nothing_is_averaged_it_is_the_linear_interpolation_of_simpleitk(axes, spacing_mm) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(-800, 100, (30, 28, 26)).astype(np.float32)
    grid = Grid.around((10, -20, 30), (0.7, 0.7, 1.25), values.shape, turn(4, 1))
    target = Grid.around(grid.center_mm + 0.3, spacing_mm, (12, 11, 10), turn(4, 1) @ axes)
    reference = sitk.Image(*target.shape, sitk.sitkFloat32)
    reference.SetSpacing(target.spacing_mm.tolist())
    reference.SetOrigin(target.affine_lps[:3, 3].tolist())
    reference.SetDirection(target.axes.ravel().tolist())
    expected = sitk.Resample(to_sitk(values, grid), reference, sitk.Transform(), sitk.sitkLinear)
    result = resample(values, grid, target, average=False)
    np.testing.assert_allclose(result, sitk.GetArrayFromImage(expected).T, atol=0.02)
    if np.allclose(axes, np.eye(3)):
        np.testing.assert_allclose(resample(values, grid, target), result, atol=1e-3)  # finer voxels: no mean


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_voxels_that_are_whole_multiples_are_the_mean_of_those_within(factor: int) -> None:
    values = np.random.default_rng(2).normal(0, 100, (24, 24, 12)).astype(np.float32)
    grid = Grid.of(values, np.eye(4))
    coarse = grid.covering((factor, 1, 1))
    expected = values.reshape(24 // factor, factor, 24, 12).mean(1)
    np.testing.assert_allclose(resample(values, grid, coarse), expected, atol=20 if factor % 2 else 1e-3)
    np.testing.assert_allclose(resample(values, grid, coarse).mean(), values.mean(), atol=0.5)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (1.6, 1.6, 2.2), (2.0, 2.0, 4.0)])
@pytest.mark.parametrize("outside", ["border", "reflect", -1024.0])
def test_the_straight_and_the_oblique_way_agree(spacing_mm, outside) -> None:
    values = np.random.default_rng(4).normal(-500, 100, (2, 20, 22, 18)).astype(np.float32)
    grid = Grid.of(values[0], np.diag([0.8, 0.8, 1.0, 1.0]))
    target = Grid.around(grid.center_mm, spacing_mm, (20, 20, 12))
    askew = Grid.around(grid.center_mm, spacing_mm, (20, 20, 12), turn(1e-4, 2))
    straight = resample(values, grid, target, outside=outside)
    assert straight.shape == (2, 20, 20, 12)
    np.testing.assert_allclose(resample(values, grid, askew, outside=outside), straight, atol=0.5)


@pytest.mark.parametrize(("axes", "signs"), STORAGES)
def test_every_storage_of_an_image_is_turned_to_the_same(axes, signs) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1000, (5, 6, 7))
    grid = Grid.around((-10, 20, 30), (0.7, 0.8, 2.0), values.shape)
    other, other_grid = stored(values, grid, axes, signs)
    turned, turned_grid = other_grid.turned(other)
    np.testing.assert_array_equal(turned, values)
    np.testing.assert_allclose(turned_grid.affine_lps, grid.affine_lps, atol=1e-9)
    np.testing.assert_allclose(other_grid.patient_axes, np.eye(3), atol=1e-12)


def test_beyond_the_image_it_is_what_was_asked_for() -> None:
    values = np.full((4, 4, 4), 100, np.int16)
    grid = Grid.of(values, np.eye(4))
    wide = grid.padded(3)
    assert resample(values, grid, wide).min() == 100
    faded = resample(values, grid, wide, outside=-1000)
    assert faded[0, 0, 0] == -1000
    assert faded[3, 3, 3] == 100
    mirrored = resample(np.arange(4, dtype=np.int16)[:, None, None] * np.ones((4, 4, 4)), grid, wide, outside="reflect")
    np.testing.assert_allclose(mirrored[:, 5, 5], [3, 2, 1, 0, 1, 2, 3, 2, 1, 0])


def test_parts_and_reach_are_inverse() -> None:
    grid = Grid.around((1, 2, 3), (0.7, 0.7, 2.0), (40, 30, 20), turn(20, 2))
    box = (slice(3, 9), slice(10, 14), slice(0, 5))
    assert grid.reach(grid.part(box)) == box
    assert grid.part((slice(None),) * 3).shape == grid.shape
    far = Grid.around((500, 500, 500), (1, 1, 1), (3, 3, 3))
    assert 0 in grid.part(grid.reach(far)).shape
    np.testing.assert_allclose(grid.to_index(grid.to_world((3.5, 2.0, 7.0))), (3.5, 2.0, 7.0))


def test_the_covering_grid_covers() -> None:
    grid = Grid.around((0, 0, 0), (0.7, 0.8, 2.5), (100, 90, 40))
    coarse = grid.covering((1.5, 1.5, 3.0))
    np.testing.assert_allclose(coarse.center_mm, grid.center_mm)
    np.testing.assert_allclose(np.array(coarse.shape) * coarse.spacing_mm, (70, 72, 100), atol=1.5)


def test_an_empty_mask_has_no_box_and_a_margin_may_reach_beyond() -> None:
    mask = np.zeros((5, 6, 7), bool)
    with pytest.raises(MaskError, match="empty"):
        bounding_box(mask)
    mask[1, 2, 3] = True
    assert bounding_box(mask, (2, 0, 9)) == (slice(0, 4), slice(2, 3), slice(0, 7))
    assert bounding_box(mask, 2, within=False) == (slice(-1, 4), slice(0, 5), slice(1, 6))


@pytest.mark.parametrize("average", [True, False])
def test_an_order_in_memory_changes_no_bit(average: bool) -> None:
    """The bundle and the command lay out their arrays differently in memory: 14 voxels of nodules differed."""
    hu = np.random.default_rng(3).integers(-1024, 1500, (70, 41, 33)).astype(np.int16)
    grid = Grid(hu.shape, np.diag([0.7, 0.8, 0.6, 1.0]))
    target = Grid.around(grid.center_mm, (1.1, 1.0, 2.1), (30, 28, 9))
    expected = resample(hu, grid, target, average=average)
    for order in permutations(range(3)):
        laid_out = np.ascontiguousarray(hu.transpose(order))
        for values in (laid_out, laid_out.astype(np.float32)):
            same = resample(values.transpose(np.argsort(order)), grid, target, average=average)
            np.testing.assert_array_equal(same, expected)
        other, other_grid = stored(hu, grid, order, (1, 1, 1))
        np.testing.assert_array_equal(resample(other, other_grid, target, average=average), expected)


def test_only_what_is_needed_is_read() -> None:
    """A part of the image gives what the whole does, and an image that lies elsewhere gives the outside."""
    hu = np.random.default_rng(3).normal(0, 1, (40, 30, 20)).astype(np.float32)
    grid = Grid(hu.shape, np.eye(4))
    target = Grid((5, 6, 7), grid.part(np.s_[10:15, 8:14, 3:10]).affine_lps)
    np.testing.assert_array_equal(resample(hu, grid, target), hu[10:15, 8:14, 3:10])
    far = Grid((5, 6, 7), grid.part(np.s_[100:105, 8:14, 3:10]).affine_lps)
    np.testing.assert_array_equal(resample(hu, grid, far, outside=-1024.0), np.full((5, 6, 7), -1024, np.float32))
    np.testing.assert_array_equal(resample(hu, grid, far, outside=0), np.zeros((5, 6, 7), np.float32))
