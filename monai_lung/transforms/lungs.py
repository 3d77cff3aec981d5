"""The lungs of a chest CT by thresholds and morphology, coarse to fine."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import LungsNotFoundError
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG, Lungs
from monai_lung.transforms.airways import find_airways
from monai_lung.transforms.morphology import dilate, erode
from monai_lung.transforms.pleura import fill_lung
from monai_lung.transforms.thorax import AIR_HU, find_thorax, outside_field_of_view

COARSE_MM = 2.5
SMALLEST_LUNGS_ML = 200.0


def segment_lungs(hu: NDArray[np.int16], affine_lps: NDArray[np.float64]) -> Lungs:
    """Segment the right and the left lung of a chest CT."""
    orientation = nib.orientations.io_orientation(affine_lps)
    view = nib.orientations.apply_orientation(hu, orientation)
    spacing = tuple(float(s) for s in np.linalg.norm(affine_lps[:3, :3], axis=0)[np.argsort(orientation[:, 0])])
    factors = tuple(max(1, round(COARSE_MM / s)) for s in spacing)
    coarse = _shrink(view, factors)
    coarse_mm = tuple(s * f for s, f in zip(spacing, factors))
    airways = find_airways(coarse, ~outside_field_of_view(coarse), coarse_mm)
    thorax = find_thorax(coarse, airways, coarse_mm)
    labels = np.zeros(view.shape, np.uint8)
    ml = {}
    voxel_ml = abs(np.linalg.det(affine_lps[:3, :3])) / 1000
    air = view < AIR_HU
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = thorax.labels == side
        if not lung.any():
            ml[side] = 0.0
            continue
        filled = fill_lung(lung, coarse_mm) & ~airways & ~((thorax.labels > 0) & ~lung)
        inner = erode(filled, 1, (1, 1, 1)) | (filled & ~lung)
        zone = dilate(lung, 1, (1, 1, 1)) & ~airways
        mask = (_expand(zone, factors, view.shape) & air) | _expand(inner, factors, view.shape)
        labels[mask & (labels == 0)] = side
        ml[side] = float((labels == side).sum() * voxel_ml)
    if sum(ml.values()) < SMALLEST_LUNGS_ML:
        raise LungsNotFoundError(
            f"only {sum(ml.values()):.0f} ml of lung in the image, {SMALLEST_LUNGS_ML:.0f} ml are the least: "
            "give a CT of the chest in Hounsfield units"
        )
    back = nib.orientations.ornt_transform(nib.orientations.io_orientation(np.eye(4)), orientation)
    return Lungs(np.ascontiguousarray(nib.orientations.apply_orientation(labels, back)), ml[RIGHT_LUNG], ml[LEFT_LUNG])


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
