"""A nodule's surroundings: a box of the CT with room around its outline, and how it stands out against them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.model import CT, Lungs, Outline

VISIBLE_HU = 100.0
"""A nodule that stands out by less isn't seen: ground glass is 150 to 300 HU denser than the lung around it."""

LEAST_VOXELS = 8

NEAR_MM, FAR_MM = 2.0, 8.0
"""Where a nodule's surroundings begin, beyond the partial volume of its edge, and where they end."""


def stands_out(outline: Outline, ct: CT, lungs: Lungs) -> bool:
    """Whether an outline is denser than the lung around it: its median by `VISIBLE_HU`, and by their spread.

    The spread is that of the middle two thirds of the surroundings' voxels, noise and small vessels both. True where
    less than eight voxels of lung are around it: then nothing can be told.
    """
    box = box_around(outline, ct, FAR_MM)
    mask, hu = mask_in(outline, box), ct.hu[box]
    away_mm = ndimage.distance_transform_edt(~mask, sampling=ct.spacing_mm)
    around = hu[(away_mm > NEAR_MM) & (away_mm <= FAR_MM) & (lungs.labels[box] > 0)]
    if around.size < LEAST_VOXELS:
        return True
    low, middle, high = np.percentile(around, (17, 50, 83))
    return bool(np.median(hu[mask]) - middle >= max(VISIBLE_HU, (high - low) / 2))


def box_around(outline: Outline, ct: CT, margin_mm: float) -> tuple[slice, slice, slice]:
    """The outline's box with a margin in mm, as far as the CT goes."""
    margin = np.ceil(margin_mm / np.array(ct.spacing_mm)).astype(int)
    start = np.maximum(np.array(outline.offset) - margin, 0)
    stop = np.minimum(np.array(outline.offset) + outline.mask.shape + margin, ct.hu.shape)
    return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])


def mask_in(outline: Outline, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    """The outline's mask on a larger box of the CT."""
    mask = np.zeros([s.stop - s.start for s in box], bool)
    start = [o - s.start for o, s in zip(outline.offset, box, strict=True)]
    mask[tuple(slice(o, o + n) for o, n in zip(start, outline.mask.shape, strict=True))] = outline.mask
    return mask


def filled_lung(lung: NDArray[np.bool_], across: int) -> NDArray[np.bool_]:
    """The lung with the holes within each axial slice filled."""
    slices = np.moveaxis(lung, across, 0)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in slices])
    return np.moveaxis(filled, 0, across)
