"""The grid on which a network sees the lungs. Without MONAI, which is slow to import."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.errors import LungsNotFoundError
from monai_lung.grid import Grid, bounding_box

MARGIN_MM = 12.0
"""Around the lungs, so that a network sees what the pleura lies on."""
NEAR_SHARE = 0.25
"""The share of a voxel that must be lung for the voxel to be in the lungs."""


def lung_grid(
    ct: Grid,
    lungs: NDArray[np.generic],
    spacing_mm: Sequence[float],
    *,
    margin_mm: float = MARGIN_MM,
    at_least: Sequence[int] = (1, 1, 1),
) -> Grid:
    """A grid of other voxels along the patient's axes, over the lungs with a margin around them.

    Args:
        ct: grid of the CT.
        lungs: (X, Y, Z) on it, above 0 inside.
        spacing_mm: of the new grid.
        margin_mm: around the lungs, as far as the CT goes.
        at_least: voxels of the new grid along each axis; where there are fewer, it reaches farther on both sides.

    Raises:
        LungsNotFoundError: `lungs` is empty.
    """
    inside = np.asarray(lungs) > 0
    if not inside.any():
        raise LungsNotFoundError("no lungs to look for nodules in")
    margin = np.ceil(margin_mm / ct.spacing_mm).astype(int)
    box = bounding_box(inside, margin.tolist())
    axes = ct.patient_axes
    grid = ct.part(box).covering(spacing_mm, axes=axes)
    shape = np.maximum(grid.shape, at_least)
    return Grid.around(grid.center_mm, spacing_mm, shape.tolist(), axes)


def near_lungs(share: Tensor) -> Tensor:
    """Where a network is asked: bool (X, Y, Z), a voxel wider than the lungs, from their `share` of each voxel."""
    return dilated(share > NEAR_SHARE)


def dilated(mask: Tensor) -> Tensor:
    """`mask` (bool, (X, Y, Z)), a voxel wider on every side and corner: one axis after the other, as bits."""
    for axis, n in enumerate(mask.shape):
        wide = mask.clone()
        wide.narrow(axis, 1, n - 1).logical_or_(mask.narrow(axis, 0, n - 1))
        wide.narrow(axis, 0, n - 1).logical_or_(mask.narrow(axis, 1, n - 1))
        mask = wide
    return mask
