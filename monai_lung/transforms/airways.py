"""Trachea and main bronchi on a coarse grid whose axes run along L, P and S."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from monai_lung.transforms.morphology import Mask, Spacing, dilate

LUMEN_HU = -850
AREA_MM2 = (40.0, 900.0)
"""Of the lumen on an axial slice: a narrow trachea or main bronchus; just above the carina."""


def find_airways(hu: NDArray[np.float32], inside: Mask, spacing_mm: Spacing) -> Mask:
    """Trachea and main bronchi (X, Y, Z) with their wall."""
    dark = (hu < LUMEN_HU) & inside
    airways = np.zeros(hu.shape, bool)
    pixel = spacing_mm[0] * spacing_mm[1]
    previous = None
    for k in range(hu.shape[2] - 1, -1, -1):
        labels = cc3d.connected_components(np.ascontiguousarray(dark[:, :, k]), connectivity=4)
        area = np.bincount(labels.ravel()) * pixel
        fits = (area >= AREA_MM2[0]) & (area <= AREA_MM2[1])
        fits[0] = False
        here = fits[labels]
        if previous is None:
            centre = hu.shape[0] / 2
        keep = np.unique(labels[here & (dilate2(previous) if previous is not None else _central(here))])
        keep = keep[keep > 0]
        if previous is not None and len(keep):
            near = dilate2(previous)
            keep = np.array([c for c in keep if (near & (labels == c)).sum() >= 0.5 * (labels == c).sum()])
        if len(keep) == 0:
            if previous is not None and airways.any((0, 1)).sum() * spacing_mm[2] > 30:
                break
            continue
        current = np.isin(labels, keep)
        airways[:, :, k] = current
        previous = current
    return dilate(airways, 3.0, spacing_mm) & (hu < -400)


def dilate2(m):
    return dilate(m[:, :, None], 1.0, (1.0, 1.0, 9.0))[:, :, 0]


def _central(m):
    x = np.arange(m.shape[0])[:, None]
    return np.abs(x - m.shape[0] / 2) < m.shape[0] * 0.12
