"""Images in memory become a CT as their files do."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_lung.errors import GeometryError, MonaiLungError, NotCTError, UsageError
from monai_lung.io import as_ct, read_ct, write_nifti
from monai_lung.model import CT, LPS_RAS, Lungs, Report
from monai_lung.pipeline import Analyzer

AFFINE = np.array([[0.7, 0, 0, -50], [0, 0.7, 0, -60], [0, 0, 2.5, 100], [0, 0, 0, 1]])
HU = (np.random.default_rng(0).random((20, 18, 12)) * 1400 - 1000).astype(np.int16)


def images() -> dict[str, object]:
    itk = sitk.GetImageFromArray(np.ascontiguousarray(HU.T))
    itk.SetSpacing((0.7, 0.7, 2.5))
    itk.SetOrigin((-50, -60, 100))
    return {
        "MetaTensor": MetaTensor(torch.from_numpy(HU.copy())[None].float(), affine=torch.from_numpy(LPS_RAS @ AFFINE)),
        "MetaTensor without a channel": MetaTensor(
            torch.from_numpy(HU.copy()), affine=torch.from_numpy(LPS_RAS @ AFFINE)
        ),
        "SimpleITK": itk,
        "nibabel": nibabel.Nifti1Image(HU, LPS_RAS @ AFFINE),
    }


@pytest.mark.parametrize("kind", images())
def test_an_image_of_each_library_is_what_its_file_is(tmp_path: Path, kind: str) -> None:
    write_nifti(tmp_path / "a.nii.gz", HU, AFFINE)
    of_file = read_ct(tmp_path / "a.nii.gz")
    ct = Analyzer().read(images()[kind])
    np.testing.assert_array_equal(ct.hu, of_file.hu)
    np.testing.assert_allclose(ct.affine_lps, of_file.affine_lps, atol=1e-5)
    assert ct.name == "image"


def test_an_array_needs_its_affine() -> None:
    np.testing.assert_array_equal(as_ct(HU.astype(np.float64), AFFINE).hu, HU)
    with pytest.raises(UsageError, match="ndarray: an array has no voxel size"):
        Analyzer().read(HU)
    with pytest.raises(UsageError, match="the affine is"):
        as_ct(HU, AFFINE[:3])


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (None, UsageError),
        ({"image": HU}, UsageError),
        (nibabel.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), MonaiLungError),
        (sitk.Image(5, 5, sitk.sitkInt16), GeometryError),
        (nibabel.Nifti1Image(np.zeros((5, 5, 5, 2), np.int16), np.eye(4)), GeometryError),
        (nibabel.Nifti1Image(np.full((9, 9, 9), np.nan, np.float32), np.eye(4)), NotCTError),
    ],
)
def test_what_can_not_be_a_ct_is_one_clear_line(image: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Analyzer().read(image)
    assert "\n" not in str(caught.value)


def test_a_ct_of_float_values_holds_hu() -> None:
    """It raised a UFuncTypeError deep in the analysis."""
    values = np.array([-3000.0, -800.4, 40.6, np.nan, 1e6], np.float32).reshape(5, 1, 1)
    ct = CT(values, AFFINE.tolist(), "a")
    assert ct.hu.dtype == np.int16
    assert ct.hu[:, 0, 0].tolist() == [-1024, -800, 41, -1024, 32767]
    assert CT(np.full((2, 2, 2), 70000, np.int32), AFFINE, "a").hu.max() == 32767


@pytest.mark.parametrize("hu", [np.zeros((3, 3)), np.zeros((3, 3, 3), bool), np.full((1, 1, 1), "a")])
def test_a_ct_of_what_is_no_image_is_refused(hu: np.ndarray) -> None:
    with pytest.raises(UsageError, match="CT 'a': hu is"):
        CT(hu, AFFINE, "a")
    with pytest.raises(UsageError, match=r"affine_lps \(3, 3\)"):
        CT(HU, np.eye(3), "a")


def test_a_report_prints_on_a_line() -> None:
    """One in a notebook was 107,281 characters."""
    ct = CT(HU, AFFINE, "chest")
    report = Report(ct, Lungs(np.ones(HU.shape, np.uint8), 2800.0, 2500.0), ())
    assert repr(ct) == "CT('chest', 20 x 18 x 12 voxels of 0.7 x 0.7 x 2.5 mm)"
    assert repr(report) == "Report('chest', Lungs(2800 ml right, 2500 ml left), 0 nodules: - mm)"
