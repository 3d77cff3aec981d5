"""NIfTI, NRRD and MHA, whole and broken."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import body_hu

from monai_lung.errors import DecodeError, GeometryError, InputError, NotCTError
from monai_lung.io import as_ct, read_ct, write_nifti
from monai_lung.io.volumes import read_volume

AFFINE_LPS = np.array([[0.7, 0, 0, -20], [0, 0.8, 0, -30], [0, 0, 2.0, 100], [0, 0, 0, 1]])
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti(path, array, affine_ras, slope=None, inter=None):
    image = nibabel.Nifti1Image(array, affine_ras)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


def itk(path, hu, affine, compress=False):
    image = sitk.GetImageFromArray(np.ascontiguousarray(hu.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path), compress)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_every_format_gives_the_same_world(tmp_path, name, flip):
    affine = AFFINE_LPS @ np.diag([*flip, 1])
    hu = body_hu()
    hu[0, 0, 0] = -3024
    if name.startswith("a.nii"):
        nifti(tmp_path / name, hu, RAS @ affine)
    else:
        itk(tmp_path / name, hu, affine, compress=name == "a.nrrd")
    ct = read_ct(tmp_path / name)
    np.testing.assert_array_equal(ct.hu, np.maximum(hu, -1024))
    np.testing.assert_allclose(ct.affine_lps, affine, atol=1e-5)
    assert ct.hu.dtype == np.int16
    assert (ct.name, ct.series, ct.slices, ct.patient_key) == ("a", None, (), "")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_stored_types(tmp_path, dtype):
    hu = body_hu()
    shift = 1024 if dtype is np.uint16 else 0
    path = nifti(tmp_path / "a.nii.gz", (hu + shift).astype(dtype), RAS @ AFFINE_LPS, 1.0, -shift)
    np.testing.assert_array_equal(read_ct(path).hu, hu)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_axes_are_put_in_axial_order(tmp_path, order):
    hu = body_hu()
    path = nifti(tmp_path / "a.nii.gz", hu.transpose(order), (RAS @ AFFINE_LPS)[:, [*order, 3]])
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.hu, hu)
    np.testing.assert_allclose(ct.affine_lps, AFFINE_LPS, atol=1e-5)
    assert any("axial order" in w for w in ct.warnings)


def test_few_values_that_are_no_numbers_become_air(tmp_path):
    hu = body_hu().astype(np.float32)
    hu[0, 0, :3] = np.nan, np.inf, -np.inf
    ct = read_ct(nifti(tmp_path / "a.nii.gz", hu, RAS @ AFFINE_LPS))
    assert (ct.hu[0, 0, :3] == -1024).all()
    assert "3 voxels that were NaN or infinite were taken as -1024 HU." in ct.warnings


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_many_values_that_are_no_numbers_are_refused(tmp_path, name):
    hu = body_hu().astype(np.float32)
    hu[:10] = np.nan
    path = nifti(tmp_path / name, hu, RAS) if name == "a.nii.gz" else itk(tmp_path / name, hu, AFFINE_LPS)
    with pytest.raises(NotCTError, match="25 % of the values"):
        read_ct(path)


def test_missing_orientation_is_mentioned(tmp_path):
    image = nibabel.Nifti1Image(body_hu(), None)
    image.header.set_zooms((0.7, 0.8, 2.0))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert any("left and right may be swapped" in w for w in read_ct(tmp_path / "a.nii.gz").warnings)


@pytest.mark.parametrize(("degrees", "apart"), [(5, "5.3"), (15, "15.8")])
def test_affines_are_compared_at_the_corners(tmp_path, degrees, apart):
    """fmriprep issue 819: no element of the two differs by half a millimetre, the far corner by many."""
    angle = np.deg2rad(degrees)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0, 0], [np.sin(angle), np.cos(angle), 0, 0], [0, 0, 1, 0], [0] * 4]
    )
    turn[3, 3] = 1
    affine = RAS @ AFFINE_LPS
    affine[:3, 3] = 0
    image = nibabel.Nifti1Image(body_hu(80), None)
    image.set_sform(affine, 1)
    image.set_qform(turn @ affine, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    ct = read_ct(tmp_path / "a.nii.gz")
    assert any(f"contradict each other by up to {apart} mm" in w for w in ct.warnings)
    np.testing.assert_allclose(ct.affine_lps, RAS @ affine, atol=1e-5)


@pytest.mark.parametrize("space", ["space: scanner-xyz", "space: 3D-right-handed", "space dimension: 3"])
def test_a_space_that_is_not_the_patients_is_mentioned(tmp_path, space):
    """ITK issue 5207: its vectors are taken for LPS, and the file may have meant RAS."""
    path = itk(tmp_path / "a.nrrd", body_hu(), AFFINE_LPS)
    assert not any("exchanged" in w for w in read_ct(path).warnings)
    path.write_bytes(path.read_bytes().replace(b"space: left-posterior-superior", space.encode()))
    assert any("left and right may be swapped" in w for w in read_ct(path).warnings)


def test_four_dimensions(tmp_path):
    hu = body_hu()
    ct = read_ct(nifti(tmp_path / "one.nii.gz", hu[..., None], RAS @ AFFINE_LPS))
    np.testing.assert_array_equal(ct.hu, hu)
    with pytest.raises(GeometryError, match="40 x 32 x 12 x 2"):
        read_ct(nifti(tmp_path / "two.nii.gz", np.stack([hu, hu], axis=-1), RAS @ AFFINE_LPS))
    with pytest.raises(GeometryError, match="40 x 32"):
        read_ct(nifti(tmp_path / "flat.nii.gz", hu[..., 0], RAS @ AFFINE_LPS))
    four = sitk.JoinSeries([sitk.GetImageFromArray(hu.T)] * 2)
    sitk.WriteImage(four, str(tmp_path / "four.mha"))
    with pytest.raises(GeometryError, match="40 x 32 x 12 x 2"):
        read_ct(tmp_path / "four.mha")


@pytest.mark.parametrize(
    ("affine", "match"),
    [
        (np.diag([0.0, 0.7, 2, 1]), "no chest CT has"),
        (np.diag([0.0007, 0.0007, 0.002, 1]), "is its unit mm"),
        (np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "right angles"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "right angles"),
        (np.array([[np.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "NaN or infinite|damaged"),
    ],
)
def test_impossible_affines(tmp_path, affine, match):
    image = nibabel.Nifti1Image(body_hu(), None)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = affine[row]
    image.header["sform_code"] = 1
    data = image.header.binaryblock + b"\0" * 4 + np.asfortranarray(body_hu()).tobytes("F")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(InputError, match=match):
        read_ct(tmp_path / "a.nii")


def test_few_slices(tmp_path):
    with pytest.raises(GeometryError, match="3 slices where at least 8"):
        read_ct(nifti(tmp_path / "a.nii.gz", body_hu(slices=3), RAS @ AFFINE_LPS))


def test_truncated_volumes(tmp_path):
    hu = body_hu()
    write_nifti(tmp_path / "a.nii.gz", hu, AFFINE_LPS)
    nifti(tmp_path / "a.nii", hu, RAS)
    itk(tmp_path / "a.nrrd", hu, AFFINE_LPS)
    itk(tmp_path / "z.nrrd", hu, AFFINE_LPS, compress=True)
    itk(tmp_path / "a.mha", hu, AFFINE_LPS)
    itk(tmp_path / "z.mha", hu, AFFINE_LPS, compress=True)
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(DecodeError, match="cut off") as info:
            read_ct(path)
        assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_text_named_as_a_volume(tmp_path, name):
    (tmp_path / name).write_text("This is no image.\n" * 40)
    with pytest.raises(DecodeError, match="can't be read"):
        read_ct(tmp_path / name)


def test_thousands_of_slices_by_header_only(tmp_path):
    header = nibabel.Nifti1Image(body_hu(), RAS @ AFFINE_LPS).header
    header.set_data_shape((512, 512, 3000))
    (tmp_path / "big.nii").write_bytes(header.binaryblock + b"\0" * 4)
    with gzip.open(tmp_path / "big.nii.gz", "wb") as file:
        file.write(header.binaryblock + b"\0" * 4)
    for name in ("big.nii", "big.nii.gz"):
        with pytest.raises(DecodeError, match="cut off"):
            read_ct(tmp_path / name)
    header.set_data_shape((2048, 2048, 3000))
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + b"\0" * 4)
    with pytest.raises(GeometryError, match="voxels, more than"):
        read_ct(tmp_path / "huge.nii")
    (tmp_path / "huge.nrrd").write_text(
        "NRRD0004\ntype: double\ndimension: 3\nspace: left-posterior-superior\nsizes: 512 512 3000\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    with pytest.raises(GeometryError, match="6000 MiB"):
        read_ct(tmp_path / "huge.nrrd")


def test_colours_and_labels_are_no_ct(tmp_path):
    rgb = np.zeros((40, 32, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(NotCTError):
        read_ct(nifti(tmp_path / "rgb.nii.gz", rgb, RAS @ AFFINE_LPS))
    with pytest.raises(NotCTError, match="no air"):
        read_ct(nifti(tmp_path / "mask.nii.gz", (body_hu() > -500).astype(np.uint8), RAS @ AFFINE_LPS))


@pytest.mark.parametrize("name", [b"caf\xff\xe9.nrrd", b"two\nlines.mha"])
def test_odd_file_names(tmp_path, name):
    import os
    from pathlib import Path

    source = itk(tmp_path / ("plain" + os.fsdecode(name)[-5:].lstrip("s")), body_hu(), AFFINE_LPS)
    odd = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    source.rename(odd)
    np.testing.assert_array_equal(read_ct(odd).hu, body_hu())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)], ids=["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "array"])
def test_too_many_voxels_are_read_at_half_of_their_resolution(name, order, tmp_path, monkeypatch):
    """1024 x 1024 x 1200 was refused for memory; slices lie across the patient's long axis, however they are stored."""
    rng = np.random.default_rng(3)
    hu = rng.integers(-1000, 400, (41, 34, 12)).astype(np.int16)
    affine = np.diag([0.4, 0.5, 2.0, 1.0])
    affine[:3, 3] = 7, -5, 30
    stored, stored_affine = hu.transpose(order), affine[:, [*order, 3]]
    monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", hu.size // 2)
    if name == "array":
        ct = as_ct(stored, stored_affine)
    elif name == "ct.nrrd":
        image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
        spacing = np.linalg.norm(stored_affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((stored_affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(stored_affine[:3, 3].tolist())
        sitk.WriteImage(image, str(tmp_path / name))
        ct = read_ct(tmp_path / name)
    else:
        nibabel.save(nibabel.Nifti1Image(stored, RAS @ stored_affine), tmp_path / name)
        ct = read_ct(tmp_path / name)
    assert ct.hu.shape == (20, 17, 12)
    assert ct.resampled
    assert sum("voxels are too many" in w for w in ct.warnings) == 1
    np.testing.assert_array_equal(ct.hu, np.rint(hu[:40].reshape(20, 2, 17, 2, 12).mean(axis=(1, 3))))
    np.testing.assert_allclose(ct.to_world(np.array([3.0, 4.0, 5.0])), (affine @ [6.5, 8.5, 5, 1])[:3], atol=1e-4)


def test_labels_are_never_averaged(tmp_path, monkeypatch):
    hu = np.zeros((40, 34, 12), np.int16)
    hu[10:20, 10:20, 4:8] = 7
    nibabel.save(nibabel.Nifti1Image(hu, RAS @ AFFINE_LPS), tmp_path / "labels.nii")
    monkeypatch.setattr("monai_lung.io.geometry.MAX_VOXELS", hu.size // 2)
    with pytest.raises(GeometryError, match="more voxels than can be read whole"):
        read_volume(tmp_path / "labels.nii", whole=True)
