"""A scan's sub-cases as in the paper (Yu et al., BMC Bioinformatics 22:314, 2021), with the nodules' masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd
from numpy.typing import NDArray

from monai_lung.io.output import write_nifti
from monai_lung.model import CT, LPS_RAS, Lungs
from monai_lung.transforms.boxes import OUTSIDE_HU
from monai_lung.transforms.spacing import LungSpacingd
from monai_lung.transforms.subcases import SubCasesd

PAPER_READERS = 3
"""Readers who make a voxel nodule."""
_LPS = (("R", "L"), ("A", "P"), ("I", "S"))


def write_subcases(ct: CT, lungs: Lungs, votes: NDArray[np.uint8], folder: Path) -> int:
    """Write the sub-cases of a scan: `N_image.nii.gz` (int16 HU) and `N_mask.nii.gz` (uint8), (192, 192, 48).

    The grid is (1.5, 1.5, 3.0) mm; a voxel of the mask is 1 where interpolation gives half or more of what at least
    three readers marked.

    Args:
        votes: (X, Y, Z) on the CT's grid, how many readers marked a voxel.

    Returns:
        How many there are: two, more where lungs are longer than both.
    """
    affine = LPS_RAS @ ct.affine_lps
    arrays = {"image": ct.hu, "mask": votes >= PAPER_READERS, "lungs": lungs.labels > 0}
    items = {
        key: MetaTensor(np.ascontiguousarray(array, np.float32)[None], affine=torch.from_numpy(affine))
        for key, array in arrays.items()
    }
    cut = Compose(
        [
            Orientationd(tuple(items), axcodes="LPS", labels=_LPS),
            LungSpacingd(tuple(items), mode=("bilinear", "bilinear", "nearest")),
            SubCasesd(("image", "mask"), fill=(OUTSIDE_HU, 0.0)),
        ]
    )
    subcases = cut(items)
    for number, subcase in enumerate(subcases):
        image, mask = subcase["image"], subcase["mask"]
        place = LPS_RAS @ np.asarray(image.affine, float)
        write_nifti(folder / f"{number}_image.nii.gz", image[0].numpy().round().astype(np.int16), place)
        write_nifti(folder / f"{number}_mask.nii.gz", mask[0].numpy() >= 0.5, place)
    return len(subcases)
