"""The lungs of a chest CT by thresholds and morphology, from a coarse grid to the CT's own."""

from __future__ import annotations

from collections.abc import Mapping

import cc3d
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError, LungsNotFoundError
from monai_lung.grid import bounding_box
from monai_lung.lungs.airways import find_airways
from monai_lung.lungs.morphology import Mask, Spacing, dilate, erode
from monai_lung.lungs.pleura import fill_lungs
from monai_lung.lungs.thorax import AIR_HU, Thorax, find_body, find_field_of_view, find_thorax
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG, Lungs

COARSE_MM = 2.5
"""Voxel size at which lungs, airways and what is neither are told apart."""
SMALLEST_LUNGS_ML = 200.0
"""With less it is not a chest CT: the bases of the lungs on an abdomen."""
SMALLEST_LUNG_ML = 30.0
FREE_AIR_HU, FREE_AIR_ML = -970.0, 50.0
"""Air without tissue lies below (severe emphysema above, at about -950), and is mentioned from this volume on."""
RIGHT_SHARE = (0.42, 0.65)
"""Of both lungs' volume, usually 0.5 to 0.6; beyond these limits one of them is small."""
CUT_MM2 = 1000.0
"""A lung that meets the edge of the field of view, or the first or last slice, over a larger area is cut by it."""

SIDES = {"right": RIGHT_LUNG, "left": LEFT_LUNG}
Factors = tuple[int, int, int]


def segment_lungs(hu: NDArray[np.int16], affine_lps: NDArray[np.float64]) -> Lungs:
    """Segment the right and the left lung of a chest CT, vessels, nodules and masses on the pleura included.

    The way of Yu et al. (BMC Bioinformatics 22:314, 2021): binarize, take away the air around the body and the table,
    fill the holes of vessels and nodules, repair the border. What is lung is decided on a grid of about 2.5 mm by
    pieces of air (`thorax`), airways taken out (`airways`) and the border repaired there (`pleura`). The border with
    the air of the lung is then drawn by the CT's own voxels, at half way between lung and soft tissue. Trachea, main
    bronchi, stomach and bowel are left out; the hila belong to the lungs as far as vessels are narrower than 18 mm.
    Free air around a lung (pneumothorax) and bullae belong to the mask: the pleura between is thinner than the grid.
    Lung without air (collapse, consolidation, effusion around it) doesn't, but for what is closed as a mass is. Rooms
    of air in the body are taken for lungs, as in a phantom, where nothing holds lung tissue.

    Args:
        hu: (X, Y, Z) Hounsfield units; what lies outside the field of view is -1024.
        affine_lps: (4, 4), voxel index to LPS mm. It alone says which side is the patient's right.

    Returns:
        the lungs on the same grid, with warnings where one is missing, small or cut, holds air without tissue, or both
        could not be told apart surely.

    Raises:
        InputError: `hu` isn't three-dimensional.
        LungsNotFoundError: less than 200 ml of lung.
    """
    if hu.ndim != 3:
        raise InputError(f"an array of shape {hu.shape} has no lungs: give one volume of shape (X, Y, Z)")
    orientation = nib.orientations.io_orientation(affine_lps)
    view = _along_lps(hu, orientation)
    axes = np.argsort(orientation[:, 0])
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)[axes]
    x, y, z = np.maximum(1, np.rint(COARSE_MM / spacing).astype(int))
    factors = (int(x), int(y), int(z))
    coarse_mm = (float(spacing[0] * x), float(spacing[1] * y), float(spacing[2] * z))
    air, filled, warnings = _find_coarse_lungs(_shrink(view, factors), coarse_mm)

    labels = np.zeros_like(hu, dtype=np.uint8)
    voxel_ml = float(np.prod(spacing)) / 1000
    right_ml, left_ml = (
        _refine(view, air, filled, side, factors, _along_lps(labels, orientation)) * voxel_ml
        for side in (RIGHT_LUNG, LEFT_LUNG)
    )
    if right_ml + left_ml < SMALLEST_LUNGS_ML:
        raise LungsNotFoundError(
            f"only {right_ml + left_ml:.0f} ml of lung in the image, at least {SMALLEST_LUNGS_ML:.0f} ml are needed: "
            "give a CT of the chest in Hounsfield units"
        )
    return Lungs(labels, right_ml, left_ml, warnings)


def _along_lps(array: NDArray, orientation: NDArray[np.float64]) -> NDArray:
    """A view of `array` (X, Y, Z) whose axes run along L, P and S."""
    axes = np.argsort(orientation[:, 0])
    flips = tuple(slice(None, None, int(orientation[axis, 1])) for axis in axes)
    return array.transpose(axes)[flips]


