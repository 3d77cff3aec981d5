"""Slices of an outlined nodule, for the network that says how likely it is malignant."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.inference.networks import RateSettings
from monai_lung.inference.orient import Orientation
from monai_lung.inference.sampling import patch_affine, sample, unit_axes
from monai_lung.model import CT, Outline
from monai_lung.transforms.rating import slice_channels


def nodule_slices(ct: CT, outline: Outline, settings: RateSettings) -> Tensor:
    """What the network sees: float32 (3, pixels, pixels, slices), each slice centred on the mask in it.

    The slices are the CT's own, spread evenly over those that hold at least half of the mask's largest area; of a flat
    nodule some come more than once. The outline's mask holds at least a voxel.
    """
    orientation = Orientation.of(ct.affine_lps, ct.hu.shape)
    affine, hu = orientation.turn_affine(ct.affine_lps), orientation.turn(ct.hu)
    box = np.pad(outline.mask, 1)  # sampling fades to 0 in the empty voxel around it
    own = ct.affine_lps.copy()
    own[:3, 3] = ct.to_world(np.asarray(outline.offset, float) - 1)
    boxed = Orientation.of(own, box.shape)
    mask, mask_affine = boxed.turn(box), boxed.turn_affine(own)
    size = (settings.slice_pixels, settings.slice_pixels, 1)
    spacing_mm = (settings.slice_mm, settings.slice_mm, 1.0)
    images, masks = [], []
    for k in central_slices(mask, settings.slices):
        marked = np.argwhere(mask[..., k])
        middle = np.append((marked.min(0) + marked.max(0)) / 2, k)
        center = mask_affine[:3, :3] @ middle + mask_affine[:3, 3]
        target = patch_affine(center, unit_axes(affine), spacing_mm, size)
        images.append(sample(hu, affine, target, size, border=True))
        masks.append(sample(mask, mask_affine, target, size, border=True))
    return slice_channels(torch.cat(images, -1), torch.cat(masks, -1), settings.slice_mm)


def central_slices(mask: NDArray[np.bool_], count: int) -> list[int]:
    """`count` indices along z, spread evenly over the `wide_slices` of a mask (X, Y, Z), not empty."""
    wide = np.flatnonzero(wide_slices(mask))
    if count == 1:
        return [int(wide[len(wide) // 2])]
    return [int(k) for k in wide[np.linspace(0, len(wide) - 1, count).round().astype(int)]]


def wide_slices(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which slices (Z,) of a mask (X, Y, Z), not empty, hold at least half of its largest area."""
    area = mask.sum((0, 1))
    return np.asarray(2 * area >= area.max())
