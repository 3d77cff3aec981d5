"""What the rating network sees of a nodule, and what it says."""

from __future__ import annotations

import torch
from torch import Tensor

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

LUNG_WINDOW_HU = (-1000.0, 400.0)
SOFT_WINDOW_HU = (-160.0, 240.0)


def region_channels(hu: Tensor, mask: Tensor) -> Tensor:
    """HU (X, Y, Z) and mask 0...1 (X, Y, Z) -> float32 (3, X, Y, Z): lung window, soft-tissue window, mask."""
    windows = [((hu - low) / (high - low)).clamp(0, 1) for low, high in (LUNG_WINDOW_HU, SOFT_WINDOW_HU)]
    return torch.stack([*windows, mask.float()])
