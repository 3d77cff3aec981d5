"""Large outlines that branch: a hilum or vessels, not nodules. A check that needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from monai_lung.grid import Grid, resample
from monai_lung.model import CT, Outline

BRANCHING_MM = 12.0
"""Diameter of the sphere of an outline's volume from which its shape is looked at."""
LEAST_SOLIDITY = 0.65
"""Chosen on thirteen patients' lungs (`research/branching.py`): of outlines of 12 mm and more 33 of 119 false ones are
below, 1 of 254 nodules and masses that were set in or were there, and none of those that were there."""
VOXEL_MM = 2.0
"""Shapes are compared on voxels of this size, whatever the CT's."""
MOST_VOXELS = 32
"""Along a side: those of outlines above 64 mm are larger, or a mass of 15 cm would take seconds."""


def without_branches(outlines: Sequence[Outline], ct: CT) -> list[Outline]:
    """`outlines` without large ones that branch: less than 0.65 of their convex hull is theirs. The order is kept."""
    return [o for o in outlines if _diameter_mm(o, ct) < BRANCHING_MM or solidity(o, ct) >= LEAST_SOLIDITY]


def solidity(outline: Outline, ct: CT) -> float:
    """Share of an outline's convex hull that it fills, on voxels of 2 mm or more: 1 for a ball, less if it branches.

    1.0 where it is too thin for a hull.
    """
    own = outline.grid(ct.grid)
    axes = own.patient_axes
    corners = own.to_world(np.argwhere(np.ones((2, 2, 2))) * (np.array(own.shape) - 1))
    along = np.linalg.solve(axes, (corners - own.center_mm).T).T
    extent_mm = np.ptp(along, axis=0)
    voxel_mm = max(VOXEL_MM, float(extent_mm.max()) / MOST_VOXELS)
    shape = [math.ceil(extent / voxel_mm) + 3 for extent in extent_mm]
    target = Grid.around(own.center_mm, (voxel_mm,) * 3, shape, axes)
    mask = resample(outline.mask.astype(np.float32), own, target, outside=0) >= 0.5
    return solidity_of(mask)


def solidity_of(mask: NDArray[np.bool_]) -> float:
    """The same of a mask (X, Y, Z) on voxels that are as high as wide."""
    try:
        hull = ConvexHull(np.argwhere(mask)).equations
    except (QhullError, ValueError):
        return 1.0
    within = np.indices(mask.shape).reshape(3, -1)
    for facet in hull:  # one by one: voxels times facets would take a lot of memory
        within = within[:, facet[:3] @ within + facet[3] <= 1e-6]
    return float(mask.sum() / within.shape[1])


def _diameter_mm(outline: Outline, ct: CT) -> float:
    return math.cbrt(6 * int(outline.mask.sum()) * ct.voxel_mm3 / math.pi)
