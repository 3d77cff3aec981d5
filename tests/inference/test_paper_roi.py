"""The region that the paper's classifying network sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_lung.inference.paper import NEAR_MM, near_only, nodule_roi
from monai_lung.model import CT, Outline, Seed
from monai_lung.stages import RateSettings

SETTINGS = RateSettings(spacing_mm=(1.5, 1.5, 3.0), region=(24, 24, 12), slope=1, offset=0, spread=0, min_nodule=0)


def roi_of(hu: np.ndarray, affine: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    ct = CT(hu.astype(np.int16), affine, name="one")
    seed = Seed((0.0, 0.0, 0.0), 1.0, 10.0)
    return nodule_roi(ct, Outline(mask, mask.astype(np.float32), (0, 0, 0), seed), SETTINGS)[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_holds_what_is_near_the_nodule_however_the_scan_is_stored(axis: int) -> None:
    shape, spacing = (60, 64, 40), np.array([0.7, 0.8, 1.6])
    hu = np.random.default_rng(0).integers(-900, 300, shape)
    index = np.indices(shape).reshape(3, -1).T
    away = np.linalg.norm((index - (30, 28, 18)) * spacing, axis=1).reshape(shape)
    mask = away <= 5
    affine = np.diag([*spacing, 1.0])
    roi = roi_of(hu, affine, mask)
    turned = affine.copy()
    turned[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    turned[:3, axis] *= -1
    torch.testing.assert_close(roi_of(np.flip(hu, axis), turned, np.flip(mask, axis)), roi, atol=1e-3, rtol=0)
    middle = (torch.tensor(roi.shape) - 1) / 2
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in roi.shape), indexing="ij"), -1)
    distance = torch.linalg.norm((grid - middle) * torch.tensor(SETTINGS.spacing_mm), dim=-1)
    assert (roi[distance < 5] > 0).float().mean() > 0.9
    assert not roi[distance > 5 + NEAR_MM + 3].any()


def test_a_nodule_smaller_than_a_voxel_is_somewhere_and_none_is_nowhere() -> None:
    image, share = np.ones((9, 9, 9), np.float32), np.zeros((9, 9, 9), np.float32)
    assert not near_only(image, share, (3, 3, 3), 0.0).any()
    share[4, 4, 4] = 0.1
    assert near_only(image, share, (3, 3, 3), 0.0).sum() == 33
