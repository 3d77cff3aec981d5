"""Slices that lie on no regular grid, resampled to one: tilt within the planes, gaps between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_lung.grid import Grid
from monai_lung.grid import resample as resample_grid
from monai_lung.io.geometry import Layout
from monai_lung.io.pixels import MIN_HU, in_parallel


def resample(slices: NDArray[np.int16], layout: Layout) -> NDArray[np.int16]:
    """HU on the grid of a layout.

    Slices keep their planes: within them they are shifted, between them they are interpolated, both linearly. Outside
    of all slices is air of -1024 HU.

    Args:
        slices: int16 (n, rows, columns), HU, in the order of `layout.headers`.
        layout: says where each slice lies.

    Returns:
        int16 (Z, Y, X).
    """
    columns, rows, depth = layout.shape
    grid = np.empty((depth, rows, columns), np.int16)

    def fill(k: int) -> None:
        below = int(layout.sources[k])
        weight = layout.sources[k] - below
        plane = _shifted(slices[below], layout, below)
        if weight > 1e-6:
            plane = plane * (1 - weight) + _shifted(slices[below + 1], layout, below + 1) * weight
        np.rint(plane, out=plane)
        grid[k] = plane

    in_parallel(fill, range(depth))
    return grid


def _shifted(image: NDArray[np.int16], layout: Layout, n: int) -> NDArray[np.float32]:
    """Source slice n on the grid's plane: float32 (rows, columns)."""
    columns, rows, _ = layout.shape
    x, y = layout.shifts[n]
    source = Grid((image.shape[0], image.shape[1], 1), np.eye(4))
    affine = np.eye(4)
    affine[:2, 3] = -y, -x
    return resample_grid(image[..., None], source, Grid((rows, columns, 1), affine), outside=MIN_HU)[..., 0]
