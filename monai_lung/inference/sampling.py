"""A patch around a point, on a network's grid, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def patch_affine(
    center: NDArray[np.float64], axes: NDArray[np.float64], spacing_mm: Sequence[float], size: Sequence[int]
) -> NDArray[np.float64]:
    """(4, 4): index of a patch of `size` voxels, centred at `center` (3,) mm, to mm.

    `axes` (3, 3) are unit vectors in its columns: the directions of the patch's axes.
    """
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing_mm, float)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.asarray(size) - 1) / 2)
    return affine


def sample(
    array: NDArray[np.generic] | Tensor,
    affine: NDArray[np.float64],
    target_affine: NDArray[np.float64],
    size: Sequence[int],
    *,
    border: bool,
) -> Tensor:
    """Trilinear values of `array` (X, Y, Z) on another grid, float32 of `size`.

    Only the part of `array` that the grid needs is touched. Outside of it values are those of the nearest border voxel,
    or 0 where `border` is False.
    """
    to_index = np.linalg.inv(affine) @ target_affine
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1)
    reach = to_index[:3, :3] @ corners + to_index[:3, 3:]
    shape = np.array(array.shape)
    low = np.clip(np.floor(reach.min(1)), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(reach.max(1)) + 1, low + 1, shape).astype(int)
    part = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if isinstance(part, np.ndarray):
        part = torch.from_numpy(np.ascontiguousarray(part, np.float32))
    offset = torch.from_numpy(to_index[:3, 3] - low)
    step = torch.from_numpy(to_index[:3, :3])
    scale = 2 / torch.tensor([max(n - 1, 1) for n in part.shape], dtype=torch.float64, device="cpu")
    i, j, k = (torch.arange(n, dtype=torch.float64, device="cpu") for n in size)
    axes = []
    for axis in range(3):
        a, b, c = step[axis]
        value = (a * i)[:, None, None] + (b * j)[None, :, None] + (c * k)[None, None, :] + offset[axis]
        axes.append((value * scale[axis] - 1).float())
    grid = torch.stack([axes[2], axes[1], axes[0]], dim=-1)[None]
    mode = "border" if border else "zeros"
    return functional.grid_sample(part[None, None].float(), grid, padding_mode=mode, align_corners=True)[0, 0]


def unit_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions (3, 3) of an affine's axes, unit vectors in the columns."""
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
