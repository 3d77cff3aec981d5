"""Slices of an outlined nodule, for the network that says how likely it is malignant."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.grid import Grid, resample
from monai_lung.inference.networks import RateSettings
from monai_lung.model import CT, Outline
from monai_lung.transforms.rating import slice_channels


def nodule_slices(ct: CT, outline: Outline, settings: RateSettings) -> Tensor:
    """The network's input: float32 (3, pixels, pixels, slices), each slice centred on the mask in it.

    The slices are the CT's own, spread evenly over those that hold at least half of the mask's largest area; of a flat
    nodule some come more than once. The outline's mask holds at least a voxel.
    """
    mask, own = outline.grid(ct.grid).turned(outline.mask)
    size = (settings.slice_pixels, settings.slice_pixels, 1)
    spacing_mm = (settings.slice_mm, settings.slice_mm, own.spacing_mm[2])
    images, masks = [], []
    for k in central_slices(mask, settings.slices):
        marked = np.argwhere(mask[..., k])
        middle = own.to_world([*(marked.min(0) + marked.max(0)) / 2, k])
        target = Grid.around(middle, spacing_mm, size, own.axes)
        images.append(torch.from_numpy(resample(ct.hu, ct.grid, target)))
        masks.append(torch.from_numpy(resample(mask, own, target, outside=0)))
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
