"""Where a nodule's surface lies by its HU: a voxel across the edge is a mixture of nodule and lung.

The networks draw a nodule as the radiologists did that they learned from, about 0.1 mm larger on each side than the
middle of its edge; that alone makes the volume of an 8 mm sphere 10 % too large. The HU say where the edge is: a voxel
of HU h between lung of l and nodule of n holds (h - l) / (n - l) of nodule, and the sum of these shares over the edge
is the nodule's volume, however wide the scanner blurs it. This is the principle of partial volume correction (Kuhnigk
et al., IEEE Trans Med Imaging 2006;25:417); here l and n are those next to each place of the edge, so that a solid core
doesn't hide the ground glass around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_CONTRAST_HU = 150.0
"""Below this the nodule doesn't stand out against what is around it, and HU say nothing of its surface."""

NEAR_MM = 1.0
"""Reach of the nodule's own HU along the edge: SD of a Gaussian; twice as much for those of the lung."""

BRIGHTEST = 85
"""Percentile of the mask's HU from which on voxels stand for the nodule where none has only nodule around it."""
FULL_VOXELS = 2.0
"""A body as wide as so many voxels fills at least one of them, however it lies; of a smaller one the HU isn't known."""

_FACES = ndimage.generate_binary_structure(3, 1)
_CORNERS = ndimage.generate_binary_structure(3, 3)


def share_at_edge(
    mask: NDArray[np.bool_], hu: NDArray[np.float64], known: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Share of the voxels on both sides of a mask's surface that is nodule, by their HU.

    Args:
        mask: (x, y, z), the nodule, drawn to within a voxel, with a margin of four voxels at least.
        hu: (x, y, z), HU.
        known: (x, y, z), where `hu` are those of the CT.
        spacing_mm: of the three axes.

    Returns:
        share (x, y, z) in 0...1; NaN away from the surface, and where the HU can't tell: beside other dense tissue (a
        vessel, the chest wall), where nodule and lung differ by less than `MIN_CONTRAST_HU`, beyond the CT, and
        everywhere where the nodule is too small for its slices to fill a voxel.
    """
    result = np.full(mask.shape, np.nan)
    inner = mask & ndimage.binary_dilation(~mask, _CORNERS)
    near = ndimage.binary_dilation(mask, _CORNERS)
    around = ndimage.binary_dilation(near, _CORNERS, iterations=2) & ~near & known
    core = mask & ~inner & known
    if not core.any() and np.cbrt(6 / np.pi * mask.sum() * np.prod(spacing_mm)) >= FULL_VOXELS * max(spacing_mm):
        core = mask & (hu >= np.percentile(hu[mask], BRIGHTEST))
    if not core.any() or not around.any():
        return result
    # Lung is the darker part of what is around: the rest may be a vessel or the chest wall.
    lung = around & (hu < (float(np.median(hu[core])) + float(np.percentile(hu[around], 10))) / 2)
    reach = np.maximum(NEAR_MM, 0.7 * np.asarray(spacing_mm)) / np.asarray(spacing_mm)
    nodule_hu, lung_hu = _mean_near(hu, core, reach), _mean_near(hu, lung, 2 * reach)
    with np.errstate(invalid="ignore"):
        contrast = nodule_hu - lung_hu
        other = ndimage.binary_dilation(around & (hu > lung_hu + contrast / 2), _CORNERS, iterations=2)
        # Farther out only noise would count: cut off at no share at all, it adds up to more than nothing.
        outer = ndimage.binary_dilation(mask, _FACES) & ~mask
        edge = (inner | outer) & ~other & known & (contrast >= MIN_CONTRAST_HU)
    result[edge] = np.clip((hu[edge] - lung_hu[edge]) / contrast[edge], 0, 1)
    return result


def _mean_near(
    values: NDArray[np.float64], where: NDArray[np.bool_], reach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of `values` at `where`, weighted by a Gaussian around each voxel; NaN where there is none near.

    `reach` is the Gaussian's SD in voxels.
    """
    weight = ndimage.gaussian_filter(where.astype(np.float64), reach, truncate=6)
    total = ndimage.gaussian_filter(np.where(where, values, 0.0), reach, truncate=6)
    return np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), np.nan)
