"""How much of the lungs is consolidated: dense tissue too thick to be a vessel, and not an outlined nodule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.surroundings import filled_lung
from monai_lung.grid import bounding_box
from monai_lung.model import CT, Lungs, Outline

DENSE_HU = -300.0
"""Half way from lung to soft tissue, as for a nodule's solid part."""

BRIGHT_HU = 200.0
"""Contrast medium in vessels, or calcium: consolidated lung, enhancing too, stays below."""

VESSEL_MM = 12.0
"""Tissue that an opening of this diameter leaves is thicker than the vessels inside the lungs."""

CONSOLIDATION_ML = 10.0
"""Less than this is not said: a hilum that a mask took in is as much."""

GRID_MM = 2.0


def consolidation_ml(ct: CT, lungs: Lungs, outlines: Sequence[Outline] = ()) -> float:
    """Volume in ml of dense tissue within the filled lungs that is thicker than a vessel, without the outlines.

    The lungs are filled within each axial slice, so that dense lung which a mask left out counts where aerated lung
    surrounds it. Vessels full of contrast medium don't count, however thick (a hilum that a mask took in). An estimate,
    on a grid of about 2 mm.

    Args:
        ct: the CT.
        lungs: its lungs.
        outlines: nodules, which don't count.
    """
    step = np.maximum(1, np.round(GRID_MM / np.array(ct.spacing_mm))).astype(int)
    lung = lungs.labels > 0
    coarse = tuple(slice(s.start, s.stop, int(n)) for s, n in zip(bounding_box(lung), step, strict=True))
    hu = ct.hu[coarse]
    dense = (hu > DENSE_HU) & filled_lung(lung[coarse], axial_axis(ct.affine_lps))
    # Noise lifts single voxels of consolidation above the limit, but not several side by side; a vessel has a rim.
    dense &= ~ndimage.binary_dilation(ndimage.binary_opening(hu > BRIGHT_HU))
    nodules = np.zeros(ct.hu.shape, bool)
    for outline in outlines:
        nodules[outline.box] |= outline.mask
    dense &= ~nodules[coarse]
    spacing = np.array(ct.spacing_mm) * step
    return float(_opened(dense, spacing).sum() * ct.voxel_mm3 * np.prod(step) / 1000)


def _opened(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The rest of a mask after an opening by a ball of `VESSEL_MM`."""
    if not mask.any():
        return mask
    core = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1] >= VESSEL_MM / 2
    if not core.any():
        return core
    around = bounding_box(core, math.ceil(VESSEL_MM / 2 / spacing_mm.min()))
    opened = np.zeros_like(mask)
    near = ndimage.distance_transform_edt(~core[around], sampling=spacing_mm) <= VESSEL_MM / 2
    opened[around] = mask[around] & near
    return opened