def _find_coarse_lungs(
    hu: NDArray[np.float32], spacing_mm: Spacing
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
    """The kinds of air, the lungs with all that is inside of them, and warnings, on the coarse grid."""
    air, filled = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    in_view = find_field_of_view(hu, spacing_mm)
    enclosed, spine = find_body(hu, spacing_mm)
    if not enclosed.any():
        return air, filled, ()
    # The margin keeps what of a lung the edge of a field of view leaves with body on two sides only.
    box = bounding_box(enclosed, margin=10)
    body = enclosed[box], spine - box[0].start
    airways = find_airways(hu[box], *body, spacing_mm)
    thorax = find_thorax(hu[box], airways, in_view[box], body, spacing_mm)
    air[box] = thorax.labels
    filled[box] = fill_lungs(thorax.labels, thorax.spine, spacing_mm)
    ml = {side: float(np.count_nonzero(filled == side) * np.prod(spacing_mm) / 1000) for side in SIDES.values()}
    warnings = _condition_warnings(hu, thorax, air, ml, spacing_mm)
    return air, filled, (*warnings, *_warnings(thorax, filled, ml, in_view, spacing_mm))


def _refine(
    hu: NDArray[np.int16],
    air: NDArray[np.uint8],
    filled: NDArray[np.uint8],
    side: int,
    factors: Factors,
    labels: NDArray[np.uint8],
) -> int:
    """Write one lung into `labels` on the CT's own grid and count its voxels.

    Inside, a lung is what the coarse grid says, for there all that is denser than air is filled. Within a coarse
    voxel of its border with air the CT's own voxels decide.
    """
    lung, whole = air == side, filled == side
    if not lung.any():
        return 0
    one_voxel = (1.0, 1.0, 1.0)
    core = erode(whole, 1, one_voxel) | (whole & ~lung)
    border = dilate(lung, 1, one_voxel) & ((air == 0) | lung)
    coarse_box = bounding_box(whole | border)
    x, y, z = (slice(s.start * f, s.stop * f) for s, f in zip(coarse_box, factors, strict=True))
    inside = labels[x, y, z]
    mask = _expand(border[coarse_box], factors, inside.shape)
    mask &= hu[x, y, z] < AIR_HU
    mask |= _expand(core[coarse_box], factors, inside.shape)
    mask &= inside == 0
    inside[mask] = side
    return int(np.count_nonzero(mask))


def _shrink(hu: NDArray[np.int16], factors: Factors) -> NDArray[np.float32]:
    """Means of blocks of `factors` voxels; the last block of an axis is filled up with its last voxels."""
    padding = [(0, -size % factor) for size, factor in zip(hu.shape, factors, strict=True)]
    if any(after for _, after in padding):
        hu = np.pad(hu, padding, mode="edge")
    x, y, z = factors
    total = np.zeros_like(hu[::x, ::y, ::z], dtype=np.int32)
    for i, j, k in np.ndindex(factors):
        total += hu[i::x, j::y, k::z]
    return np.ascontiguousarray(total, dtype=np.float32) / np.float32(x * y * z)


def _expand(mask: Mask, factors: Factors, shape: tuple[int, ...]) -> Mask:
    """Blocks of `factors` voxels for each voxel of `mask`, cut to `shape`."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            mask = np.repeat(mask, factor, axis)
    return mask[tuple(slice(size) for size in shape)]


def _condition_warnings(
    hu: NDArray[np.float32], thorax: Thorax, air: NDArray[np.uint8], ml: Mapping[int, float], spacing_mm: Spacing
) -> list[str]:
    """Air without tissue in the lungs, and a lung that is much smaller than the other."""
    if thorax.phantom:
        return ["The lungs hold air without any tissue, as in a phantom: the two large air spaces were taken as lungs."]
    warnings = []
    for name, side in SIDES.items():
        free_ml = _free_air_ml((hu < FREE_AIR_HU) & (air == side), spacing_mm)
        if free_ml >= FREE_AIR_ML:
            what = f"{free_ml:.0f} ml of air without lung tissue in one piece"
            warnings.append(
                f"The {name} lung's mask holds {what}: free air (pneumothorax), a bulla or severe emphysema."
            )
    right, left = ml[RIGHT_LUNG], ml[LEFT_LUNG]
    if min(right, left) >= SMALLEST_LUNG_ML and not RIGHT_SHARE[0] <= right / (right + left) <= RIGHT_SHARE[1]:
        small, large = ("right", "left") if right / (right + left) < RIGHT_SHARE[0] else ("left", "right")
        sizes = f"{min(right, left):.0f} ml against {max(right, left):.0f} ml"
        why = "collapse, effusion, resection or a mass? Airless lung isn't in the mask and isn't searched."
        warnings.append(f"The {small} lung is much smaller than the {large} one ({sizes}): {why}")
    return warnings


def _free_air_ml(free: Mask, spacing_mm: Spacing) -> float:
    """Volume of the largest piece of `free` that is thicker than 8 mm, up to its border."""
    core = erode(free, 4.0, spacing_mm)
    if not core.any():
        return 0.0
    largest = cc3d.largest_k(core, k=1, connectivity=6) > 0
    return float(np.count_nonzero(dilate(largest, 4.0, spacing_mm) & free) * np.prod(spacing_mm) / 1000)


def _warnings(
    thorax: Thorax, filled: NDArray[np.uint8], ml: Mapping[int, float], in_view: Mask, spacing_mm: Spacing
) -> tuple[str, ...]:
    """Missing or cut parts of the lungs, one sentence each."""
    x_mm, y_mm, z_mm = spacing_mm
    warnings = [
        f"No {n} lung was found ({ml[side]:.0f} ml)." for n, side in SIDES.items() if ml[side] < SMALLEST_LUNG_ML
    ]
    if not thorax.apart:
        warnings.append("The right and left lungs touch and were divided at the spine: sides may be wrong.")
    lungs, edge = filled > 0, ~in_view
    edge[[0, -1]] = edge[:, [0, -1]] = True
    if np.count_nonzero(lungs & dilate(edge, 1, (1.0, 1.0, 9.0))) * x_mm * z_mm > CUT_MM2:
        warnings.append("The field of view cuts the lungs at the side.")
    for k, name in ((-1, "above"), (0, "below")):
        if np.count_nonzero(lungs[:, :, k]) * x_mm * y_mm > CUT_MM2:
            warnings.append(f"The lungs extend {name} the scanned range.")
    return tuple(warnings)
