"""A CT whose nodules are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monai_lung.model import CT, Lungs

BALLS = (((-35.0, 12.0, -20.0), 4.0), ((38.0, -9.0, 6.0), 6.5), ((33.0, 20.0, 31.0), 15.0))
"""Centre in LPS mm and radius in mm; the first in the right lung."""


def two_lungs(spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)) -> tuple[CT, Lungs]:
    """Two boxes of lung with a ball of soft tissue in the right and two in the left."""
    shape = tuple(int(n / s) for n, s in zip((160, 110, 120), spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-80, -55, -60]
    grid = np.meshgrid(
        *[np.arange(n) * s + o for n, s, o in zip(shape, spacing, affine[:3, 3], strict=True)], indexing="ij"
    )
    x, y, z = grid
    inside = (np.abs(np.abs(x) - 40) < 32) & (np.abs(y) < 45) & (np.abs(z) < 50)
    hu = np.where(inside, -850, 40).astype(np.int16)
    for center, radius in BALLS:
        hu[sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2] = 30
    labels = np.where(inside, np.where(x < 0, 1, 2), 0).astype(np.uint8)
    return CT(hu, affine, "case", Path("case")), Lungs(labels, 0.0, 0.0)
