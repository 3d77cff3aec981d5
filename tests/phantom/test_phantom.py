"""The phantom: its truth against its voxels, its DICOM against pydicom, its options against what they promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from monai_lung.errors import InputError, OutputError, UsageError
from monai_lung.phantom import Contour, PhantomNodule, PhantomSpec, make_phantom, read_contour, write_phantom

HERE = (-75.0, 0.0, 20.0)
NEAR = PhantomSpec(size=64, pixel_mm=0.8, slices=24, spacing_mm=1.5, center_mm=HERE, noise_hu=0, nodules=())


def with_nodule(spec: PhantomSpec = NEAR, **how: object) -> PhantomSpec:
    return replace(spec, nodules=(PhantomNodule(**{"center_mm": HERE, "diameter_mm": 14, **how}),))


def voxel_mm3(phantom) -> float:
    return abs(np.linalg.det(phantom.affine_lps[:3, :3]))


def labelled_center(phantom) -> np.ndarray:
    index = np.argwhere(phantom.nodule_labels == 1).mean(0)
    return phantom.affine_lps[:3, :3] @ index + phantom.affine_lps[:3, 3]


@pytest.mark.parametrize("shape", ["sphere", "ellipsoid", "lobulated"])
def test_labels_have_the_volume_and_centre_of_the_formula(shape):
    phantom = make_phantom(with_nodule(shape=shape, diameter_mm=18))
    (truth,) = phantom.nodules
    assert truth.exact
    assert truth.volume_mm3 == pytest.approx(np.pi / 6 * 18**3)
    assert (phantom.nodule_labels == 1).sum() * voxel_mm3(phantom) == pytest.approx(truth.volume_mm3, rel=0.03)
    assert np.abs(labelled_center(phantom) - truth.center_mm).max() < 0.15


@pytest.mark.parametrize("shape", ["sphere", "ellipsoid", "lobulated"])
def test_every_shape_fills_its_volume(shape):
    nodule = PhantomNodule((0, 0, 0), 10, shape)
    axis, step = np.linspace(-8, 8, 161, retstep=True)
    inside = nodule.inside()(*np.meshgrid(axis, axis, axis, indexing="ij", sparse=True))
    assert inside.sum() * step**3 == pytest.approx(nodule.volume_mm3, rel=2e-3)
    assert np.abs(np.argwhere(inside).mean(0) - 80).max() < 0.01
    farthest = np.linalg.norm(np.argwhere(inside) - 80, axis=1).max() * step
    assert farthest <= nodule.reach_mm + step


def test_shapes_differ():
    masks = [make_phantom(with_nodule(shape=s)).nodule_labels for s in ("sphere", "ellipsoid", "lobulated")]
    counts = [(a != b).sum() for a, b in zip(masks, masks[1:] + masks[:1], strict=True)]
    assert min(counts) > 100


def test_hu_integral_over_the_nodule_is_kept_by_partial_volume():
    """Thick slices smear the nodule but neither add nor lose any of it."""
    for thickness in (1.5, 6.0):
        spec = replace(NEAR, thickness_mm=thickness, slices=40)
        without = make_phantom(spec).hu.astype(float)
        phantom = make_phantom(with_nodule(spec))
        # a background of about -865 HU replaced by 40: vessels in the nodule's place make it a little less
        volume = (phantom.hu - without).sum() * voxel_mm3(phantom) / (40 + 865)
        assert volume == pytest.approx(phantom.nodules[0].volume_mm3, rel=0.08)


def test_thick_slices_blur_along_z_only():
    def extent(thickness_mm: float) -> int:
        spec = replace(NEAR, thickness_mm=thickness_mm)
        change = make_phantom(with_nodule(spec, diameter_mm=6)).hu - make_phantom(spec).hu.astype(int)
        return int((change > 60).any((0, 1)).sum())

    assert extent(7.5) - extent(1.5) in (3, 4, 5)


def test_texture_sets_the_hu():
    def inside(texture: str) -> np.ndarray:
        phantom = make_phantom(with_nodule(texture=texture, diameter_mm=18))
        return phantom.hu[phantom.nodule_labels == 1]

    assert np.median(inside("solid")) == pytest.approx(40, abs=3)
    assert np.median(inside("ground-glass")) == pytest.approx(-580, abs=10)
    mixed = inside("part-solid")
    assert np.median(mixed) == pytest.approx(-580, abs=20)
    assert (mixed > -300).mean() == pytest.approx(1 / 8, abs=0.06)


def test_solid_volume_follows_the_texture():
    truth = {
        texture: make_phantom(with_nodule(texture=texture)).nodules[0]
        for texture in ("solid", "part-solid", "ground-glass")
    }
    assert truth["solid"].solid_volume_mm3 == truth["solid"].volume_mm3
    assert truth["part-solid"].solid_volume_mm3 == pytest.approx(truth["solid"].volume_mm3 / 8)
    assert truth["ground-glass"].solid_volume_mm3 == 0


def test_pleural_nodule_sits_on_the_wall():
    spec = replace(NEAR, center_mm=(-110, 0, 20))
    phantom = make_phantom(replace(spec, nodules=(PhantomNodule((-105, 0, 20), 12, pleural=True),)))
    (truth,) = phantom.nodules
    whole = np.pi / 6 * 12**3
    assert not truth.exact
    assert 0.5 * whole < truth.volume_mm3 < 0.95 * whole
    mask = phantom.nodule_labels == 1
    assert (phantom.lung_labels[mask] > 0).mean() > 0.95
    assert mask.sum() * voxel_mm3(phantom) == pytest.approx(truth.volume_mm3, rel=0.04)
    grown = np.roll(mask, 2, 0) | np.roll(mask, -2, 0)
    assert (phantom.lung_labels[grown] == 0).any()
    border = mask & (np.roll(phantom.lung_labels, 1, 0) * np.roll(phantom.lung_labels, -1, 0) == 0)
    assert np.median(phantom.hu[border]) > -100, "no dark line between the nodule and the wall"


def test_nodule_outside_the_lungs_is_refused():
    with pytest.raises(UsageError, match=r"nodule 1 .* outside the lungs"):
        make_phantom(with_nodule(center_mm=(0, 60, 0)))


@pytest.mark.parametrize(
    "how", [{"size": 4}, {"thickness_mm": 0}, {"tilt_deg": 80}, {"spacing_mm": -1}, {"noise_hu": float("nan")}]
)
def test_impossible_grid_is_refused(how):
    with pytest.raises(UsageError, match=next(iter(how))):
        replace(NEAR, **how)


@pytest.mark.parametrize("how", [{"diameter_mm": 0}, {"core": 1.5}, {"shape": "contour"}])
def test_impossible_nodule_is_refused(how):
    with pytest.raises(UsageError):
        PhantomNodule(**{"center_mm": HERE, **how})


def test_same_seed_same_voxels_other_seed_others():
    spec = replace(NEAR, noise_hu=20)
    first, again, other = (make_phantom(s).hu for s in (spec, spec, replace(spec, seed=1)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_and_kernel():
    def noise(kernel: str) -> np.ndarray:
        spec = replace(NEAR, kernel=kernel, slices=8)
        return make_phantom(replace(spec, noise_hu=25)).hu - make_phantom(spec).hu.astype(float)

    neighbours = {}
    for kernel in ("smooth", "standard", "sharp"):
        image = noise(kernel)
        assert image[..., 2].std() == pytest.approx(25, rel=0.08)
        neighbours[kernel] = np.corrcoef(image[1:].ravel(), image[:-1].ravel())[0, 1]
    assert neighbours["smooth"] > neighbours["standard"] > neighbours["sharp"]


def test_contrast_brightens_the_heart_not_the_lung():
    spec = replace(NEAR, center_mm=(20, -28, -52), size=48, slices=6)
    plain, contrast = make_phantom(spec), make_phantom(replace(spec, blood_hu=250))
    middle = (24, 24, 3)
    assert plain.hu[middle] == pytest.approx(45, abs=5)
    assert contrast.hu[middle] == pytest.approx(250, abs=5)


def test_whole_chest_has_plausible_lungs(phantom_dir: Path):
    lungs = nibabel.load(phantom_dir / "truth" / "lungs.nii.gz")
    labels = np.asarray(lungs.dataobj)
    ml = [(labels == side).sum() * abs(np.linalg.det(lungs.affine)) / 1000 for side in (1, 2)]
    assert 2000 < ml[1] < ml[0] < 4000
    middle = [np.argwhere(labels == side).mean(0) @ lungs.affine[:3, :3].T + lungs.affine[:3, 3] for side in (1, 2)]
    assert middle[0][0] > 30, "the right lung lies at positive x in RAS"
    assert middle[1][0] < -30
    truth = json.loads((phantom_dir / "truth" / "nodules.json").read_text())
    assert [n["texture"] for n in truth["nodules"]].count("solid") == 3
    nodules = np.asarray(nibabel.load(phantom_dir / "truth" / "nodules.nii.gz").dataobj)
    assert [int((nodules == n["id"]).sum()) for n in truth["nodules"]] == [n["voxels"] for n in truth["nodules"]]
    assert (labels[nodules > 0] > 0).mean() > 0.99


def test_dicom_is_a_valid_ct_series(phantom_dir: Path):
    slices = [pydicom.dcmread(path) for path in sorted((phantom_dir / "dicom").iterdir())]
    assert len(slices) == 60
    assert {ds.SOPClassUID.name for ds in slices} == {"CT Image Storage"}
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({ds[keyword].value for ds in slices}) == 1
    assert len({ds.SOPInstanceUID for ds in slices}) == 60
    assert all(
        ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID and ds.SOPInstanceUID.is_valid for ds in slices
    )
    z = np.array([float(ds.ImagePositionPatient[2]) for ds in slices])
    assert np.allclose(np.diff(z), -5)
    hu = slices[30].pixel_array * slices[30].RescaleSlope + slices[30].RescaleIntercept
    assert hu[0, 0] == pytest.approx(-1000, abs=80)


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "FFP"])
def test_position_turns_the_grid_not_the_patient(position, tmp_path):
    from monai_lung.io import read_ct

    spec = PhantomSpec(size=64, pixel_mm=6, slices=30, spacing_mm=10, position=position, noise_hu=0, padding_hu=-2000)
    phantom = make_phantom(spec)
    folder = write_phantom(phantom, tmp_path / "p")
    ct = read_ct(folder)
    hu = phantom.hu if ct.affine_lps[2, 2] * phantom.affine_lps[2, 2] > 0 else phantom.hu[:, :, ::-1]
    assert np.array_equal(ct.hu, np.maximum(hu, -1024))
    heart = np.rint(ct.to_index((20, -28, -52))).astype(int)
    assert ct.hu[tuple(heart)] == pytest.approx(45, abs=15)
    liver = np.rint(ct.to_index((-70, 5, -120))).astype(int)
    assert ct.hu[tuple(liver)] == pytest.approx(58, abs=15)
    tag = pydicom.dcmread(folder / "IM0001.dcm")
    assert tag.PatientPosition == position
    assert tag.PixelPaddingValue + tag.RescaleIntercept == -2000


def test_tilt_keeps_places(tmp_path):
    from monai_lung.io import read_ct

    nodule = PhantomNodule((-75, 0, 20), 20)
    spec = PhantomSpec(size=96, pixel_mm=4, slices=60, spacing_mm=5, tilt_deg=12, noise_hu=0, nodules=(nodule,))
    phantom = make_phantom(spec)
    assert np.abs(labelled_center(phantom) - nodule.center_mm).max() < 1
    ct = read_ct(write_phantom(phantom, tmp_path / "p"))
    assert ct.resampled
    assert ct.hu[tuple(np.rint(ct.to_index(nodule.center_mm)).astype(int))] > -100


def test_contour_from_crops(tmp_path):
    crops = _crops(tmp_path)
    contour = read_contour(crops, "n1")
    assert contour.mask.sum() == 4 * 5 * 3, "half of two readers is one"
    assert contour.volume_mm3 == pytest.approx(60 * 0.5 * 0.5 * 2)
    phantom = make_phantom(with_nodule(shape="contour", contour=contour))
    assert phantom.nodules[0].volume_mm3 == pytest.approx(30)
    with pytest.raises(InputError, match="no nodule other"):
        read_contour(crops, "other")


def test_contour_keeps_its_orientation(tmp_path):
    """The crop's first columns lie on the patient's right in RAS files of LIDC: they must do so in the phantom."""
    mask = np.zeros((12, 4, 4), bool)
    mask[:, 1:3, 1:3] = True
    mask[:3] = True  # thick at small x: towards the patient's right
    phantom = make_phantom(with_nodule(shape="contour", contour=Contour(mask, (1.5, 1.5, 1.5))))
    index = np.argwhere(phantom.nodule_labels == 1)
    x = index @ phantom.affine_lps[0, :3] + phantom.affine_lps[0, 3]
    area = [np.sum((x > HERE[0] + a) & (x <= HERE[0] + b)) for a, b in ((-7, -4), (7, 10))]
    assert area[0] > 1.5 * area[1] > 0


def test_contour_of_a_real_nodule(data_dir):
    from monai_lung.data.crops import read_table

    row = next(r for r in read_table(data_dir / "lidc_crops") if r.diameter_mm and 10 < r.diameter_mm < 14)
    contour = read_contour(data_dir / "lidc_crops", row.id)
    phantom = make_phantom(with_nodule(shape="contour", contour=contour))
    assert phantom.nodules[0].diameter_mm == pytest.approx(row.diameter_mm, abs=0.02)
    voxels = (phantom.nodule_labels == 1).sum() * voxel_mm3(phantom)
    assert voxels == pytest.approx(contour.volume_mm3, rel=0.05)


def test_nothing_half_written(tmp_path, monkeypatch):
    phantom = make_phantom(replace(NEAR, slices=2))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError):
        write_phantom(phantom, blocked)
    monkeypatch.setattr("monai_lung.phantom.files.write_nifti", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_phantom(phantom, tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def _crops(folder: Path) -> Path:
    readers = np.zeros((10, 10, 5), np.uint8)
    readers[2:6, 2:7, 1:4] = 1
    readers[2:4, 2:7, 1:4] |= 2
    for kind, array in (("images", np.zeros(readers.shape, np.int16)), ("readers", readers)):
        (folder / kind).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-0.5, -0.5, 2, 1])), folder / kind / "n1.nii.gz")
    (folder / "nodules.csv").write_text("id,patient,n_readers,diameter_mm\nn1,p1,2,3.9\n")
    return folder
