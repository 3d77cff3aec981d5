"""Windows: the range of HU that a network sees as 0...1. Without MONAI, which is slow to import."""

from __future__ import annotations

from torch import Tensor

LUNG_WINDOW_HU = (-1000.0, 400.0)
SOFT_WINDOW_HU = (-160.0, 240.0)
BONE_WINDOW_HU = (-200.0, 1000.0)


def windowed(hu: Tensor, window_hu: tuple[float, float] = LUNG_WINDOW_HU) -> Tensor:
    """`hu` (any shape) over the window: its ends become 0 and 1, what lies outside is clipped."""
    low, high = window_hu
    return ((hu - low) / (high - low)).clamp_(0, 1)
