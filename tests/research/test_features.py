from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_lung.model import CT, Outline, Seed
from research.study.features import FEATURES, nodule_features


def _ball(pixel_mm: float, radius_mm: float = 6.0) -> tuple[CT, Outline]:
    size = [int(40 / pixel_mm), int(40 / pixel_mm), 32]
    spacing = np.array([pixel_mm, pixel_mm, 1.25])
    grid = np.indices(size) * spacing[:, None, None, None] - (np.array(size) * spacing / 2)[:, None, None, None]
    radius = np.sqrt((grid**2).sum(0))
    hu = (-850 + 880 / (1 + np.exp((radius - radius_mm) / 0.5))).astype(np.int16)
    mask = radius <= radius_mm
    ct = CT(hu, np.diag([*spacing, 1.0]), "ball", Path("ball"))
    return ct, Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed((0, 0, 0), 1.0, 12.0))


def test_features_are_of_the_nodule_not_of_the_pixels() -> None:
    fine, coarse = (dict(zip(FEATURES, nodule_features(*_ball(p)), strict=True)) for p in (0.5, 0.9))
    assert fine["ln_diameter"] == pytest.approx(np.log(12), abs=0.03)
    for name in FEATURES:
        scale = 40 if name.endswith("hu") else 0.12
        scale = {"edge_hu_per_mm": 60, "roundness": 0.4}.get(name, scale)  # a stair's length depends on its steps
        assert coarse[name] == pytest.approx(fine[name], abs=scale), name


def test_one_voxel_at_the_images_corner_has_finite_features() -> None:
    ct, _ = _ball(0.7)
    one = Outline(np.ones((1, 1, 1), bool), np.ones((1, 1, 1), np.float32), (0, 0, 0), Seed((0, 0, 0), 1.0, 1.0))
    assert np.isfinite(nodule_features(ct, one)).all()


def test_mirrored_storage_has_the_same_features() -> None:
    ct, outline = _ball(0.7)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(ct.hu.shape[:2]) - 1
    mirrored = CT(ct.hu[::-1, ::-1], ct.affine_lps @ flip, "ball", Path("ball"))
    other = Outline(outline.mask[::-1, ::-1], outline.probability[::-1, ::-1], (0, 0, 0), outline.seed)
    np.testing.assert_allclose(nodule_features(mirrored, other), nodule_features(ct, outline), rtol=1e-9)
