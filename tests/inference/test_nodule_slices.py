from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lung_builder import BALLS, two_lungs

from monai_lung.inference import Networks, delineate
from monai_lung.inference.slices import central_slices, nodule_slices
from monai_lung.model import CT, Outline, Seed


def of_the_ball(ct: CT, networks: Networks, which: int = 1) -> Outline:
    center, radius = BALLS[which]
    (outline,) = delineate(ct, [Seed(center, 0.9, 2 * radius)], networks)
    return outline


def test_the_slices_show_the_nodule_in_their_middle_at_its_size(networks: Networks) -> None:
    ct, _ = two_lungs((0.8, 0.8, 1.0))
    seen = nodule_slices(ct, of_the_ball(ct, networks), networks.rate_settings).numpy()
    assert seen.shape == (3, 48, 48, 5)
    assert seen.min() >= 0
    assert seen.max() <= 1
    for image, mask in zip(np.moveaxis(seen[0], -1, 0), np.moveaxis(seen[2], -1, 0), strict=True):
        marked = np.argwhere(mask > 0.5)
        np.testing.assert_allclose(marked.mean(0), 23.5, atol=1)
        assert image[mask > 0.5].mean() > 0.5
    wide_mm = 2 * np.sqrt((seen[2, ..., 2] > 0.5).sum() / np.pi) * 0.75
    assert wide_mm == pytest.approx(2 * BALLS[1][1], abs=1)
    np.testing.assert_allclose(seen[:2, 0, 0], [[0.1] * 5, [0.0] * 5], atol=1e-6)  # far off it's plain lung


def test_the_slices_of_half_the_largest_area_are_taken_evenly() -> None:
    mask = np.zeros((9, 9, 12), bool)
    mask[4, 4, 1] = True  # too small
    for k, n in enumerate((5, 6, 7, 8, 8, 7, 6)):
        mask[:n, :5, 2 + k] = True
    assert central_slices(mask, 5) == [2, 4, 5, 6, 8]
    assert central_slices(mask, 1) == [5]
    flat = mask[..., :3]
    assert central_slices(flat, 3) == [2, 2, 2]


def hooked() -> tuple[CT, Outline]:
    """A mask and a pattern around it that look different in every mirror, off the middle of its box."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 200, (40, 36, 30)).astype(np.int16)
    affine = np.diag([0.8, 0.9, 1.5, 1.0])
    affine[:3, 3] = -10, 5, 60
    mask = np.zeros((9, 8, 6), bool)
    mask[1:4, 1:7, 1:5] = True
    mask[4:8, 1:3, 2:5] = True
    ct = CT(hu, affine, "case", Path("case"))
    return ct, Outline(mask, mask.astype(np.float32), (14, 11, 9), Seed((0.0, 0.0, 0.0), 1.0, 1.0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flipped", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_any_storage_gives_the_very_same_slices(
    flipped: tuple[int, ...], order: tuple[int, int, int], networks: Networks
) -> None:
    ct, outline = hooked()
    hu, mask, affine, offset = ct.hu, outline.mask, ct.affine_lps.copy(), list(outline.offset)
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (hu.shape[axis] - 1)
        affine[:3, axis] *= -1
        offset[axis] = hu.shape[axis] - offset[axis] - mask.shape[axis]
        hu, mask = np.flip(hu, axis), np.flip(mask, axis)
    affine[:, :3] = affine[:, list(order)]
    moved = replace(ct, hu=hu.transpose(order), affine_lps=affine)
    x, y, z = (offset[axis] for axis in order)
    turned = replace(outline, mask=mask.transpose(order), offset=(x, y, z))
    here = nodule_slices(ct, outline, networks.rate_settings)
    torch.testing.assert_close(nodule_slices(moved, turned, networks.rate_settings), here, atol=1e-4, rtol=0)
    for mirror in ((1,), (2,), (1, 2)):
        assert not torch.allclose(here, here.flip(mirror), atol=0.1)


def test_an_oblique_grid_is_followed(networks: Networks) -> None:
    ct, outline = hooked()
    a = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    oblique = replace(ct, affine_lps=turn @ ct.affine_lps)
    here, there = (nodule_slices(c, outline, networks.rate_settings) for c in (ct, oblique))
    torch.testing.assert_close(there, here, atol=1e-3, rtol=0)  # slices lie along the grid's own axes


def test_a_nodule_at_the_images_border_has_slices(networks: Networks) -> None:
    ct, _ = two_lungs((1.0, 1.0, 1.0))
    mask = np.ones((1, 1, 1), bool)
    corner = Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed((0.0, 0.0, 0.0), 1.0, 1.0))
    seen = nodule_slices(ct, corner, networks.rate_settings).numpy()
    assert np.isfinite(seen).all()
    assert seen[2].max() > 0.3
    assert seen[0].max() > 0  # not all of it black
