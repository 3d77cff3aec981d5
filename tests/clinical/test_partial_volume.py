"""A network's outline is as large as readers draw; the volume is the nodule's, at any spacing, noise, blur, density."""

from __future__ import annotations

import numpy as np
import pytest
from clinical_phantoms import GLASS_HU, LUNG_HU, SOLID_HU, affine, ellipsoid_share, make_ct, outline_of
from scipy import ndimage

from monai_lung.clinical.occupancy import occupancy
from monai_lung.clinical.partial_volume import share_at_edge
from monai_lung.model import CT, Outline

DRAWN_MM = 0.15
"""How much farther out a network draws than the edge lies."""


def drawn(
    diameter_mm: float, spacing: tuple[float, float, float], hu: float, noise: float, blur_mm: float, seed: int
) -> tuple[Outline, CT, np.ndarray]:
    """A sphere at a random place, the outline of a network that draws it too large, and the true share."""
    rng = np.random.default_rng(seed)
    half = np.ceil((diameter_mm / 2 + 5) / np.array(spacing)).astype(int) + 1
    shape, center = 2 * half + 1, (half + rng.random(3) - 0.5) * spacing
    share = ellipsoid_share(shape, spacing, center, [diameter_mm / 2] * 3)
    image = LUNG_HU + (hu - LUNG_HU) * ndimage.gaussian_filter(share, blur_mm / np.array(spacing))
    grid = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"), -1)
    inside_mm = diameter_mm / 2 + DRAWN_MM - np.linalg.norm(grid - center, axis=-1)
    ct = make_ct(image + rng.normal(0, noise, share.shape), affine(spacing))
    return outline_of(1 / (1 + np.exp(-inside_mm / 0.4))), ct, share


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.25), (0.7, 0.7, 0.7), (0.7, 0.7, 2.5), (0.9, 0.9, 1.0)])
@pytest.mark.parametrize("diameter_mm", [8.0, 10.0, 12.0, 20.0])
@pytest.mark.parametrize(
    ("hu", "noise", "blur_mm"),
    [(SOLID_HU, 20, 0.0), (SOLID_HU, 60, 0.5), (GLASS_HU, 20, 0.0), (GLASS_HU, 40, 0.4)],
    ids=["solid", "solid, noise and blur", "ground glass", "ground glass, noise and blur"],
)
def test_volume_of_a_generous_outline(
    spacing: tuple[float, float, float], diameter_mm: float, hu: float, noise: float, blur_mm: float
) -> None:
    truth = np.pi * diameter_mm**3 / 6
    errors, by_outline = [], []
    for seed in range(3):
        outline, ct, _ = drawn(diameter_mm, spacing, hu, noise, blur_mm, seed)
        errors.append(occupancy(outline, ct)[0].sum() * ct.voxel_mm3 / truth - 1)
        by_outline.append(outline.mask.sum() * ct.voxel_mm3 / truth - 1)
    assert abs(np.mean(errors)) <= 0.05
    assert abs(np.mean(errors)) < np.mean(by_outline)


def test_ground_glass_around_a_solid_core_counts() -> None:
    """The nodule's HU are those next to its edge: those of the core would make the rim of glass half lung."""
    outline, ct, _ = drawn(14.0, (0.7, 0.7, 1.25), GLASS_HU, 0.0, 0.0, 1)
    center = ct.to_index((0, 0, 0)) + np.argwhere(outline.mask).mean(0) + outline.offset
    core = ellipsoid_share(ct.hu.shape, (0.7, 0.7, 1.25), center * (0.7, 0.7, 1.25), [4.0] * 3)
    with_core = make_ct(ct.hu + (SOLID_HU - GLASS_HU) * core, ct.affine_lps)
    both = [occupancy(outline, c)[0].sum() for c in (ct, with_core)]
    assert both[1] == pytest.approx(both[0], rel=0.05)


def patched(outline: Outline, hu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, HU and a box of True, all of the whole CT."""
    mask = np.zeros(hu.shape, bool)
    mask[outline.box] = outline.mask
    return mask, hu.astype(float), np.ones(hu.shape, bool)


def test_the_share_is_that_of_the_nodule_in_each_voxel() -> None:
    outline, ct, share = drawn(10.0, (0.7, 0.7, 1.25), SOLID_HU, 0.0, 0.0, 4)
    found = share_at_edge(*patched(outline, ct.hu), ct.spacing_mm)
    at_edge = np.isfinite(found)
    assert at_edge[(share > 0.05) & (share < 0.95)].all()
    np.testing.assert_allclose(found[at_edge], share[at_edge], atol=0.03)


def test_hu_have_no_say_beside_a_vessel_nor_without_contrast_nor_beyond_the_ct() -> None:
    outline, ct, _ = drawn(10.0, (0.7, 0.7, 1.25), SOLID_HU, 0.0, 0.0, 4)
    mask, hu, known = patched(outline, ct.hu)
    x, y, z = np.rint(np.argwhere(mask).mean(0)).astype(int)
    vessel = hu.copy()
    vessel[:, y - 2 : y + 3, z - 1 : z + 2] = SOLID_HU
    beside = share_at_edge(mask, vessel, known, ct.spacing_mm)
    end = np.argwhere(mask[:, y, z]).max()
    assert np.isnan(beside[end : end + 2, y, z]).all()
    assert np.isfinite(beside[x, np.argwhere(mask[x, :, z]).max(), z])
    assert np.isnan(share_at_edge(mask, LUNG_HU + (hu - LUNG_HU) * 0.1, known, ct.spacing_mm)).all()
    known[x:] = False
    assert np.isnan(share_at_edge(mask, hu, known, ct.spacing_mm)[x:]).all()


def test_a_nodule_that_fills_no_voxel_keeps_its_outline() -> None:
    """Where no voxel is all nodule its HU isn't known: 6 mm in slices of 5 mm."""
    outline, ct, _ = drawn(6.0, (0.7, 0.7, 5.0), SOLID_HU, 0.0, 0.0, 0)
    assert np.isnan(share_at_edge(*patched(outline, ct.hu), ct.spacing_mm)).all()
