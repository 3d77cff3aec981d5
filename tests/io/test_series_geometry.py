"""Every way in which slices can lie, and whether the voxels end up where they are in the patient."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import AXIAL, SeriesBuilder, assert_same_world, body_hu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_lung.errors import GeometryError
from monai_lung.io import read_ct

FEET_FIRST_PRONE = (-1, 0, 0, 0, -1, 0)


def oblique(degrees, axis):
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    return {"x": (1, 0, 0, 0, c, s), "y": (c, 0, s, 0, 1, 0), "z": (c, s, 0, -s, c, 0)}[axis]


@pytest.mark.parametrize(
    ("orientation", "spacing"),
    [
        (AXIAL, (0.75, 0.75, 2.0)),
        (AXIAL, (0.6, 0.9, 2.5)),
        (FEET_FIRST_PRONE, (0.6, 0.9, 2.5)),
        ((-1, 0, 0, 0, 1, 0), (0.6, 0.9, 1.0)),
        ((0, 1, 0, -1, 0, 0), (0.6, 0.9, 1.0)),
        (oblique(12, "x"), (0.6, 0.9, 2.0)),
        (oblique(20, "y"), (0.7, 0.7, 2.0)),
        (oblique(30, "z"), (0.6, 0.9, 2.0)),
    ],
)
def test_world_positions_for_every_way_to_lie(tmp_path, orientation, spacing):
    builder = SeriesBuilder(orientation=orientation, spacing=spacing)
    builder.write(tmp_path)
    ct = read_ct(tmp_path)
    assert_same_world(ct, builder)
    assert not ct.resampled
    assert np.linalg.det(ct.affine_lps[:3, :3]) > 0
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    for index in ((0, 0, 0), (39, 0, 3), (5, 31, 11)):
        np.testing.assert_allclose(ct.to_world(index), image.TransformIndexToPhysicalPoint(index), atol=1e-3)
    np.testing.assert_array_equal(ct.hu.T, sitk.GetArrayViewFromImage(image))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(12)),
    row_flip=st.booleans(),
    column_flip=st.booleans(),
    swap=st.booleans(),
    feet_first=st.booleans(),
    numbered_backwards=st.booleans(),
    spacing=st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2), st.floats(0.5, 3.0)),
    nested=st.booleans(),
)
def test_any_packaging_gives_the_same_world(
    tmp_path_factory, order, row_flip, column_flip, swap, feet_first, numbered_backwards, spacing, nested
):
    row, column = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    row, column = (-row if row_flip else row), (-column if column_flip else column)
    row, column = (column, row) if swap else (row, column)
    builder = SeriesBuilder(
        orientation=(*row, *column), spacing=tuple(round(s, 4) for s in spacing), PatientPosition="FFS" * feet_first
    )
    if numbered_backwards:
        for k, data in enumerate(builder.datasets):
            data.InstanceNumber = 12 - k
    names = [f"{n % 3}/{n}" if nested else f"{n:02d}.dcm" for n in order]
    folder = builder.write(tmp_path_factory.mktemp("series"), names)
    assert_same_world(read_ct(folder), builder)


def test_missing_slices_are_named_and_filled_on_request(tmp_path):
    hu = body_hu(slices=14)
    hu[:] = np.round(hu[:, :, :1] + 10.0 * np.arange(14))  # linear in z, so that interpolation is exact
    builder = SeriesBuilder(hu)
    del builder.datasets[8:10]
    builder.write(tmp_path)
    with pytest.raises(
        GeometryError, match=r"misses 2 slices \(between z = -86.0 and -80.0 mm\).*--allow-gaps"
    ) as info:
        read_ct(tmp_path)
    assert builder.uid in str(info.value)
    ct = read_ct(tmp_path, allow_gaps=True)
    assert ct.resampled
    assert len(ct.slices) == 12
    assert any("misses 2 slices" in w and "interpolated" in w for w in ct.warnings)
    clear = (hu > -1024).all(axis=2)
    np.testing.assert_array_equal(ct.hu[clear], hu[clear])
    np.testing.assert_allclose(ct.affine_lps, builder.affine, atol=1e-6)


def test_unequal_distances_are_interpolated_at_their_true_places(tmp_path):
    z = np.array([0, 2, 4, 6.5, 8, 10, 12, 15, 16, 18, 20])
    hu = np.round(body_hu(slices=1) + 20.0 * z).astype(np.int16)
    builder = SeriesBuilder(hu)
    for data, own in zip(builder.datasets, z, strict=True):
        data.ImagePositionPatient = [-20, -30, -100 + own]
    builder.write(tmp_path)
    with pytest.raises(GeometryError, match=r"unequal distances, 1.00 to 3.00 mm.*--allow-gaps"):
        read_ct(tmp_path)
    ct = read_ct(tmp_path, allow_gaps=True)
    clear = hu.min(axis=2) > -1000
    expected = hu[clear][:, :1] + 20.0 * np.arange(0, 21, 2)
    assert np.abs(ct.hu[clear] - expected).max() <= 1
    assert ct.spacing_mm[2] == pytest.approx(2.0)


def test_a_wide_gap_is_never_filled(tmp_path):
    builder = SeriesBuilder(body_hu(slices=40))
    del builder.datasets[10:30]
    builder.write(tmp_path)
    with pytest.raises(GeometryError, match="gap of 42 mm is too wide"):
        read_ct(tmp_path, allow_gaps=True)


def test_exact_duplicates_are_dropped_with_a_warning(tmp_path):
    builder = SeriesBuilder()
    builder.write(tmp_path / "a")
    builder.datasets = builder.datasets[3:7]
    for k, data in enumerate(builder.datasets):
        data.SOPInstanceUID = f"1.2.3.{k + 1}"
    builder.write(tmp_path / "b")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert "4 duplicate slices were left out." in ct.warnings


def test_the_whole_series_twice(tmp_path):
    builder = SeriesBuilder()
    builder.write(tmp_path / "a")
    builder.write(tmp_path / "b")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, builder.hu)
    assert len(ct.slices) == 12


def two_phases(tmp_path, second_slices=12, **elements):
    first, second = SeriesBuilder(seed=1), SeriesBuilder(body_hu(seed=5), seed=2)
    for data in second.datasets:
        data.SeriesInstanceUID, data.StudyInstanceUID = first.uid, first.datasets[0].StudyInstanceUID
        data.FrameOfReferenceUID = first.datasets[0].FrameOfReferenceUID
    for number, builder in enumerate((first, second)):
        for data in builder.datasets:
            for name in elements:
                setattr(data, name, number + 1)
    second.datasets = second.datasets[:second_slices]
    first.write(tmp_path / "1")
    second.write(tmp_path / "0")
    return first, second


@pytest.mark.parametrize("element", ["AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime"])
def test_of_two_acquisitions_the_first_complete_one_is_taken(tmp_path, element):
    first, _ = two_phases(tmp_path, **{element: True})
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, first.hu)
    assert "The acquisition with 12 of the 24 slices was used: the series holds 2 that overlap." in ct.warnings


def test_of_two_acquisitions_the_more_complete_one_is_taken(tmp_path):
    first, _ = two_phases(tmp_path, second_slices=5, AcquisitionNumber=True)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, first.hu)


def test_acquisitions_that_nothing_tells_apart_are_refused(tmp_path):
    two_phases(tmp_path)
    with pytest.raises(GeometryError, match="different slices at one place"):
        read_ct(tmp_path)


def test_interleaved_acquisitions_are_told_apart(tmp_path):
    first, second = two_phases(tmp_path, AcquisitionNumber=True)
    for data in second.datasets:
        data.ImagePositionPatient = [-20, -30, data.ImagePositionPatient[2] + 0.7]
    second.write(tmp_path / "0")
    for allow_gaps in (False, True):
        np.testing.assert_array_equal(read_ct(tmp_path, allow_gaps=allow_gaps).hu, first.hu)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"PixelSpacing": [0.8, 0.75]}, "mixes pixel spacings: 1 of 12"),
        ({"ImageOrientationPatient": list(oblique(5, "x"))}, "mixes orientations: 1 of 12"),
        ({"FrameOfReferenceUID": "1.2.3", "ImagePositionPatient": [-15, -30, -92]}, "mixes frames of reference"),
        ({"Rows": 16}, "mixes image sizes: 1 of 12"),
    ],
)
def test_changes_within_a_series_are_refused(tmp_path, changes, match):
    builder = SeriesBuilder()
    for name, value in changes.items():
        setattr(builder.datasets[4], name, value)
    builder.write(tmp_path)
    with pytest.raises(GeometryError, match=match) as info:
        read_ct(tmp_path)
    assert builder.uid in str(info.value)
    assert "\n" not in str(info.value)


def test_large_images_that_differ_by_one_row(tmp_path):
    builder = SeriesBuilder(body_hu(rows=1100, columns=16), spacing=(0.3, 0.3, 2.0))
    builder.datasets[3].Rows = 1099
    builder.write(tmp_path)
    with pytest.raises(GeometryError, match="mixes image sizes"):
        read_ct(tmp_path)


@pytest.mark.parametrize(
    ("spacing", "match"),
    [((0.01, 0.01, 2.0), "no chest CT"), ((30, 30, 2.0), "no chest CT"), ((0.7, 0.7, 40), "no chest")],
)
def test_absurd_voxels_are_refused(tmp_path, spacing, match):
    SeriesBuilder(spacing=spacing).write(tmp_path)
    with pytest.raises(GeometryError, match=match):
        read_ct(tmp_path)


@pytest.mark.parametrize("degrees", [8, -20])
def test_tilt_is_resampled_to_right_angles(tmp_path, degrees):
    """A ball that was scanned with a tilted gantry lies where it lay, and is round."""
    shape, spacing = (64, 64, 36), (1.0, 1.0, 1.5)
    angle = math.radians(degrees)
    orientation = oblique(degrees, "x")
    normal = np.cross(orientation[:3], orientation[3:])
    # The table moves along z: slice centres follow z, the planes are tilted.
    step = np.array([0, 0, spacing[2] / math.cos(angle)])
    shear = step - normal * spacing[2]
    builder = SeriesBuilder(
        np.full(shape, -1000, np.int16), orientation=orientation, spacing=spacing, shear=tuple(shear)
    )
    centre = builder.affine[:3, :3] @ (32, 32, 18) + builder.affine[:3, 3]
    index = np.indices(shape).reshape(3, -1).T
    world = index @ builder.affine[:3, :3].T + builder.affine[:3, 3]
    ball = (np.linalg.norm(world - centre, axis=1) < 12).reshape(shape)
    hu = np.where(ball, 40, -850).astype(np.int16)
    tilted = SeriesBuilder(hu, orientation=orientation, spacing=spacing, shear=tuple(shear))
    tilted.write(tmp_path)
    ct = read_ct(tmp_path)
    assert ct.resampled
    assert any(f"tilted by {abs(degrees)}.0 degrees" in w for w in ct.warnings)
    unit = ct.affine_lps[:3, :3] / ct.spacing_mm
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-6)
    inside = np.argwhere(ct.hu > -400)
    found = ct.to_world(inside)
    np.testing.assert_allclose(found.mean(axis=0), centre, atol=0.1)
    radii = np.abs(found - found.mean(axis=0)).max(axis=0)
    np.testing.assert_allclose(radii, 12, atol=1.05)  # a voxel's centre is at most 1 mm inside
    assert len(inside) * ct.voxel_mm3 == pytest.approx(4 / 3 * math.pi * 12**3, rel=0.03)
    for k, source in enumerate(ct.slices):  # the way back to each original slice
        np.testing.assert_allclose(source.affine_lps @ (3, 4, 0, 1), tilted.affine @ (3, 4, k, 1), atol=1e-4)


def test_tilt_and_gap_together(tmp_path):
    shear = (0.0, 0.4, 0.0)
    builder = SeriesBuilder(body_hu(slices=16), shear=shear)
    del builder.datasets[7]
    builder.write(tmp_path)
    ct = read_ct(tmp_path, allow_gaps=True)
    assert ct.resampled
    assert ct.hu.shape[2] == 16
    assert len(ct.warnings) == 2


def test_slices_beside_each_other_are_refused(tmp_path):
    SeriesBuilder(shear=(20.0, 0.0, 0.0)).write(tmp_path)
    with pytest.raises(GeometryError, match="beside each other"):
        read_ct(tmp_path)


def test_thick_and_oblique_slices_are_mentioned(tmp_path):
    SeriesBuilder(spacing=(0.75, 0.75, 5.0), orientation=oblique(12, "x")).write(tmp_path)
    warnings = read_ct(tmp_path).warnings
    assert any("5.0 mm apart" in w for w in warnings)
    assert any("oblique: 12 degrees" in w for w in warnings)


def test_coarse_pixels_are_mentioned(tmp_path):
    SeriesBuilder(spacing=(2.0, 2.0, 2.0)).write(tmp_path)
    assert any("Pixels are 2.0 mm wide" in w for w in read_ct(tmp_path).warnings)


def test_rounded_positions_are_no_gap(tmp_path):
    builder = SeriesBuilder(body_hu(slices=30), spacing=(0.75, 0.75, 0.625))
    for data in builder.datasets:
        data.ImagePositionPatient[2] = round(float(data.ImagePositionPatient[2]), 1)
    builder.write(tmp_path)
    assert read_ct(tmp_path).spacing_mm[2] == pytest.approx(0.625, abs=0.002)


def test_too_many_voxels(tmp_path, monkeypatch):
    monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", 1000)
    SeriesBuilder().write(tmp_path)
    with pytest.raises(GeometryError, match="15360 voxels, more than 1000: cut it to the chest"):
        read_ct(tmp_path)


def halved(builder, ct):
    """The built volume as it should be read: means of 2 x 2 pixels, each at their middle."""
    x, y, z = builder.hu.shape
    world = np.indices((x // 2, y // 2, z)).reshape(3, -1).T * [2, 2, 1] + [0.5, 0.5, 0]
    at = ct.to_index(world @ builder.affine[:3, :3].T + builder.affine[:3, 3])
    means = builder.hu.reshape(x // 2, 2, y // 2, 2, z).mean(axis=(1, 3))
    return at, np.rint(means).ravel()


def test_too_many_voxels_are_read_at_half_of_their_resolution(tmp_path, monkeypatch):
    """1024 x 1024 x 1200 was refused for memory."""
    builder = SeriesBuilder(body_hu(80, 64, 12), spacing=(0.4, 0.5, 2.0))
    builder.write(tmp_path)
    monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", builder.hu.size // 2)
    ct = read_ct(tmp_path)
    assert ct.resampled
    assert any("80 x 64 x 12 voxels are too many" in w for w in ct.warnings)
    at, means = halved(builder, ct)
    np.testing.assert_allclose(at, np.rint(at), atol=1e-6)
    np.testing.assert_array_equal(ct.hu[tuple(np.rint(at).astype(int).T)], means)
    assert ct.slices[0].shape == (80, 64), "results are mapped back to the stored pixels"


def test_half_of_the_resolution_of_a_tilted_series(tmp_path, monkeypatch):
    ramp = np.add.outer(np.add.outer(np.arange(80) * 3.0, np.arange(64) * 5.0), np.zeros(12)).astype(np.int16) - 500
    builder = SeriesBuilder(ramp, spacing=(0.4, 0.5, 2.0), shear=(0.0, 0.3, 0.0))
    builder.write(tmp_path)
    monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", ramp.size // 2)
    ct = read_ct(tmp_path)
    at, means = halved(builder, ct)
    near = np.rint(at).astype(int)
    inside = np.all((at[:, :2] > 5) & (at[:, :2] < np.array(ct.hu.shape[:2]) - 6), axis=1)  # of every slice
    expected = means - (at - near) @ [6.0, 10.0, 0.0]  # the ramp between the middles
    assert np.abs(ct.hu[tuple(near[inside].T)] - expected[inside]).max() <= 1


def test_a_frame_of_reference_for_each_slice(tmp_path):
    """LIDC-IDRI-0314 as TCIA has it: de-identification gave each slice its own."""
    builder = SeriesBuilder()
    for k, data in enumerate(builder.datasets):
        data.FrameOfReferenceUID = f"1.2.3.{k}"
    builder.write(tmp_path)
    ct = read_ct(tmp_path)
    assert_same_world(ct, builder)
    assert ct.frame_of_reference_uid == "", "none is that of all slices"
    assert any("12 frames of reference" in w for w in ct.warnings)
