"""Nodules of known size, rendered with partial volume: what the tests in this folder measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.model import CT, Lungs, Outline, Seed

LUNG_HU, SOLID_HU, GLASS_HU, WALL_HU = -850.0, 30.0, -600.0, 20.0


def affine(spacing: Sequence[float], origin: Sequence[float] = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return matrix


def ellipsoid_share(
    shape: Sequence[int], spacing: Sequence[float], center_mm: Sequence[float], semi_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Share of each voxel within an ellipsoid: exact along z, up to 6 x 6 samples within the slice."""
    fine = [min(6, max(3, int(np.ceil(s / 0.12)))) for s in spacing[:2]]
    x, y = (((np.arange(shape[a] * fine[a]) + 0.5) / fine[a] - 0.5) * spacing[a] - center_mm[a] for a in (0, 1))
    room = 1 - (x[:, None] / semi_mm[0]) ** 2 - (y[None, :] / semi_mm[1]) ** 2
    height = semi_mm[2] * np.sqrt(np.clip(room, 0, None))
    edges = (np.arange(shape[2] + 1) - 0.5) * spacing[2] - center_mm[2]
    share = np.empty(tuple(shape))
    for k in range(shape[2]):
        overlap = np.clip(np.minimum(edges[k + 1], height) - np.maximum(edges[k], -height), 0, None) / spacing[2]
        share[:, :, k] = overlap.reshape(shape[0], fine[0], shape[1], fine[1]).mean(axis=(1, 3))
    return share


def random_nodule(
    rng: np.random.Generator,
    semi_mm: Sequence[float],
    spacing: Sequence[float],
    *,
    hu: float = SOLID_HU,
    noise_hu: float = 20.0,
    graded: bool = True,
    blur_mm: float = 0.35,
) -> tuple[Outline, CT, Lungs] | None:
    """An ellipsoid at a random place of the grid; None where it fills no voxel by half."""
    half = np.ceil((np.asarray(semi_mm) + 4) / spacing).astype(int) + 1
    shape = 2 * half + 1
    center = (half + rng.random(3) - 0.5) * spacing
    share = ellipsoid_share(shape, spacing, center, semi_mm)
    if not (share >= 0.5).any():
        return None
    soft = ndimage.gaussian_filter(share, [blur_mm / spacing[0], blur_mm / spacing[1], 0])
    image = LUNG_HU + (hu - LUNG_HU) * soft + rng.normal(0, noise_hu, share.shape)
    ct = make_ct(image, affine(spacing))
    return outline_of(share if graded else (share >= 0.5).astype(float)), ct, all_lung(ct)


def make_ct(hu: NDArray[np.float64], affine_lps: NDArray[np.float64], **fields: object) -> CT:
    return CT(np.rint(hu).clip(-1024, 3071).astype(np.int16), affine_lps, "phantom", Path("phantom"), **fields)  # type: ignore[arg-type]


def outline_of(probability: NDArray[np.float64], margin: int = 2) -> Outline:
    """The largest part of `probability` >= 0.5, in a box with `margin` voxels where the image has room."""
    labels, _ = ndimage.label(probability >= 0.5)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask = labels == int(sizes.argmax())
    index = np.argwhere(mask)
    start = np.maximum(index.min(axis=0) - margin, 0)
    stop = np.minimum(index.max(axis=0) + 1 + margin, mask.shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    i, j, k = (int(v) for v in start)
    seed = Seed((0.0, 0.0, 0.0), 1.0, 5.0)
    return Outline(mask[box], probability[box].astype(np.float32), (i, j, k), seed)


def all_lung(ct: CT) -> Lungs:
    """A lung mask that takes the whole image for the right lung."""
    return Lungs(np.ones(ct.hu.shape, np.uint8), 1000.0, 0.0)
