"""Boxes cut out of images, padded where they reach beyond."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import CropForeground

from monai_lung.grid import bounding_box

OUTSIDE_HU = -1024.0
"""The values beyond an image: as dark as its padding."""


def box_of(mask: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and one past the last voxel (3,) of what is above 0 in `mask` (C, X, Y, Z).

    Raises:
        MaskError: nothing is.
    """
    box = bounding_box(np.any(np.asarray(mask) > 0, axis=0).astype(bool))
    return np.array([s.start for s in box]), np.array([s.stop for s in box])


class BoxCrop(CropForeground):
    """Boxes given by their place; MONAI's bookkeeping makes each invertible by the object that cut it."""

    def __init__(self, fill: float = 0.0) -> None:
        """`fill` is what lies beyond the image."""
        super().__init__(mode="constant", value=fill)

    def cut(self, image: torch.Tensor, start: Sequence[int], size: Sequence[int]) -> torch.Tensor:
        """The box of `size` voxels from `start` (may be negative) of an image (C, X, Y, Z); the affine follows."""
        first = np.asarray(start, int)
        return self.crop_pad(image, first, first + np.asarray(size, int))
