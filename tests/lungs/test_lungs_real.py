"""The lung mask on real scans, against masks and readers' nodules of others."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_lung.errors import LungsNotFoundError
from monai_lung.io import read_ct
from monai_lung.lungs import segment_lungs

MASKS = [
    ("cip_ct64/ct-64.nrrd", "cip_ct64/wholeLung-64.nrrd", 0.98),
    *((f"imlab/id00{n}_ct.nii.gz", f"imlab/id00{n}_lungs.nii.gz", 0.97) for n in (1, 2, 3, 4)),
    ("elastix_lung/3DCT_lung_baseline.mha", "elastix_lung/3DCT_lung_baseline_mask.mha", 0.97),
    ("elastix_lung/3DCT_lung_followup.mha", "elastix_lung/3DCT_lung_followup_mask.mha", 0.97),
]


@pytest.mark.parametrize(("image", "mask", "least"), MASKS, ids=[mask[0].split("/")[1] for mask in MASKS])
def test_dice_against_masks_of_others(data_dir: Path, image: str, mask: str, least: float):
    ct = read_ct(data_dir / "ct" / image)
    lungs = segment_lungs(ct.hu, ct.affine_lps)
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(data_dir / "ct" / mask))).T > 0
    found = lungs.labels > 0
    if np.sign(ct.affine_lps[1, 1]) != np.sign(sitk.ReadImage(str(data_dir / "ct" / mask)).GetDirection()[4]):
        pytest.fail("image and mask run in different directions")
    assert 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum()) >= least
    if "elastix" in image:  # the right lung alone, cut by the field of view
        assert lungs.left_ml < 30 < lungs.right_ml
        assert {"No left lung was found (0 ml).", "The field of view cuts the lungs at the side."} <= {*lungs.warnings}


def test_lung_bases_of_an_abdomen_are_refused(data_dir: Path):
    ct = read_ct(data_dir / "ct" / "abdomen" / "ct.nii.gz")
    with pytest.raises(LungsNotFoundError):
        segment_lungs(ct.hu, ct.affine_lps)


@pytest.mark.parametrize("patient", ["LIDC-IDRI-0001", "LIDC-IDRI-0003"])
def test_nodules_of_three_readers_lie_inside(data_dir: Path, patient: str):
    ct = read_ct(data_dir / "ct" / patient / "dicom")
    lungs = segment_lungs(ct.hu, ct.affine_lps)
    assert 1000 < lungs.right_ml < 4000
    assert 1000 < lungs.left_ml < 4000
    with (data_dir / "lidc_crops" / "nodules.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["patient"] == patient and int(row["n_readers"]) >= 3]
    assert rows
    for row in rows:
        readers = np.asanyarray(nib.load(data_dir / "lidc_crops" / "readers" / f"{row['id']}.nii.gz").dataobj)
        first_mm = ct.affine_lps @ [float(row["x0"]), float(row["y0"]), 0, 1]
        index = np.rint(ct.to_index((first_mm[0], first_mm[1], float(row["z0_mm"])))).astype(int)
        i, j, k = np.nonzero(readers)
        k = index[2] + k * int(np.sign(ct.affine_lps[2, 2]))
        assert (lungs.labels[index[0] + i, index[1] + j, k] > 0).mean() >= 0.99, row["id"]


def test_two_kernels_of_one_acquisition_agree(data_dir: Path):
    scans = [read_ct(data_dir / "ct" / "LungDx-A0001" / kernel) for kernel in "BL"]
    soft, sharp = (segment_lungs(ct.hu, ct.affine_lps) for ct in scans)
    for side in (1, 2):
        a, b = soft.labels == side, sharp.labels == side
        assert 2 * np.count_nonzero(a & b) / (a.sum() + b.sum()) >= 0.98
    middle_of_mass_mm = (41.3, 201.6, -204.0)  # 60 mm wide, hangs on chest wall and mediastinum
    for ct, lungs in zip(scans, (soft, sharp), strict=True):
        assert lungs.labels[tuple(np.rint(ct.to_index(middle_of_mass_mm)).astype(int))] == 2


EMPHYSEMA = ("QIN-LSC-0003", "QIN-LSC-0009")


@pytest.mark.slow
def test_whole_chests_with_disease(data_dir: Path):
    """Looked at one by one: the mask is what holds air; what it leaves out is said."""
    for folder in sorted(p for p in (data_dir / "lungs").iterdir() if p.is_dir()):
        ct = read_ct(folder)
        lungs = segment_lungs(ct.hu, ct.affine_lps)
        if folder.name == "LIDC-IDRI-0314":  # its upper right lobe holds no air
            assert lungs.right_ml == pytest.approx(949, rel=0.03)
            assert lungs.left_ml == pytest.approx(1934, rel=0.03)
            assert [w for w in lungs.warnings if "right lung is much smaller" in w]
        else:
            assert min(lungs.right_ml, lungs.left_ml) > 1000, folder.name
            assert not [w for w in lungs.warnings if "much smaller" in w], folder.name
        if folder.name in EMPHYSEMA:
            assert lungs.right_ml + lungs.left_ml > 6500
