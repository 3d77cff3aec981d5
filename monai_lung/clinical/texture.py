"""Texture of a nodule (solid, part-solid, ground glass) and its solid part.

The rule reads one number: the 75th percentile of the HU inside the outline, its rim of partial volume left out. Its
two limits were fitted on the readers' texture ratings of 840 LIDC-IDRI nodules (median <= 2 ground glass, >= 4 solid,
between them part-solid); `docs/explanation/clinical.md` has the agreement, which is above that of one reader with the
others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.clinical.axes import Axes, axes, axial_axis
from monai_lung.model import CT, Index, Outline, Texture

GROUND_GLASS_BELOW_HU = -470.0
SOLID_ABOVE_HU = -250.0
"""Limits of the core's 75th percentile: ground glass up to the first, solid above the second."""

CORE_VOXELS = 8
"""An outline whose rim leaves fewer voxels than this is read whole."""

SOLID_PART_HU = (-600.0, 0.0)
"""Ground glass and soft tissue. A voxel is solid from half way (-300 HU) on; between, its share grows linearly."""


def texture(outline: Outline, ct: CT) -> Texture:
    """Texture class of a nodule by the density of its core."""
    density = core_percentile(ct.hu[outline.box], outline.mask, axial_axis(ct.affine_lps))
    if density <= GROUND_GLASS_BELOW_HU:
        return "ground-glass"
    return "solid" if density > SOLID_ABOVE_HU else "part-solid"


def core_percentile(hu: NDArray[np.int16], mask: NDArray[np.bool_], across: int, percentile: float = 75.0) -> float:
    """Percentile of the HU inside a mask without its rim.

    Args:
        hu: (x, y, z), HU.
        mask: bool (x, y, z), some voxel True.
        across: the array axis across the slices: the rim is taken off within the slices only, where voxels are fine.
        percentile: which.
    """
    return float(np.percentile(hu[core(mask, across)], percentile))


def core(mask: NDArray[np.bool_], across: int) -> NDArray[np.bool_]:
    """A mask (x, y, z) without its rim within the slices, whose voxels hold lung too; the mask where little is left."""
    cross = np.take(ndimage.generate_binary_structure(3, 1), [1], axis=across)
    inner = np.asarray(ndimage.binary_erosion(mask, cross))
    return inner if np.count_nonzero(inner) >= CORE_VOXELS else mask


def solid_part(
    outline: Outline, share: NDArray[np.float64], offset: Index, ct: CT
) -> tuple[NDArray[np.float64], Axes] | None:
    """The largest solid part of a part-solid nodule: what is denser than -300 HU, without single voxels.

    Args:
        outline: the nodule.
        share: (x, y, z), share of each voxel that the nodule fills (`occupancy`), on a box that holds the outline's.
        offset: index of its first voxel in the CT.
        ct: the CT.

    Returns:
        share of each voxel that the solid part fills, on the same box, and its axes; None without a solid part.
    """
    glass, tissue = SOLID_PART_HU
    start = tuple(a - b for a, b in zip(outline.offset, offset, strict=True))
    box = tuple(slice(s, s + n) for s, n in zip(start, outline.mask.shape, strict=True))
    filled = np.zeros_like(share)
    filled[box] = np.clip((ct.hu[outline.box].astype(np.float64) - glass) / (tissue - glass), 0, 1)
    mask = np.zeros(share.shape, bool)
    mask[box] = outline.mask
    labels, count = ndimage.label(mask & (filled >= 0.5))
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.max() < 2 <= np.count_nonzero(mask):
        return None
    part = labels == int(sizes.argmax())
    # Voxels beside the part that are less than half solid hold the rest of it.
    rim = ndimage.binary_dilation(part) & (filled < 0.5)
    solid = np.minimum(np.where(part | rim, filled, 0.0), share)
    return solid, axes(solid, offset, ct.affine_lps)
