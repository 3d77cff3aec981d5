"""The inputs and outputs of the networks that rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from monai_lung.stages import NEAR_CHANNELS as NEAR_CHANNELS
from monai_lung.stages import SLICE_TARGETS as SLICE_TARGETS
from monai_lung.stages import TARGETS as TARGETS
from monai_lung.stages import WIDE_CHANNELS as WIDE_CHANNELS
from monai_lung.transforms.window import BONE_WINDOW_HU, LUNG_WINDOW_HU, SOFT_WINDOW_HU, windowed

_NEAR_SLAB_MM, _WIDE_SLAB_MM, _DEPTH_MM = 9.0, 18.0, 20.0
_NEAR_MM, _FADE_MM = 4.5, 1.5
"""How far around the mask the slices are seen, and over how much to each side of there that fades."""
_PARENCHYMA = 0.1
"""Aerated lung in the lung window."""
SURE = 0.03
"""Readers who all say 1, or all 5, count as this or 1 - this: certainty has no logit."""


def region_channels(hu: Tensor, mask: Tensor) -> Tensor:
    """HU (X, Y, Z) and mask 0...1 (X, Y, Z) -> float32 (3, X, Y, Z): lung window, soft-tissue window, mask."""
    return torch.stack([windowed(hu, LUNG_WINDOW_HU), windowed(hu, SOFT_WINDOW_HU), mask.float()])


def near_channels(hu: Tensor, mask: Tensor, z_mm: float) -> Tensor:
    """HU and mask (X, Y, Z) close to a nodule -> float32 (`NEAR_CHANNELS`, X, Y, Z).

    `region_channels`, and the lung window's highest value in a slab along z: a vessel is long in it, a nodule isn't.
    """
    channels = region_channels(hu, mask)
    return torch.cat([channels, slab(channels[0], _NEAR_SLAB_MM, z_mm)[None]])


def wide_channels(hu: Tensor, mask: Tensor, inside: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """HU, mask and lungs (X, Y, Z) far around a nodule -> float32 (`WIDE_CHANNELS`, X, Y, Z).

    Lung window, a window up to dense bone, mask, distance to the lungs' border (positive inside, at most 20 mm = 1),
    and the lung window's highest value in a slab along z.
    """
    lung = windowed(hu, LUNG_WINDOW_HU)
    depth = torch.from_numpy(signed_depth(inside.numpy() >= 0.5, spacing_mm))
    slabbed = slab(lung, _WIDE_SLAB_MM, float(spacing_mm[2]))
    return torch.stack([lung, windowed(hu, BONE_WINDOW_HU), mask.float(), depth, slabbed])


def slab(image: Tensor, thick_mm: float, z_mm: float) -> Tensor:
    """The highest value within `thick_mm` along z around each voxel of `image` (X, Y, Z): a sliding thin-slab MIP."""
    reach = max(1, round(thick_mm / z_mm / 2))
    return functional.max_pool3d(image[None], (1, 1, 2 * reach + 1), stride=1, padding=(0, 0, reach))[0]


def signed_depth(inside: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.float32]:
    """Distance (X, Y, Z) to the border of `inside` in units of 20 mm, positive inside, at most 1 either way."""
    if inside.all() or not inside.any():
        return np.full(inside.shape, 1.0 if inside.any() else -1.0, np.float32)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing_mm)
    depth -= ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    return np.clip(depth / _DEPTH_MM, -1, 1).astype(np.float32)


def slice_channels(hu: Tensor, mask: Tensor, pixel_mm: float) -> Tensor:
    """HU and mask 0...1 of slices (X, Y, slices) -> float32 (3, X, Y, slices): `region_channels` near the mask.

    Further off there's plain lung: whole scans and crops, which end soon beyond their nodule, then look the same.
    """
    flat = (mask > 0).float().permute(2, 0, 1)
    reach, fade = (round(mm / pixel_mm) for mm in (_NEAR_MM, _FADE_MM))
    near = functional.max_pool2d(flat, 2 * reach + 1, stride=1, padding=reach)
    near = functional.avg_pool2d(near, 2 * fade + 1, stride=1, padding=fade).permute(1, 2, 0)
    channels = region_channels(hu, mask)
    channels[:2] *= near
    channels[0] += _PARENCHYMA * (1 - near)
    return channels
