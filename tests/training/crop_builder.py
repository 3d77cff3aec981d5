"""Synthetic crops for the tests of training."""

from __future__ import annotations

import numpy as np

from monai_lung.data.crops import RATINGS, Crop, CropRow


def ball_crop(
    radius_mm: float = 4.0, spacing: tuple[float, float, float] = (0.7, 0.7, 1.25), *, wall: bool = False
) -> Crop:
    """A solid ball in lung, cut in z where it ends, with four readers who differ by half a millimetre."""
    n = [int(2 * (radius_mm + 10) / s) for s in spacing[:2]] + [int(2 * radius_mm / spacing[2])]
    grid = np.meshgrid(*[(np.arange(k) - (k - 1) / 2) * s for k, s in zip(n, spacing, strict=True)], indexing="ij")
    r = np.sqrt(sum(g**2 for g in grid))
    rng = np.random.default_rng(0)
    hu = rng.normal(-850, 15, n)
    hu[r <= radius_mm] = 40
    if wall:
        hu[grid[0] > radius_mm * 0.4] = 40
    readers = np.zeros(n, np.uint8)
    for bit, extra in enumerate((-0.5, 0.0, 0.0, 0.5)):
        readers |= (r <= radius_mm + extra).astype(np.uint8) << bit
    ratings = {name: (5, 4, 4, 3) for name in RATINGS}
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    return Crop(CropRow("ball", "patient", 4, ratings, 2 * radius_mm), hu.astype(np.int16), readers, affine)
