"""Sizes of phantoms of known size, and what the readers of LIDC-IDRI measured."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from clinical_phantoms import (
    GLASS_HU,
    LUNG_HU,
    SOLID_HU,
    WALL_HU,
    affine,
    all_lung,
    ellipsoid_share,
    make_ct,
    outline_of,
    random_nodule,
)

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.measurements import equivalent_diameter, measure
from monai_lung.errors import MaskError
from monai_lung.model import Lungs, Measurements, Outline

SHAPES = {"sphere": (1.0, 1.0, 1.0), "flat": (1.3, 1.0, 0.7), "tall": (0.8, 1.0, 1.4)}
SLICES_MM = (0.5, 1.25, 2.5, 5.0)


def semi_axes(shape: str, diameter_mm: float) -> np.ndarray:
    ratio = np.array(SHAPES[shape])
    return ratio / np.cbrt(ratio.prod()) * diameter_mm / 2


def repeated(
    shape: str, diameter_mm: float, slice_mm: float, repeats: int, **options: object
) -> list[tuple[float, Measurements]]:
    """Volume of the voxel mask and our measurements of the same nodule at random places."""
    rng = np.random.default_rng(7)
    drawn = [
        random_nodule(rng, semi_axes(shape, diameter_mm), (0.7, 0.7, slice_mm), **options)  # type: ignore[arg-type]
        for _ in range(repeats)
    ]
    return [(n[0].mask.sum() * n[1].voxel_mm3, measure(*n)) for n in drawn if n is not None]


@pytest.mark.parametrize("slice_mm", SLICES_MM)
@pytest.mark.parametrize("graded", [True, False], ids=["probability", "mask"])
def test_volume_is_unbiased_and_spreads_less_than_a_voxel_mask(slice_mm: float, graded: bool) -> None:
    errors, voxel_errors = [], []
    for shape, diameter_mm in itertools.product(SHAPES, (6.0, 9.0, 13.0)):
        # Where a nodule is hardly higher than a slice its mask may be gone: a bare mask can't make up for that.
        if 2 * semi_axes(shape, diameter_mm)[2] < (1.2 if graded else 1.6) * slice_mm:
            continue
        truth = np.pi * diameter_mm**3 / 6
        for voxels, ours in repeated(shape, diameter_mm, slice_mm, 5, graded=graded):
            errors.append(ours.volume_mm3 / truth - 1)
            voxel_errors.append(voxels / truth - 1)
    assert abs(np.mean(errors)) <= 0.03
    assert np.std(errors) < 0.8 * np.std(voxel_errors)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slice_mm", SLICES_MM)
@pytest.mark.parametrize("graded", [True, False], ids=["probability", "mask"])
def test_every_volume_is_within_3_percent_from_8_slices_up(shape: str, slice_mm: float, graded: bool) -> None:
    diameter_mm = max(8.0 * slice_mm, 10.0)
    truth = np.pi * diameter_mm**3 / 6
    for _, ours in repeated(shape, diameter_mm, slice_mm, 3, graded=graded):
        assert ours.volume_mm3 == pytest.approx(truth, rel=0.03)
        assert ours.equivalent_diameter_mm == pytest.approx(diameter_mm, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("slice_mm", "diameter_mm"), [(0.5, 6), (1.25, 6), (1.25, 14), (2.5, 14), (5.0, 30)])
@pytest.mark.parametrize("graded", [True, False], ids=["probability", "mask"])
def test_axes_are_within_half_a_pixel(shape: str, slice_mm: float, diameter_mm: float, graded: bool) -> None:
    semi = semi_axes(shape, diameter_mm)
    long_mm, short_mm = 2 * max(semi[:2]), 2 * min(semi[:2])
    for _, ours in repeated(shape, diameter_mm, slice_mm, 4, graded=graded):
        assert ours.long_axis_mm == pytest.approx(long_mm, abs=0.35)
        assert ours.short_axis_mm == pytest.approx(short_mm, abs=0.35)
        assert ours.mean_diameter_mm == pytest.approx((long_mm + short_mm) / 2, abs=0.35)
        assert ours.max_diameter_3d_mm == pytest.approx(2 * semi.max(), abs=max(0.35, slice_mm / 2))


@pytest.mark.parametrize("slice_mm", [2.5, 5.0])
def test_axes_in_thick_slices_are_within_half_a_voxel(slice_mm: float) -> None:
    for _, ours in repeated("sphere", 8.0, slice_mm, 8):
        assert ours.long_axis_mm == pytest.approx(8, abs=slice_mm / 2)
        assert ours.short_axis_mm == pytest.approx(8, abs=slice_mm / 2)


def test_ground_glass_is_measured_as_well_as_solid() -> None:
    truth = np.pi * 12**3 / 6
    found = [ours for _, ours in repeated("sphere", 12, 1.25, 6, hu=GLASS_HU, noise_hu=30.0, graded=False)]
    assert np.mean([m.volume_mm3 for m in found]) == pytest.approx(truth, rel=0.03)
    assert {m.texture for m in found} == {"ground-glass"}
    assert all(m.solid_volume_mm3 == m.solid_diameter_mm == m.solid_mean_diameter_mm == 0 for m in found)


def test_axes_end_points_are_perpendicular_and_as_long_as_said() -> None:
    _, ours = repeated("flat", 12, 1.25, 1)[0]
    a, b, c, d = (np.array(p) for p in ours.axes_mm)
    assert np.linalg.norm(b - a) == pytest.approx(ours.long_axis_mm, abs=0.01)
    assert np.linalg.norm(d - c) == pytest.approx(ours.short_axis_mm, abs=0.01)
    assert abs(np.dot(b - a, d - c)) < 1e-6 * ours.long_axis_mm * ours.short_axis_mm
    assert np.ptp([p[2] for p in ours.axes_mm]) < 1e-6  # on one axial slice


def scene(extra: str = "", graded: bool = False, diameter_mm: float = 8.0) -> tuple[Outline, np.ndarray, np.ndarray]:
    """A nodule of 8 mm in lung with a neighbour; HU, and the share of the nodule alone."""
    shape, spacing = (60, 60, 30), (0.7, 0.7, 1.25)
    center = np.array([21.3, 20.8, 18.2])
    share = ellipsoid_share(shape, spacing, center, [diameter_mm / 2] * 3)
    tissue = share.copy()
    x = np.arange(60) * 0.7
    if extra == "vessel":  # 3 mm thick, through the nodule along y
        r = np.hypot((x[:, None, None] - center[0]), (np.arange(30) * 1.25 - center[2])[None, None, :])
        tissue = np.maximum(tissue, np.broadcast_to(np.clip(0.5 + (1.5 - r) / 0.7, 0, 1), shape))
    if extra == "wall":  # touches the nodule at x = its right edge
        tissue = np.maximum(tissue, np.broadcast_to((x[:, None, None] > center[0] + diameter_mm / 2 - 0.5), shape))
    hu = LUNG_HU + (SOLID_HU - LUNG_HU) * tissue + np.random.default_rng(0).normal(0, 20, shape)
    return outline_of(share if graded else (share >= 0.5).astype(float)), hu, share


@pytest.mark.parametrize("extra", ["vessel", "wall"])
@pytest.mark.parametrize("graded", [True, False], ids=["probability", "mask"])
def test_what_touches_the_nodule_does_not_count(extra: str, graded: bool) -> None:
    outline, hu, share = scene(extra, graded)
    ct = make_ct(hu, affine((0.7, 0.7, 1.25)))
    assert measure(outline, ct, all_lung(ct)).volume_mm3 == pytest.approx(share.sum() * ct.voxel_mm3, rel=0.04)


@pytest.mark.parametrize(
    "orientation",
    [
        np.diag([-1.0, -1.0, 1.0]),
        np.diag([1.0, 1.0, -1.0]),
        np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),  # sagittal slices
    ],
    ids=["feet first", "downwards", "sagittal"],
)
def test_sizes_do_not_depend_on_how_the_grid_lies(orientation: np.ndarray) -> None:
    outline, hu, _ = scene(graded=True)
    upright = make_ct(hu, affine((0.7, 0.7, 1.25)))
    turned_affine = affine((0.7, 0.7, 1.25), (5, -7, 11))
    turned_affine[:3, :3] = orientation @ turned_affine[:3, :3]
    turned = make_ct(hu, turned_affine)
    a, b = measure(outline, upright, all_lung(upright)), measure(outline, turned, all_lung(turned))
    assert b.volume_mm3 == pytest.approx(a.volume_mm3)
    assert b.max_diameter_3d_mm == pytest.approx(a.max_diameter_3d_mm, abs=0.01)
    assert b.mean_diameter_mm == pytest.approx(8, abs=0.35)
    assert np.ptp([p[2] for p in b.axes_mm]) < 1e-6  # the axes still lie on an axial plane
    assert np.allclose(b.center_mm, turned.to_world(upright.to_index(a.center_mm)))


def test_tilted_slices_are_taken_as_axial() -> None:
    tilt = np.deg2rad(20)
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    matrix = affine((0.7, 0.7, 1.25))
    matrix[:3, :3] = rotation @ matrix[:3, :3]
    outline, hu, _ = scene(graded=True)
    ct = make_ct(hu, matrix)
    assert axial_axis(matrix) == 2
    ours = measure(outline, ct, all_lung(ct))
    assert ours.long_axis_mm == pytest.approx(8, abs=0.35)
    a, b, c, d = (np.array(p) for p in ours.axes_mm)
    assert abs(np.dot(b - a, rotation[:, 2])) < 1e-6
    assert abs(np.dot(d - c, rotation[:, 2])) < 1e-6


def test_nodule_of_one_voxel() -> None:
    hu = np.full((9, 9, 9), LUNG_HU)
    hu[4, 4, 4] = SOLID_HU
    ct = make_ct(hu, affine((0.7, 0.7, 1.25)))
    ours = measure(outline_of((hu > -400).astype(float), margin=0), ct, all_lung(ct))
    assert ours.volume_mm3 == pytest.approx(0.7 * 0.7 * 1.25, rel=0.2)
    assert 0.5 < ours.short_axis_mm <= ours.long_axis_mm < 1.0
    assert ours.center_index == (4, 4, 4)
    assert ours.bbox_index == ((4, 4, 4), (5, 5, 5))
    assert ours.mean_hu == SOLID_HU
    assert ours.texture == "solid"


@pytest.mark.parametrize("graded", [True, False], ids=["probability", "mask"])
def test_nodule_cut_by_the_border_of_the_volume(graded: bool) -> None:
    spacing = (0.7, 0.7, 1.25)
    share = ellipsoid_share((30, 30, 12), spacing, (10, 10, 0.625), (5, 5, 5))  # the half above k = 0 is in the image
    ct = make_ct(LUNG_HU + (SOLID_HU - LUNG_HU) * share, affine(spacing))
    ours = measure(outline_of(share if graded else (share >= 0.5).astype(float)), ct, all_lung(ct))
    assert ours.volume_mm3 == pytest.approx(share.sum() * ct.voxel_mm3, rel=0.05)
    assert ours.long_axis_mm == pytest.approx(10, abs=0.6)
    assert ours.bbox_index[0][2] == 0


def test_outline_without_margin_is_measured_like_one_with() -> None:
    outline, hu, share = scene()
    ct = make_ct(hu, affine((0.7, 0.7, 1.25)))
    tight = outline_of((share >= 0.5).astype(float), margin=0)
    a, b = (measure(o, ct, all_lung(ct)) for o in (tight, outline))
    assert a.volume_mm3 == pytest.approx(b.volume_mm3)
    assert a.max_diameter_3d_mm == pytest.approx(b.max_diameter_3d_mm, abs=0.001)
    assert a.center_mm == pytest.approx(b.center_mm)
    assert a.axes_mm[0] == pytest.approx(b.axes_mm[0])
    assert (a.bbox_index, a.mean_hu, a.texture) == (b.bbox_index, b.mean_hu, b.texture)


def test_part_solid_nodule_has_a_solid_part_of_the_right_size() -> None:
    shape, spacing, center = (60, 60, 30), (0.7, 0.7, 1.25), (21.3, 20.8, 18.2)
    whole = ellipsoid_share(shape, spacing, center, [9, 8, 8])
    core = ellipsoid_share(shape, spacing, center, [5.5, 4.5, 4.5])
    hu = LUNG_HU + (GLASS_HU - LUNG_HU) * whole + (SOLID_HU - GLASS_HU) * core
    ct = make_ct(hu, affine(spacing))
    ours = measure(outline_of(whole), ct, all_lung(ct))
    assert ours.texture == "part-solid"
    assert ours.solid_diameter_mm == pytest.approx(11, abs=0.7)
    assert ours.solid_mean_diameter_mm == pytest.approx(10, abs=0.7)
    assert ours.solid_volume_mm3 == pytest.approx(core.sum() * ct.voxel_mm3, rel=0.1)
    assert ours.solid_volume_mm3 < ours.volume_mm3


def test_solid_nodule_is_its_own_solid_part() -> None:
    _, ours = repeated("tall", 10, 1.25, 1)[0]
    assert ours.texture == "solid"
    assert ours.solid_volume_mm3 == ours.volume_mm3
    assert ours.solid_diameter_mm == ours.long_axis_mm
    assert ours.solid_mean_diameter_mm == ours.mean_diameter_mm


def test_density_is_that_of_the_mask() -> None:
    outline, hu, _ = scene()
    ct = make_ct(hu, affine((0.7, 0.7, 1.25)))
    values = ct.hu[outline.box][outline.mask]
    ours = measure(outline, ct, all_lung(ct))
    assert ours.mean_hu == pytest.approx(values.mean(), abs=0.051)
    assert list(ours.hu_percentiles) == sorted(ours.hu_percentiles)
    assert ours.hu_percentiles[2] == pytest.approx(np.median(values))


def test_equivalent_diameter() -> None:
    assert equivalent_diameter(np.pi * 10**3 / 6) == pytest.approx(10)


def test_refusals_say_what_is_wrong() -> None:
    outline, hu, _ = scene()
    ct = make_ct(hu, affine((0.7, 0.7, 1.25)))
    lungs = all_lung(ct)
    with pytest.raises(MaskError, match="both must be on one grid"):
        measure(outline, ct, Lungs(lungs.labels[:-1], 1000.0, 0.0))
    with pytest.raises(MaskError, match="empty"):
        measure(outline, ct, Lungs(np.zeros_like(lungs.labels), 0.0, 0.0))
    with pytest.raises(MaskError, match="without a voxel"):
        measure(dataclasses.replace(outline, mask=np.zeros_like(outline.mask)), ct, lungs)
    with pytest.raises(MaskError, match="beyond the CT"):
        measure(dataclasses.replace(outline, offset=(55, 0, 0)), ct, lungs)
    with pytest.raises(MaskError, match="differ in shape"):
        measure(dataclasses.replace(outline, probability=outline.probability[1:]), ct, lungs)


def two_lungs() -> tuple[np.ndarray, np.ndarray]:
    """Two boxes of lung in a chest, 2 mm voxels: right at low x (LPS), left at high x; 90 slices of lung."""
    labels = np.zeros((120, 80, 100), np.uint8)
    labels[10:50, 10:70, 5:95] = 1
    labels[70:110, 10:70, 5:95] = 2
    return labels, np.where(labels > 0, LUNG_HU, WALL_HU)


def place(center_index: tuple[float, float, float], hole: bool = False) -> Measurements:
    """A nodule of 12 mm somewhere in `two_lungs`; with `hole`, the lung mask leaves it out."""
    labels, hu = two_lungs()
    spacing = (2.0, 2.0, 2.0)
    share = ellipsoid_share(labels.shape, spacing, np.array(center_index) * 2.0, (6, 6, 6))
    hu = hu + (SOLID_HU - hu) * share
    if hole:
        labels[share > 0.2] = 0
    ct = make_ct(hu, affine(spacing, (-120, -80, -100)))
    return measure(outline_of(share), ct, Lungs(labels, 1000.0, 1000.0))


@pytest.mark.parametrize(
    ("center", "side", "third"),
    [((30, 40, 20), "right", "lower"), ((90, 40, 50), "left", "middle"), ((30, 40, 80), "right", "upper")],
)
def test_side_and_third(center: tuple[float, float, float], side: str, third: str) -> None:
    ours = place(center)
    assert (ours.side, ours.third) == (side, third)


@pytest.mark.parametrize("hole", [False, True], ids=["in the mask", "left out of the mask"])
def test_distance_to_the_pleura(hole: bool) -> None:
    # The lung's box runs from x = 19 to 99 mm (voxel edges): a nodule of radius 6 at x = 60 is 33 mm away.
    assert place((30, 40, 50), hole).pleura_distance_mm == pytest.approx(33, abs=1.5)
    assert place((18, 40, 50), hole).pleura_distance_mm == pytest.approx(11, abs=1.5)


def test_a_nodule_on_the_pleura_has_no_distance() -> None:
    assert place((12.5, 40, 50)).pleura_distance_mm == 0
    assert place((12.5, 40, 50), hole=True).pleura_distance_mm == 0


def test_a_nodule_outside_both_lungs_goes_to_the_nearest() -> None:
    ours = place((64, 40, 50))
    assert ours.side == "left"
    assert ours.pleura_distance_mm == 0
    assert place((54, 40, 50)).side == "right"
