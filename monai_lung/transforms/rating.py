"""What the rating network sees of a nodule, and what it says."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_lung.transforms.window import LUNG_WINDOW_HU, SOFT_WINDOW_HU, windowed

TARGETS = (
    "nodule",
    "malignancy",
    "subtlety",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
)
"""The network's outputs, logits: whether it's a nodule at all, and LIDC-IDRI's ratings on 0...1."""
SURE = 0.03
"""Readers who all say 1, or all 5, count as this or 1 - this: certainty has no logit."""


def region_channels(hu: Tensor, mask: Tensor) -> Tensor:
    """HU (X, Y, Z) and mask 0...1 (X, Y, Z) -> float32 (3, X, Y, Z): lung window, soft-tissue window, mask."""
    return torch.stack([windowed(hu, LUNG_WINDOW_HU), windowed(hu, SOFT_WINDOW_HU), mask.float()])
