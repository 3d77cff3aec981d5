"""The lungs of a chest CT by thresholds and morphology, coarse to fine."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import LungsNotFoundError
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG, Lungs
from monai_lung.transforms.airways import find_airways
from monai_lung.transforms.morphology import Mask, Spacing, bounding_box, dilate, erode
from monai_lung.transforms.pleura import fill_lungs
from monai_lung.transforms.thorax import AIR_HU, Thorax, find_body, find_thorax

COARSE_MM = 2.5
"""Voxel size at which lungs, airways and what is neither are told apart."""
SMALLEST_LUNGS_ML = 200.0
"""Less is no chest CT: the bases of the lungs on an abdomen."""
SMALLEST_LUNG_ML = 30.0


def segment_lungs(hu: NDArray[np.int16], affine_lps: NDArray[np.float64]) -> Lungs:
    """Segment the right and the left lung of a chest CT.
    """
    orientation = nib.orientations.io_orientation(affine_lps)
    view = nib.orientations.apply_orientation(hu, orientation)
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)[np.argsort(orientation[:, 0])]
    factors = np.maximum(1, np.rint(COARSE_MM / spacing).astype(int))
    x, y, z = spacing * factors
    coarse_mm = (float(x), float(y), float(z))
    thorax, filled = _coarse_lungs(_shrink(view, factors), coarse_mm)
    labels = np.zeros(view.shape, np.uint8)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        _refine(view, thorax, filled, side, factors, labels)
    voxel_ml = abs(np.linalg.det(affine_lps[:3, :3])) / 1000
    right_ml, left_ml = (float(np.count_nonzero(labels == side) * voxel_ml) for side in (RIGHT_LUNG, LEFT_LUNG))
    if right_ml + left_ml < SMALLEST_LUNGS_ML:
        raise LungsNotFoundError(
            f"only {right_ml + left_ml:.0f} ml of lung in the image, less than {SMALLEST_LUNGS_ML:.0f} ml: "
            "give a CT of the chest in Hounsfield units"
        )
    back = nib.orientations.ornt_transform(nib.orientations.io_orientation(np.eye(4)), orientation)
    return Lungs(np.ascontiguousarray(nib.orientations.apply_orientation(labels, back)), right_ml, left_ml)


def _coarse_lungs(hu: NDArray[np.float32], spacing_mm: Spacing) -> tuple[Thorax, NDArray[np.uint8]]:
    """What the air is, and the lungs with all that is inside of them, on the coarse grid."""
    body = find_body(hu, spacing_mm)
    airways = find_airways(hu, *body, spacing_mm)
    thorax = find_thorax(hu, airways, body, spacing_mm)
    return thorax, fill_lungs(thorax.labels, thorax.spine, spacing_mm)


def _refine(view, thorax, filled, side, factors, labels):
    """Write one lung into `labels` on the CT's own grid.

    Inside, the lung is what the coarse grid says, for all that is denser than air is filled there. Within a coarse
    voxel of its border with air the CT's own voxels decide.
    """
    lung = thorax.labels == side
    if not lung.any():
        return
    whole = filled == side
    step = (1.0, 1.0, 1.0)
    core = erode(whole, 1, step) | (whole & ~lung)
    border = dilate(lung, 1, step) & ((thorax.labels == 0) | lung)
    coarse_box = bounding_box(whole | border)
    box = tuple(slice(s.start * f, s.stop * f) for s, f in zip(coarse_box, factors, strict=True))
    shape = labels[box].shape
    mask = _expand(border[coarse_box], factors, shape)
    mask &= view[box] < AIR_HU
    mask |= _expand(core[coarse_box], factors, shape)
    labels[box][mask & (labels[box] == 0)] = side


def _shrink(view, factors):
    """Mean of blocks."""
    pad = [(0, -n % f) for n, f in zip(view.shape, factors)]
    if any(after for _, after in pad):
        view = np.pad(view, pad, mode="edge")
    fx, fy, fz = factors
    total = np.zeros(tuple(n // f for n, f in zip(view.shape, factors)), np.int32)
    for i in range(fx):
        for j in range(fy):
            for k in range(fz):
                total += view[i::fx, j::fy, k::fz]
    return (total / np.float32(fx * fy * fz)).astype(np.float32)


def _expand(mask, factors, shape):
    """Nearest."""
    for axis, f in enumerate(factors):
        if f > 1:
            mask = np.repeat(mask, f, axis)
    return mask[tuple(slice(n) for n in shape)]
