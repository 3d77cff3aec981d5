"""The input of the network that tells nodules from other things: from near, and from afar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.grid import Grid, resample
from monai_lung.inference.networks import RateSettings
from monai_lung.model import CT, Lungs, Outline
from monai_lung.transforms.rating import WIDE_CHANNELS, near_channels, region_channels, wide_channels


def region(ct: CT, outline: Outline, settings: RateSettings, lungs: Lungs | None = None) -> Tensor:
    """The network's input: float32 (channels, *region), centred on the middle of the outline's box.

    Three channels (`region_channels`), or the near and the wide look behind each other where the settings have a wide
    one. Without `lungs` the wide look is empty, as in a tenth of what the network was trained on.
    """
    hu, mask, _ = (torch.from_numpy(a) for a in look(ct, None, outline, settings.spacing_mm, settings.region))
    if settings.wide_spacing_mm is None:
        return region_channels(hu, mask)
    near = near_channels(hu, mask, settings.spacing_mm[2])
    if lungs is None:
        return torch.cat([near, torch.zeros((WIDE_CHANNELS, *settings.region), dtype=near.dtype, device=near.device)])
    hu, mask, inside = (
        torch.from_numpy(a) for a in look(ct, lungs, outline, settings.wide_spacing_mm, settings.region)
    )
    return torch.cat([near, wide_channels(hu, mask, inside, settings.wide_spacing_mm)])


def look(
    ct: CT, lungs: Lungs | None, outline: Outline, spacing_mm: Sequence[float], size: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """HU, mask and lungs (zeros if not given), each `size`, around an outline, along the patient."""
    own = outline.grid(ct.grid)
    target = Grid.around(outline.middle_mm(ct.grid), spacing_mm, size, own.patient_axes)
    inside = np.zeros(target.shape, np.float32)
    if lungs is not None:
        box = ct.grid.reach(target, 2)
        inside = resample(lungs.labels[box] > 0, ct.grid.part(box), target, outside=0)
    return resample(ct.hu, ct.grid, target), resample(outline.mask, own, target, outside=0), inside
