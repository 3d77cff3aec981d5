"""From the lungs' air on a coarse grid to the lungs on the CT's own grid, vessels and nodules inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_lung.transforms.morphology import Mask, Spacing, close, dilate, erode
from monai_lung.transforms.thorax import AIR_HU

CLOSING_MM = 9.0


def fill_lung(air: Mask, spacing_mm: Spacing) -> Mask:
    """A lung (X, Y, Z) from its air: vessels and nodules filled, those on the pleura by closing."""
    from scipy.ndimage import binary_fill_holes

    closed = close(air, CLOSING_MM, spacing_mm)
    for k in range(closed.shape[2]):
        closed[:, :, k] = binary_fill_holes(closed[:, :, k])
    return closed
