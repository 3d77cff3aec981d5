"""What the networks that rate see of a nodule, and what they say."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from monai_lung.stages import SLICE_TARGETS as SLICE_TARGETS
from monai_lung.stages import TARGETS as TARGETS
from monai_lung.transforms.window import LUNG_WINDOW_HU, SOFT_WINDOW_HU, windowed

_NEAR_MM, _FADE_MM = 4.5, 1.5
"""How far around the mask the slices are seen, and over how much to each side of there that fades."""
_PARENCHYMA = 0.1
"""Aerated lung in the lung window."""
SURE = 0.03
"""Readers who all say 1, or all 5, count as this or 1 - this: certainty has no logit."""


def region_channels(hu: Tensor, mask: Tensor) -> Tensor:
    """HU (X, Y, Z) and mask 0...1 (X, Y, Z) -> float32 (3, X, Y, Z): lung window, soft-tissue window, mask."""
    return torch.stack([windowed(hu, LUNG_WINDOW_HU), windowed(hu, SOFT_WINDOW_HU), mask.float()])


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
