"""Sizes, density and place of one nodule, on the CT's own grid with sub-voxel care.

Where each number comes from: `occupancy` (volume), `axes` (diameters), `texture` (class and solid part), `location`
(side, third, pleura), `composition` (calcium, fat, bone), `attachment` (what it touches).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monai_lung.clinical import location
from monai_lung.clinical.attachment import attachments, has_lymph_node_shape
from monai_lung.clinical.axes import Axes, axes, axial_axis, max_diameter_3d
from monai_lung.clinical.composition import composition
from monai_lung.clinical.occupancy import occupancy
from monai_lung.clinical.rounding import round_half_up
from monai_lung.clinical.texture import core, solid_part, texture
from monai_lung.model import CT, Index, Lungs, Measurements, Outline, Texture

PART_SOLID_FROM_MM = 6
"""Mean diameter in whole mm; smaller nodules are solid or ground glass."""


def measure(outline: Outline, ct: CT, lungs: Lungs) -> Measurements:
    """Measure an outlined nodule.

    Volume and diameters follow the sub-voxel surface of the outline (`occupancy`); mean and percentiles of the HU are
    those of the mask's voxels. The solid part is the whole of a solid nodule, none of a ground-glass nodule, and of a
    part-solid one what is denser than -300 HU.

    Args:
        outline: mask and probability; a probability that is the mask itself will do.
        ct: the CT that the outline lies on.
        lungs: its lungs; the nodule may lie outside.

    Raises:
        MaskError: the outline is empty or doesn't fit the CT, or the lungs are empty or don't fit it.
    """
    location.check_lungs(lungs, ct)
    share, offset = occupancy(outline, ct)
    whole = axes(share, offset, ct.affine_lps)
    volume_mm3 = float(share.sum()) * ct.voxel_mm3
    kind, solid_mm3, solid = _texture(outline, share, offset, ct, whole)
    center = _center(share) + offset
    x, y, z = (float(v) for v in ct.to_world(center))
    hu = ct.hu[outline.box][outline.mask]
    inner = ct.hu[outline.box][core(outline.mask, axial_axis(ct.affine_lps))]
    p5, p25, p50, p75, p95 = (_rounded(v, 1) for v in np.percentile(hu, (5, 25, 50, 75, 95)))
    side = location.side(outline, ct, lungs)
    made_of = composition(outline, ct, lungs)
    base_mm, top_mm = location.base_and_top(side, ct, lungs)
    height = (z - base_mm) / max(top_mm - base_mm, 1e-6)
    touches = attachments(outline, ct, lungs, side, height)
    wall = kind == "solid" and "pleura" in touches
    apex_mm = top_mm - z if location.shows_top(side, ct, lungs) else None
    return Measurements(
        center_mm=(x, y, z),
        center_index=_nearest_index(center, ct.hu.shape),
        bbox_index=_bounding_box(outline),
        volume_mm3=_rounded(volume_mm3),
        long_axis_mm=_rounded(whole.long_mm),
        short_axis_mm=_rounded(whole.short_mm),
        mean_diameter_mm=_rounded(whole.mean_mm),
        max_diameter_3d_mm=_rounded(max(max_diameter_3d(share, ct.affine_lps), whole.long_mm)),
        equivalent_diameter_mm=_rounded(equivalent_diameter(volume_mm3)),
        mean_hu=_rounded(hu.mean(), 1),
        hu_percentiles=(p5, p25, p50, p75, p95),
        texture=kind,
        solid_volume_mm3=_rounded(solid_mm3),
        solid_diameter_mm=_rounded(solid.long_mm) if solid else 0.0,
        solid_mean_diameter_mm=_rounded(solid.mean_mm) if solid else 0.0,
        side=side,
        third=location.third(height),
        pleura_distance_mm=_rounded(location.pleura_distance(outline, ct, lungs)),
        axes_mm=whole.points_mm,
        core_mean_hu=_rounded(inner.mean(), 1),
        calcified_share=_rounded(made_of.calcified_share, 4),
        fat_share=_rounded(made_of.fat_share, 4),
        benign_pattern=made_of.benign_pattern,
        bone=made_of.bone,
        attachment=touches,
        juxtapleural_shape=has_lymph_node_shape(outline, ct, wall, whole.long_mm, whole.short_mm),
        apex_distance_mm=None if apex_mm is None else _rounded(apex_mm),
    )


def without_place(measurements: Measurements) -> Measurements:
    """`measurements` without what only lungs tell: side, third, distance to pleura and apex, what it touches."""
    unknown = replace(measurements, side=None, third=None, pleura_distance_mm=None, apex_distance_mm=None)
    return replace(unknown, attachment=(), juxtapleural_shape=False)


def _rounded(value: float, digits: int = 2) -> float:
    """A measured number with the digits it is stored with: rounded once, so that all that show it agree."""
    return round_half_up(float(value), digits)


def equivalent_diameter(volume_mm3: float) -> float:
    """Diameter in mm of the sphere of that volume."""
    return math.cbrt(6 * volume_mm3 / math.pi)


def _texture(
    outline: Outline, share: NDArray[np.float64], offset: Index, ct: CT, whole: Axes
) -> tuple[Texture, float, Axes | None]:
    """Texture class, and volume in mm3 and axes of the solid part.

    Below 6 mm a solid part can't be told reliably, and a nodule that is denser than ground glass without a solid part
    of its own has none: both follow the rules for ground glass (Fleischner 2017).
    """
    kind = texture(outline, ct)
    if kind == "solid":
        return kind, float(share.sum()) * ct.voxel_mm3, whole
    part = solid_part(outline, share, offset, ct) if kind == "part-solid" else None
    if part is None or round_half_up(whole.mean_mm) < PART_SOLID_FROM_MM:
        return "ground-glass", 0.0, None
    return kind, float(part[0].sum()) * ct.voxel_mm3, part[1]


def _center(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass in index coordinates (3,)."""
    index = np.argwhere(share > 0)
    weight = share[share > 0]
    return np.asarray(weight @ index / weight.sum())


def _nearest_index(center: NDArray[np.float64], shape: tuple[int, ...]) -> Index:
    i, j, k = np.clip(np.rint(center), 0, np.array(shape) - 1).astype(int).tolist()
    return i, j, k


def _bounding_box(outline: Outline) -> tuple[Index, Index]:
    """Half-open box of the mask's voxels in the CT."""
    index = np.argwhere(outline.mask) + outline.offset
    (i0, j0, k0), (i1, j1, k1) = index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist()
    return (i0, j0, k0), (i1, j1, k1)
